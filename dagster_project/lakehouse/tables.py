"""The lake's tables: every column with its type and meaning, in one place.

The lake is created from these definitions, the Dagster UI shows them as column schemas, and the README's contract
is tested against them. Views are not here: a view documents itself in its file under sql/.

`volatile` columns (times, latencies) say when something happened, not what it is, and stay out of data versions. A
column that is added to a table later names in `unused` what it holds where nobody uses it (an SQL literal, `null`):
while every row holds just that, the data version is the one that it was without the column. A truth value stands in
quotes: a bare one is no literal to DuckLake, and it adds no such column. One that follows from what a row held before
names in `follows_from` the SQL that computes it, and rows of before are given theirs when it is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

_POLARS_TYPES = {
    "varchar": pl.String(),
    "varchar[]": pl.List(pl.String()),
    "json": pl.String(),
    "bigint": pl.Int64(),
    "double": pl.Float64(),
    "boolean": pl.Boolean(),
    "timestamp": pl.Datetime("us"),
}

# Raised whenever a table changes in a way that an existing lake does not follow by itself: it follows new tables and
# new columns, not renamed, retyped or dropped ones.
LAKE_CONTRACT = 1


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    description: str
    volatile: bool = False
    unused: str | None = None
    follows_from: str | None = None  # may call content_id(instruction, input, output, system, history)


@dataclass(frozen=True, slots=True)
class Table:
    name: str  # schema.table
    about: str  # a sentence
    grain: tuple[str, ...]  # the columns that tell its rows apart
    columns: tuple[Column, ...]

    @property
    def description(self) -> str:
        return f"{self.about} Grain: {grain_text(self.grain)}."

    @property
    def ddl(self) -> str:
        columns = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        return f"create table if not exists {self.name} ({columns})"

    @property
    def polars_schema(self) -> dict[str, pl.DataType]:
        """Column -> its type in a frame."""
        return {column.name: _POLARS_TYPES[column.type] for column in self.columns}

    @property
    def empty(self) -> pl.DataFrame:
        """A frame of its columns without rows."""
        return pl.DataFrame(schema=self.polars_schema)

    @property
    def stable_columns(self) -> tuple[str, ...]:
        """The columns that make up a data version."""
        return tuple(column.name for column in self.columns if not column.volatile)

    @property
    def unused(self) -> dict[str, str]:
        """Column -> what it holds where it is not used, of those that came after their table."""
        return {column.name: column.unused for column in self.columns if column.unused is not None}


def grain_text(columns: Sequence[str]) -> str:
    """`one row a (recipe, pair_id)`, the way descriptions and the files of sql/ say it."""
    return f"one row a {columns[0]}" if len(columns) == 1 else f"one row a ({', '.join(columns)})"


def _table(name: str, about: str, grain: str, *columns: Column) -> Table:
    return Table(name, about, tuple(grain.split(", ")), columns)


_SCORE_COLUMNS = (
    Column("student", "varchar", "scoring student's name in the profile"),
    Column("student_fingerprint", "varchar", "hash of weights, tokenizer, template, max length and scoring contract"),
    Column("content_id", "varchar", "sha256 of the scored instruction, input and output"),
    Column("answer_nll", "double", "summed negative log-likelihood of y alone, nats"),
    Column("answer_nll_given_instruction", "double", "summed negative log-likelihood of y given x, nats"),
    Column("answer_tokens", "bigint", "target tokens of y, the same in both terms"),
    Column("instruction_nll", "double", "summed negative log-likelihood of x alone, nats"),
    Column("instruction_nll_given_answer", "double", "summed negative log-likelihood of x given y, nats"),
    Column("instruction_tokens", "bigint", "target tokens of x, the same in both terms"),
    Column("truncated", "boolean", "true when a text lost its tail to max_length"),
    Column("history_truncated", "boolean", "true when the oldest turns before y were left out", unused="'false'"),
    Column("status", "varchar", "ok, or why a term is NULL; a term that was not asked for is NULL and ok"),
    Column("reason", "varchar", "which term failed and how, NULL when ok"),
    Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
)

# What stands before a pair, in every table that holds its texts.
_SYSTEM = Column("system", "varchar", "system text of its conversation, empty where there is none", unused="''")
_HISTORY = Column("history", "json", "earlier turns: array of {role, content}, [] where there are none", unused="'[]'")

TABLES: tuple[Table, ...] = (
    _table(
        "profile.sources",
        "What the profile reads pairs from.",
        "source",
        Column("source", "varchar", "name in the profile"),
        Column("paths", "varchar[]", "files, in reading order"),
        Column("max_bad_fraction", "double", "share of bad rows that stops a run"),
        Column("content_hash", "varchar", "sha256 over the bytes of its files, in reading order"),
        Column("settings", "json", "format, fields, limit and sample where the profile sets them", unused="null"),
    ),
    _table(
        "profile.teachers",
        "The profile's teachers with their current prompt versions.",
        "teacher",
        Column("teacher", "varchar", "name in the profile"),
        Column("engine", "varchar", "how it is reached"),
        Column("identity", "varchar", "what answers: part of every request id"),
        Column("model", "varchar", "as server and price table call it, NULL for a recording"),
        Column("input_usd_per_million", "double", "US dollars a million prompt tokens, NULL when unknown"),
        Column("output_usd_per_million", "double", "US dollars a million completion tokens, NULL when unknown"),
        Column(
            "instruction_prompt_version",
            "varchar",
            "phase 1: hash of identity, sampling, prompt, parse_attempts, parser",
        ),
        Column(
            "response_prompt_version", "varchar", "phase 2: hash of identity, sampling, prompt, parse_attempts, parser"
        ),
    ),
    _table(
        "profile.students",
        "The profile's students with their current fingerprints.",
        "student",
        Column("student", "varchar", "name in the profile"),
        Column("model", "varchar", "hub id or folder"),
        Column("revision", "varchar", "resolved revision of a hub model, NULL for folders"),
        Column("max_length", "bigint", "tokens a sequence may have"),
        Column(
            "student_fingerprint", "varchar", "hash of weights, tokenizer, template, max length and scoring contract"
        ),
        Column("scored_by", "varchar", "student whose scores decide, itself by default"),
        Column("scorer_fingerprint", "varchar", "fingerprint of that student"),
    ),
    _table(
        "profile.recipes",
        "The profile's recipes.",
        "recipe",
        Column("recipe", "varchar", "name in the profile"),
        Column("policy", "varchar", "file in sql/policies"),
        Column("teacher", "varchar", "teacher whose rewrites compete"),
        Column("student", "varchar", "student that is trained"),
        Column("top_fraction", "double", "share kept, floor, by IFD or what the policy ranks by, NULL = no cut"),
        Column("top_k", "bigint", "first rows kept, by IFD or what the policy ranks by, NULL = no cut"),
        Column("ifd_below", "double", "keep IFD < this, NULL = no gate"),
        Column("r_ifd_below", "double", "keep reversed IFD < this, NULL = no gate"),
        Column("mix", "double", "share of the rows that go back to their original, 0 to 1"),
        Column("seed", "bigint", "seed of everything random in the recipe"),
        Column("response_reflection", "varchar", "selected | all: which bases the teacher reflects on twice"),
        Column("first_choice", "varchar", "ifd | guarded: how the instruction is chosen", unused="'ifd'"),
        Column("rows_as", "varchar", "recipe that keeps as many rows, NULL = none", unused="null"),
        Column("drop_near_duplicates", "boolean", "keep one pair of each cluster of near duplicates", unused="'false'"),
        Column("drop_contaminated", "boolean", "keep no pair that holds a copy of an evaluation", unused="'false'"),
    ),
    _table(
        "profile.training_settings",
        "How the students of each recipe are trained, one a training seed.",
        "recipe, training_seed",
        Column("recipe", "varchar", "recipe"),
        Column("training_seed", "bigint", "seed of the order of rows, and of what else is random", unused="0"),
        Column("settings", "varchar", "canonical JSON of what a checkpoint's id hashes of the settings"),
    ),
    _table(
        "raw.raw_pairs",
        "The distinct instruction/response pairs of all sources.",
        "pair_id",
        Column("pair_id", "varchar", "content id: sha256 of instruction, input, output and what stands before them"),
        Column("source", "varchar", "source of its first occurrence"),
        Column("file", "varchar", "file of that source, relative to the project where it lies below it"),
        Column("source_row", "bigint", "row in that file, from 1"),
        _SYSTEM,
        _HISTORY,
        Column("instruction", "varchar", "instruction as read"),
        Column("input", "varchar", "optional input, empty when absent"),
        Column("output", "varchar", "answer as read"),
        Column("category", "varchar", "category as read, NULL when absent"),
        Column("duplicate_count", "bigint", "further rows with the same text"),
    ),
    _table(
        "raw.quarantined_rows",
        "The input rows that are no pairs, with the reason.",
        "source, file, source_row",
        Column("source", "varchar", "source"),
        Column("file", "varchar", "file, relative to the project where it lies below it"),
        Column("source_row", "bigint", "row in the file, from 1"),
        Column("byte_offset", "bigint", "where the row starts, NULL where the format has no such thing"),
        Column("reason", "varchar", "what is wrong with it"),
        Column("excerpt", "varchar", "beginning of the row"),
    ),
    _table(
        "raw.source_counts",
        "What was read of each source, and what of it stands in no pair.",
        "source",
        Column("source", "varchar", "name in the profile"),
        Column("rows_seen", "bigint", "rows of its files; more than row_count where only a sample was taken"),
        Column("row_count", "bigint", "rows taken: all pairs, duplicates and quarantined rows but further_pair_count"),
        Column("pair_count", "bigint", "distinct pairs that were found here first"),
        Column("duplicate_count", "bigint", "rows whose pair had been found before, here or in another source"),
        Column("quarantined_count", "bigint", "rows that are no pairs"),
        Column("conversation_count", "bigint", "rows that are conversations and became pairs or duplicates"),
        Column("cut_conversation_count", "bigint", "of which say more than their pairs hold"),
        Column("merged_conversation_count", "bigint", "of which gave no new pair: they differ from others elsewhere"),
        Column("further_pair_count", "bigint", "exchanges beyond one a conversation (turns: each)", unused="0"),
        Column("turn_count", "bigint", "turns of all conversations: the sum of the six columns below", unused="0"),
        Column("turns_in_pairs", "bigint", "turns that are the instruction or the answer of a pair", unused="0"),
        Column("turns_before_pairs", "bigint", "turns that are in no pair but stand before one", unused="0"),
        Column("turns_joined", "bigint", "turns joined to the one of the same role before them", unused="0"),
        Column("turns_left_out", "bigint", "turns of user and assistant that are nowhere"),
        Column("system_texts_left_out", "bigint", "system texts that are nowhere"),
        Column("turns_quarantined", "bigint", "turns of rows that are no pairs", unused="0"),
        Column("no_input_count", "bigint", "inputs such as <noinput> that were read as empty"),
        Column("files_left_out", "varchar[]", "files beside the data that were not read, such as README.md"),
        Column("files_without_rows", "varchar[]", "files that were read and are empty"),
    ),
    _table(
        "raw.near_duplicates",
        "The pairs whose conversation nearly repeats that of an earlier one, with what both share; none where nobody "
        "asks for them.",
        "pair_id",
        Column("pair_id", "varchar", "the repetition"),
        Column("representative_id", "varchar", "first pair of its cluster, in the order of the sources"),
        Column("place", "bigint", "order in the cluster; the representative is 1"),
        Column("cluster_size", "bigint", "pairs of the cluster, the representative among them"),
        Column("similarity_to_representative", "double", "shared / all threes of words of both, 0 to 1"),
        Column("linked_to", "varchar", "pair that it is as similar to as was asked: if it can be, the representative"),
        Column("similarity", "double", "to that pair: shared_shingles / all_shingles"),
        Column("shared_shingles", "bigint", "threes of words that both have"),
        Column("all_shingles", "bigint", "threes of words that either has"),
        Column("shared_text", "varchar", "longest run of words that both have, folded, its beginning"),
    ),
    _table(
        "reflection.teacher_replies",
        "Every reply a teacher ever gave, and every request that has none yet, with the reason.",
        "request_id",
        Column("request_id", "varchar", "sha256 of what was asked: model, messages, sampling, prompt version"),
        Column("teacher", "varchar", "name in the profile"),
        Column("identity", "varchar", "what answered, NULL = mirrored before this was kept"),
        Column("phase", "varchar", "instruction_reflection | response_reflection"),
        Column("content_id", "varchar", "id of the pair that was shown"),
        Column(
            "pair_id", "varchar", "raw pair it was asked for, one of them where several share the text", volatile=True
        ),
        Column("parse_attempt", "bigint", "unusable replies about the pair before this one; NULL as identity"),
        Column("reply", "varchar", "raw text, NULL when none came"),
        Column("finish_reason", "varchar", "as reported: stop, length, content_filter, ..."),
        Column(
            "status",
            "varchar",
            "ok | missing_tag | placeholder | empty | repetitive | truncated | refused | failed, as parsed",
        ),
        Column("parser_version", "varchar", "of the parser that read the status, NULL = 1", volatile=True),
        Column("prompt_tokens", "bigint", "as reported, NULL when unknown"),
        Column("completion_tokens", "bigint", "as reported, NULL when unknown"),
        Column("attempts", "bigint", "calls it took"),
        Column("latency_s", "double", "seconds of the last call, NULL when recorded", volatile=True),
        Column("cost_usd", "double", "US dollars, NULL when the price is unknown"),
        Column("error", "varchar", "why no reply came, NULL otherwise"),
        Column("created_at", "timestamp", "when the reply arrived, UTC", volatile=True),
    ),
    _table(
        "reflection.instruction_reflections",
        "The teacher's new instruction and answer for every raw pair; one that failed in transport and was asked again "
        "has a row of each status.",
        "teacher, prompt_version, pair_id, status",
        Column("teacher", "varchar", "name in the profile"),
        Column("prompt_version", "varchar", "hash of identity, sampling, prompt, parse_attempts and parser"),
        Column("pair_id", "varchar", "raw pair that was shown"),
        Column("request_id", "varchar", "request in reflection.teacher_replies"),
        Column(
            "status", "varchar", "ok | missing_tag | placeholder | empty | repetitive | truncated | refused | failed"
        ),
        Column("critique", "varchar", "what the teacher found lacking"),
        Column("content_id", "varchar", "id of the new pair, NULL unless ok"),
        Column("instruction", "varchar", "new, self-contained instruction, NULL unless ok"),
        Column("output", "varchar", "new answer, NULL unless ok"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "reflection.response_reflections",
        "The teacher's better answer to a base pair; one that failed in transport and was asked again has a row of "
        "each status.",
        "teacher, prompt_version, pair_id, base, base_content_id, status",
        Column("teacher", "varchar", "name in the profile"),
        Column("prompt_version", "varchar", "hash of identity, sampling, prompt, parse_attempts and parser"),
        Column("pair_id", "varchar", "raw pair it descends from"),
        Column("base", "varchar", "pair that was shown: original | instruction"),
        Column("base_content_id", "varchar", "id of that pair's text"),
        Column("request_id", "varchar", "request in reflection.teacher_replies"),
        Column(
            "status", "varchar", "ok | missing_tag | placeholder | empty | repetitive | truncated | refused | failed"
        ),
        Column("critique", "varchar", "what the teacher found lacking"),
        Column("content_id", "varchar", "id of the base with the new answer, NULL unless ok"),
        Column("output", "varchar", "new answer, NULL unless ok"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "scoring.instruction_scores",
        "IFD terms of the first phase's texts.",
        "student_fingerprint, content_id",
        *_SCORE_COLUMNS,
    ),
    _table(
        "scoring.guard_scores",
        "Reversed-IFD terms of the first phase's texts, where `first_choice: guarded` asks for them.",
        "student_fingerprint, content_id",
        *_SCORE_COLUMNS,
    ),
    _table(
        "scoring.response_scores",
        "Reversed-IFD terms of the second phase's texts.",
        "student_fingerprint, content_id",
        *_SCORE_COLUMNS,
    ),
    _table(
        "scoring.chosen_scores",
        "IFD terms of rewritten answers: of those that won the second choice, with `response_reflection: all` of every "
        "one.",
        "student_fingerprint, content_id",
        *_SCORE_COLUMNS,
    ),
    _table(
        "selection.contaminated_texts",
        "The texts, as they came or rewritten, that hold a copy of what an evaluation file of the profile asks.",
        "content_id, field, evaluation, file, item_row, item_field",
        Column("content_id", "varchar", "id of the text"),
        Column("field", "varchar", "where in it: system | history[0] | instruction | input | output, or both of them"),
        Column("evaluation", "varchar", "name in the profile"),
        Column("file", "varchar", "its file, relative to the project where it lies below it"),
        Column("item_row", "bigint", "row in that file, from 1"),
        Column("item_field", "varchar", "field of that row, such as question or choices[2]"),
        Column("share_covered", "double", "words_covered / item_words, 0 to 1"),
        Column("words_covered", "bigint", "words of that field that stand in the text, in runs"),
        Column("item_words", "bigint", "words of that field"),
        Column("shared_text", "varchar", "longest run of words that both have, folded, its beginning"),
    ),
    _table(
        "training.training_pairs",
        "The exact rows that models were trained on, frozen.",
        "recipe, data_version, rank",
        Column("recipe", "varchar", "recipe"),
        Column("data_version", "varchar", "hash of the rows in order"),
        Column("rank", "bigint", "order in the set, 1 = first: highest IFD, or what the policy ranks by"),
        Column("pair_id", "varchar", "raw pair the row descends from"),
        Column("candidate", "varchar", "original | instruction | response | both"),
        _SYSTEM,
        _HISTORY,
        Column("instruction", "varchar", "instruction"),
        Column("input", "varchar", "optional input"),
        Column("output", "varchar", "answer"),
        Column(
            "content_id",
            "varchar",
            "id of the text, under which scoring.* knows it",
            volatile=True,  # the texts are hashed themselves
            follows_from="content_id(instruction, input, output, system, history)",
        ),
        # Where a row came from is no part of what it is: a moved file changes no training set.
        Column("source", "varchar", "source of the raw pair as it was then, NULL = frozen by 0.1", volatile=True),
        Column("file", "varchar", "its file as it was then", volatile=True),
        Column("source_row", "bigint", "its row in that file, from 1, as it was then", volatile=True),
        *(
            Column(name, type, f"{description}; NULL = frozen before this was kept", volatile=True)
            for name, type, description in (
                ("teacher", "varchar", "teacher whose rewrites competed"),
                ("scorer_fingerprint", "varchar", "student whose statistics decided"),
                ("is_mixed_in", "boolean", "true when `mix` put the untouched original back"),
                ("ifd", "double", "IFD of the row"),
                ("r_ifd", "double", "reversed IFD of the row, also NULL when not asked"),
                ("first_choice", "varchar", "original | instruction"),
                ("first_reason", "varchar", "why the first choice fell as it did"),
                ("ifd_original", "double", "IFD of the original"),
                ("ifd_instruction", "double", "IFD of the rewritten instruction with its answer"),
                ("second_choice", "varchar", "original | instruction | response | both"),
                ("second_reason", "varchar", "why the second choice fell as it did"),
                ("r_ifd_base", "double", "reversed IFD of the first choice"),
                ("r_ifd_reflected", "double", "and of the same with the better answer"),
                ("instruction_request_id", "varchar", "request of the first phase"),
                ("response_request_id", "varchar", "request of the second phase, about the first choice"),
            )
        ),
        Column("created_at", "timestamp", "when the set was frozen, UTC", volatile=True),
    ),
    _table(
        "training.student_checkpoints",
        "Every fine-tuned student.",
        "checkpoint_id",
        Column("recipe", "varchar", "recipe"),
        Column("checkpoint_id", "varchar", "hash of rows, base student and settings"),
        Column("path", "varchar", "folder, relative to the warehouse; of rows of 0.1 the absolute path of then"),
        Column("data_version", "varchar", "training rows, in training.training_pairs"),
        Column("snapshot_id", "bigint", "lake snapshot that holds those rows"),
        Column("student_fingerprint", "varchar", "base student"),
        Column("manifest", "json", "settings, losses, versions: a copy of the folder's manifest.json"),
        Column("created_at", "timestamp", "when it was published, UTC", volatile=True),
    ),
    _table(
        "training.loss_curves",
        "How every training went, from the logs of the checkpoints.",
        "checkpoint_id, step",
        Column("checkpoint_id", "varchar", "checkpoint, in training.student_checkpoints"),
        Column("step", "bigint", "optimizer step, from 1"),
        Column("epoch", "double", "rounds through the rows until then"),
        Column("loss", "double", "of the step's rows before the step, mean nats a target token"),
        Column("learning_rate", "double", "of the step"),
        Column("grad_norm", "double", "of the gradient before it was clipped, NULL where it was not measured"),
        Column("target_tokens", "bigint", "tokens of the step that count in the loss, NULL = trained by 0.1"),
        Column("tokens", "bigint", "all tokens of the step, NULL = trained by 0.1"),
        Column("seconds", "double", "since the training began, NULL = trained by 0.1", volatile=True),
        Column("trained_at", "timestamp", "when the checkpoint was recorded, UTC", volatile=True),
    ),
    _table(
        "evaluation.held_out_rows",
        "The answers whose likelihood the models are asked for, as the files of evaluation.held_out have them now.",
        "held_out, content_id",
        Column("held_out", "varchar", "name in the profile"),
        Column("content_id", "varchar", "sha256 of instruction, input, output and what stands before them"),
        Column("file", "varchar", "file of its first occurrence, relative to the project where it lies below it"),
        Column("source_row", "bigint", "row in that file, from 1"),
        _SYSTEM,
        _HISTORY,
        Column("instruction", "varchar", "instruction as read"),
        Column("input", "varchar", "optional input, empty when absent"),
        Column("output", "varchar", "answer as read: what is scored"),
        Column("category", "varchar", "category as read, NULL when absent"),
    ),
    _table(
        "evaluation.held_out_scores",
        "The likelihood of each held-out answer for each model that was ever asked.",
        "model, content_id",
        Column("model", "varchar", "checkpoint_id, of a base student its fingerprint"),
        Column("content_id", "varchar", "sha256 of the scored instruction, input and output"),
        Column("nll", "double", "summed negative log-likelihood of the answer given its instruction, nats"),
        Column("tokens", "bigint", "target tokens of the answer, the end of its turn not among them"),
        Column("truncated", "boolean", "true when the answer lost its tail to max_length"),
        Column("history_truncated", "boolean", "true when the oldest turns before it were left out"),
        Column("status", "varchar", "ok, or why nll is NULL"),
        Column("reason", "varchar", "how it failed, NULL when ok"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "evaluation.instructions",
        "What every evaluated model is asked.",
        "instruction_set, instruction_id",
        Column("instruction_set", "varchar", "name in the profile"),
        Column("instruction_id", "varchar", "hash of its texts: the same in every set"),
        Column("file", "varchar", "file, relative to the project where it lies below it"),
        Column("source_row", "bigint", "row in the file, from 1"),
        Column("question_id", "varchar", "what the file calls it, else its row"),
        Column("system", "varchar", "system text before it, empty where there is none"),
        Column("history", "json", "earlier turns: array of {role, content}"),
        Column("instruction", "varchar", "instruction"),
        Column("input", "varchar", "optional input, empty when absent"),
        Column("category", "varchar", "category as read, NULL when absent"),
        Column("reference", "varchar", "answer that the file has, empty where it has none; nobody is shown it"),
        Column("generation", "varchar", "hash of how models answer it: what their answers are kept under"),
    ),
    _table(
        "evaluation.answers",
        "What a model answers, or why it does not.",
        "model, generation, instruction_id",
        Column("model", "varchar", "checkpoint or base student, in evaluation.models"),
        Column("generation", "varchar", "hash of the settings of the generation"),
        Column("instruction_id", "varchar", "hash of the instruction's texts, in evaluation.instructions"),
        Column("answer", "varchar", "as it was written, NULL unless ok; empty where the model ended its turn at once"),
        Column("finish_reason", "varchar", "stop: the model ended its turn; length: it was cut at its limit"),
        Column("prompt_tokens", "bigint", "tokens of the prompt"),
        Column("tokens", "bigint", "tokens of the answer, the end of turn not counted"),
        Column("seconds", "double", "of its batch, divided by the answers in it", volatile=True),
        Column("engine", "varchar", "transformers | vllm", volatile=True),
        Column(
            "status",
            "varchar",
            "ok | empty_instruction | prompt_too_long | template_error | not_finite",
        ),
        Column("reason", "varchar", "why there is no answer, NULL when ok"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "evaluation.benchmark_tasks",
        "The tasks of lm-eval that evaluation.benchmarks asks for now, its groups and tags taken apart.",
        "benchmark_id",
        Column("benchmark_id", "varchar", "hash of task, settings, lm-eval's release and files of its data"),
        Column("benchmark", "varchar", "task, group or tag in the profile that it comes from"),
        Column("task", "varchar", "lm-eval's name"),
        Column("dataset", "varchar", "what it reads"),
        Column("task_version", "varchar", "as the task says"),
        Column("groups", "json", "means it is part of: array of {group, metric, filters, is_weighted}"),
    ),
    _table(
        "evaluation.benchmark_runs",
        "Every figure of every task that a model was ever given.",
        "model, benchmark_id, metric, filter",
        Column("model", "varchar", "checkpoint_id, of a base student its fingerprint"),
        Column("benchmark_id", "varchar", "hash of task, settings, lm-eval's release and files of its data"),
        Column("task", "varchar", "lm-eval's name"),
        Column("metric", "varchar", "acc, acc_norm, exact_match, ..."),
        Column("filter", "varchar", "how the answer was read, none as a rule"),
        Column("value", "double", "the mean over the items, as a rule"),
        Column("stderr", "double", "its standard error by lm-eval, NULL where that gives none"),
        Column("n", "bigint", "items asked"),
        Column("num_fewshot", "bigint", "examples before each item"),
        Column("task_version", "varchar", "as the task says"),
        Column("lm_eval_version", "varchar", "lm-eval's release"),
        Column("higher_is_better", "boolean", "as the task says, NULL where it does not"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "evaluation.benchmark_items",
        "What each item of a task gave, for intervals over items.",
        "model, benchmark_id, item, metric, filter",
        Column("model", "varchar", "checkpoint_id, of a base student its fingerprint"),
        Column("benchmark_id", "varchar", "the task, in evaluation.benchmark_runs"),
        Column("item", "bigint", "number in the task's data, from 0"),
        Column("item_hash", "varchar", "hash of its content"),
        Column("metric", "varchar", "acc, acc_norm, exact_match, ..."),
        Column("filter", "varchar", "how the answer was read, none as a rule"),
        Column("value", "double", "1 or 0 as a rule"),
    ),
    _table(
        "evaluation.recipe_comparison",
        "Each recipe in each metric, beside its base student, the untouched originals, as many random rows and as many "
        "longest ones.",
        "subject, metric",
        Column("subject", "varchar", "recipe, or a base student's label"),
        Column("kind", "varchar", "checkpoint | base"),
        Column("metric", "varchar", "`loss on <set>` (nats a token), `<task> <metric>`, `win rate on <set>, <judge>`"),
        Column("higher_is_better", "boolean", "whether a higher value is the better one"),
        Column("training_rows", "bigint", "rows it was trained on, NULL of a base"),
        Column("target_tokens", "bigint", "target tokens of these rows"),
        Column("steps", "bigint", "optimizer steps"),
        Column("value", "double", "the metric, the mean over training seeds"),
        Column("low", "double", "lower end of its 95 % interval, bootstrap over the rows that are asked"),
        Column("high", "double", "upper end"),
        Column("by_seed", "json", "the metric of each training seed: array of {training_seed, value}"),
        Column("n", "bigint", "rows asked, for which every model has a value"),
        Column("left_out", "bigint", "rows asked for which some model has none"),
        *(
            column
            for reference, what in (
                ("base", "base student"),
                ("original", "recipe of untouched originals"),
                ("random_rows", "recipe of as many rows, drawn at random"),
                ("longest", "recipe of as many rows, those of the longest answers"),
            )
            for column in (
                Column(reference, "varchar", f"{what}, NULL where there is none"),
                Column(f"minus_{reference}", "double", "by how much the value is higher than that one's"),
                Column(f"minus_{reference}_low", "double", "lower end of the 95 % interval, paired by row"),
                Column(f"minus_{reference}_high", "double", "upper end"),
            )
        ),
    ),
    _table(
        "evaluation.judges",
        "The profile's judges with their current prompt versions.",
        "judge",
        Column("judge", "varchar", "name in the profile"),
        Column("engine", "varchar", "how it is reached"),
        Column("identity", "varchar", "what answers: part of every request id"),
        Column("model", "varchar", "as server and price table call it, NULL for a recording"),
        Column("prompt_version", "varchar", "hash of identity, sampling, prompt, parse_attempts and parser"),
    ),
    _table(
        "evaluation.opponents",
        "Which checkpoint is compared with which model.",
        "model, opponent",
        Column("model", "varchar", "checkpoint, in evaluation.models"),
        Column("opponent", "varchar", "the other model"),
        Column("why", "varchar", "base: the student it was made from; else the recipe of the opponent"),
    ),
    _table(
        "evaluation.verdicts",
        "What a judge said of two answers, in this order; one that failed in transport and was asked again has a row "
        "of each status.",
        "judge, prompt_version, generation, instruction_id, model_1, model_2, status",
        Column("judge", "varchar", "name in the profile"),
        Column("prompt_version", "varchar", "hash of identity, sampling, prompt, parse_attempts and parser"),
        Column("generation", "varchar", "how both answers were made"),
        Column("instruction_id", "varchar", "instruction that was answered"),
        Column("model_1", "varchar", "whose answer was shown first"),
        Column("model_2", "varchar", "whose answer was shown second"),
        Column("request_id", "varchar", "request in the ledger"),
        Column("reply", "varchar", "raw text of the judge, NULL when none came"),
        Column("finish_reason", "varchar", "as reported: stop, length, ..."),
        Column("score_1", "double", "of the first answer, 1 to 10, NULL unless ok"),
        Column("score_2", "double", "of the second answer, 1 to 10, NULL unless ok"),
        Column("status", "varchar", "ok | unreadable | failed"),
        Column("reason", "varchar", "what cannot be read in it or why none came, NULL when ok"),
        Column("prompt_tokens", "bigint", "as reported, NULL when unknown"),
        Column("completion_tokens", "bigint", "as reported, NULL when unknown"),
        Column("cost_usd", "double", "US dollars, NULL when the price is unknown"),
        Column("created_at", "timestamp", "when the row was committed, UTC", volatile=True),
    ),
    _table(
        "evaluation.annotations",
        "Verdicts of other people's judges, from files in AlpacaEval's format.",
        "annotation, source_row",
        Column("annotation", "varchar", "name in the profile"),
        Column("source_row", "bigint", "row, over all files of that name, from 1"),
        Column("annotator", "varchar", "who judged, the name in the profile where the file does not say"),
        Column("generator_1", "varchar", "whose answer is the first: the baseline"),
        Column("generator_2", "varchar", "whose answer is the second: the model"),
        Column("instruction", "varchar", "instruction, NULL where the file has none"),
        Column("chars_1", "bigint", "characters of the first answer, NULL where unknown"),
        Column("chars_2", "bigint", "characters of the second answer, NULL where unknown"),
        Column("preference", "double", "1 the first, 2 the second, between them how sure; NULL = unreadable"),
    ),
    _table(
        "evaluation.win_rates",
        "How often a model wins against another in the eyes of a judge, with what that is worth.",
        "judge, model, opponent, instruction_set",
        Column("judge", "varchar", "judge of the profile, or annotator of a file"),
        Column("model", "varchar", "in evaluation.models, or a generator of a file"),
        Column("opponent", "varchar", "the other"),
        Column("instruction_set", "varchar", "set of instructions, or file of annotations"),
        Column("model_name", "varchar", "what the model is called"),
        Column("opponent_name", "varchar", "what the opponent is called"),
        Column("wins", "bigint", "instructions: wins both orders, or one and ties the other"),
        Column("ties", "bigint", "instructions: neither a win nor a loss, identical answers among them"),
        Column("losses", "bigint", "instructions: the mirror image of a win"),
        Column("identical", "bigint", "of the ties: both answered the same, so nobody was asked"),
        Column("unreadable", "bigint", "instructions of which a verdict cannot be read; in no rate"),
        Column("unjudged", "bigint", "instructions without an answer of both or a verdict in both orders; in no rate"),
        Column("first_position_share", "double", "of verdicts that prefer one answer, those that prefer the first"),
        Column("win_rate", "double", "mean preference, 0 to 1: a tie is half a win"),
        Column("win_rate_low", "double", "2.5th percentile over resampled instructions"),
        Column("win_rate_high", "double", "97.5th percentile"),
        Column("paper_rate", "double", "(wins - losses) / all + 1, 0 to 2: 1 is par"),
        Column("sign_test_p", "double", "exact, two-sided, on wins against losses; NULL where all is tied"),
        Column("length_controlled_rate", "double", "win rate had both answers been equally long; NULL with a reason"),
        Column("length_controlled_low", "double", "lower end of its 95 % interval"),
        Column("length_controlled_high", "double", "upper end"),
        Column("length_controlled_reason", "varchar", "why there is none, NULL where there is"),
        Column("chars", "double", "mean characters of the model's answers"),
        Column("opponent_chars", "double", "mean characters of the opponent's"),
    ),
)

# Tables that every recipe has rows in -> what the asset that makes a recipe's rows is called.
SHARED_BY_RECIPES = {"training.training_pairs": "training_pairs", "training.student_checkpoints": "student_checkpoint"}
TABLES_BY_NAME = {table.name: table for table in TABLES}
SCHEMAS = ("profile", "raw", "reflection", "scoring", "selection", "training", "evaluation", "lineage")
