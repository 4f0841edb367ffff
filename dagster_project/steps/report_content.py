"""What the report shows, read from the lake by SQL: one query a table of it, all of one snapshot.

    with report_content(lake, "quickstart") as content:
        publish_report(content, file)

Every query says its order, so the same lake gives the same file. Of more pairs than the page may hold, those are read
that come first by a seeded hash of their ids; texts are read last, by the pairs that the page takes them of.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from dagster_project.lakehouse.lake import Lake
from models_py.report.content import Content, Rows

REPORT = "report/selection_report.html"  # in the warehouse
_DOCS = "docs/index.html"  # there, what `make docs` writes
# What the queries name, without evaluation: that is shown where there is any, and the main job, which leaves it out,
# must not wait for it.
READS = (
    "profile.recipes",
    "raw.raw_pairs",
    "raw.near_duplicates",
    "raw.source_summary",
    "reflection.teacher_costs",
    "selection.current_instruction_reflections",
    "selection.current_response_reflections",
    "selection.stage_counts",
    "selection.instruction_choices",
    "selection.response_choices",
    "selection.choice_outcomes",
    "selection.candidates",
    "selection.candidate_scores",
    "selection.pair_decisions",
    "selection.recycled_pairs",
    "selection.selection_summary",
    "training.loss_curves",
    "training.current_checkpoints",
)

_MOST_PAIRS = 100_000  # whose statistics are read; how many the page holds is decided there, by bytes
_MOST_ANSWERS = 2_000  # of a recipe, whose diversity is measured
_MOST_STEPS = 400  # of a training's curve
_MOST_NAMES = 40  # categories or sources of a recipe that are named; the others are counted together

# The order in which pairs are drawn: by the hash of a seed and the pair's id, the same in every report.
_DRAWN = "sha256(concat('0 ', {of}.pair_id))"
_SHOWN = f"""
with shown as (
    select raw_pairs.pair_id
    from raw.raw_pairs as raw_pairs
    order by {_DRAWN.format(of="raw_pairs")}, raw_pairs.pair_id
    limit {_MOST_PAIRS}
)
"""
_PAIRS = f"""
select
    pair_id,
    source,
    file,
    source_row,
    category,
    coalesce(system, '') <> '' as has_system,
    coalesce(json_array_length(history), 0) as earlier_turns,
    length(instruction) + length(input) as instruction_chars,
    length(output) as answer_chars
from raw.raw_pairs as raw_pairs
order by {_DRAWN.format(of="raw_pairs")}, pair_id
limit {_MOST_PAIRS}
"""
_CHOICES = f"""
{_SHOWN}
select
    first_choices.teacher,
    first_choices.student,
    first_choices.pair_id,
    first_choices.choice as first_choice,
    first_choices.reason as first_reason,
    first_choices.reflection_status as first_status,
    first_choices.ifd_original,
    first_choices.ifd_instruction,
    first_choices.r_ifd_original,
    first_choices.r_ifd_instruction,
    second_choices.choice as second_choice,
    second_choices.reason as second_reason,
    second_choices.reflection_status as second_status,
    second_choices.r_ifd_base,
    second_choices.r_ifd_reflected
from selection.instruction_choices as first_choices
semi join shown on shown.pair_id = first_choices.pair_id
left join selection.response_choices as second_choices
    on second_choices.teacher = first_choices.teacher
    and second_choices.student = first_choices.student
    and second_choices.pair_id = first_choices.pair_id
order by first_choices.teacher, first_choices.student, {_DRAWN.format(of="first_choices")}, first_choices.pair_id
"""
_CANDIDATES = f"""
{_SHOWN}
select
    scores.teacher,
    scores.student,
    scores.pair_id,
    scores.candidate,
    scores.status,
    scores.reason,
    scores.ifd,
    scores.r_ifd,
    scores.ifd_loss,
    scores.ppl_answer,
    scores.ppl_answer_given_instruction,
    scores.ppl_instruction,
    scores.ppl_instruction_given_answer,
    scores.answer_tokens,
    length(candidates.output) as answer_chars
from selection.candidate_scores as scores
semi join shown on shown.pair_id = scores.pair_id
left join selection.candidates as candidates
    on candidates.teacher = scores.teacher
    and candidates.student = scores.student
    and candidates.pair_id = scores.pair_id
    and candidates.candidate = scores.candidate
order by scores.teacher, scores.student, scores.pair_id, selection.candidate_order(scores.candidate)
"""
_DECISIONS = f"""
{_SHOWN}
select
    decisions.recipe,
    decisions.pair_id,
    decisions.kept,
    decisions.drop_reason,
    decisions.rank,
    decisions.candidate,
    decisions.is_mixed_in
from selection.pair_decisions as decisions
semi join shown on shown.pair_id = decisions.pair_id
order by decisions.recipe, decisions.pair_id
"""
_TEXTS = """
select
    candidates.teacher,
    candidates.student,
    candidates.pair_id,
    candidates.candidate,
    coalesce(candidates.system, '') as system,
    coalesce(candidates.history, '[]') as history,
    candidates.instruction,
    coalesce(candidates.input, '') as input,
    candidates.output
from selection.candidates as candidates
where candidates.pair_id in (select unnest($pair_ids::varchar[]))
order by candidates.pair_id, candidates.teacher, candidates.student, selection.candidate_order(candidates.candidate)
"""
_CRITIQUES = """
select teacher, pair_id, 'instruction' as phase, null as base, critique
from selection.current_instruction_reflections
where critique is not null and pair_id in (select unnest($pair_ids::varchar[]))
union all
select teacher, pair_id, 'answer', base, critique
from selection.current_response_reflections
where critique is not null and pair_id in (select unnest($pair_ids::varchar[]))
order by pair_id, teacher, phase desc, base
"""
# Answers before and after selection, equally many and drawn alike: what diversity is measured on.
_ANSWERS = f"""
with kept as (
    select
        recycled.recipe,
        recycled.pair_id,
        recycled.output,
        row_number() over (
            partition by recycled.recipe
            order by {_DRAWN.format(of="recycled")}, recycled.pair_id
        ) as place
    from selection.recycled_pairs as recycled
    qualify place <= {_MOST_ANSWERS}
),

sizes as (
    select recipe, count(*) as size from kept group by recipe
),

originals as (
    select
        raw_pairs.output,
        row_number() over (order by {_DRAWN.format(of="raw_pairs")}, raw_pairs.pair_id) as place
    from raw.raw_pairs as raw_pairs
    qualify place <= {_MOST_ANSWERS}
)

select sizes.recipe, 'before' as side, originals.place, originals.output
from sizes
inner join originals on originals.place <= sizes.size
union all
select recipe, 'after', place, output from kept
order by recipe, side, place
"""


# Pairs and kept pairs of each recipe by a column of raw_pairs: the frequent values by name, the others together.
_BY = f"""
with counted as (
    select
        decisions.recipe,
        coalesce(raw_pairs.{{column}}, '(none)') as {{column}},
        count(*) as before,
        count(*) filter (where decisions.kept) as after
    from selection.pair_decisions as decisions
    inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = decisions.pair_id
    group by all
),

placed as (
    select
        *,
        least(row_number() over (partition by recipe order by before desc, {{column}}), {_MOST_NAMES + 1}) as place
    from counted
)

select
    recipe,
    if(place > {_MOST_NAMES}, concat('(', count(*), ' others)'), any_value({{column}})) as {{column}},
    sum(before)::bigint as before,
    sum(after)::bigint as after
from placed
group by recipe, place
order by recipe, place
"""
TABLES = {
    "recipes": """
        select
            recipe, policy, teacher, student, seed, top_fraction, top_k, rows_as, ifd_below, r_ifd_below, mix,
            drop_contaminated, drop_near_duplicates
        from profile.recipes order by recipe
    """,
    "summary": """
        select
            summary.*,
            means.ifd,
            means.r_ifd
        from selection.selection_summary as summary
        left join (
            select recipe, avg(ifd) as ifd, avg(r_ifd) as r_ifd
            from selection.pair_decisions where kept group by recipe
        ) as means on means.recipe = summary.recipe
        order by summary.recipe
    """,
    "vetoes": """
        select distinct
            teacher, student, instruction_vetoed as instructions_vetoed, response_vetoed as answers_vetoed
        from selection.selection_summary order by teacher, student
    """,
    # Medians: one huge text moves the means of selection_summary by as much as it likes.
    "lengths": """
        select
            kept.recipe,
            median(length(raw_pairs.instruction) + length(coalesce(raw_pairs.input, ''))) as instruction_before,
            median(length(kept.instruction) + length(coalesce(kept.input, ''))) as instruction_after,
            median(length(raw_pairs.output)) as answer_before,
            median(length(kept.output)) as answer_after
        from selection.recycled_pairs as kept
        inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = kept.pair_id
        group by kept.recipe order by kept.recipe
    """,
    "stages": "select stage, row_count from selection.stage_counts order by place",
    "sources": """
        select source, row_count, pair_count, duplicate_count, quarantined_count, turns_left_out
        from raw.source_summary order by source
    """,
    "outcomes": """
        select teacher, student, outcome, pairs, share
        from selection.choice_outcomes order by teacher, student, place
    """,
    "statuses": """
        select teacher, 'instruction' as phase, status, count(*) as replies
        from selection.current_instruction_reflections
        group by all
        union all
        select teacher, 'answer', status, count(*)
        from selection.current_response_reflections
        group by all
        order by teacher, phase desc, replies desc, status
    """,
    "spend": """
        select
            teacher, phase, status, replies, calls, prompt_tokens, completion_tokens, cost_usd,
            replies_of_unknown_cost
        from reflection.teacher_costs order by teacher, phase, status
    """,
    "drops": """
        select recipe, coalesce(drop_reason, 'kept') as outcome, count(*) as pairs,
            min(ifd) as lowest_ifd, max(ifd) as highest_ifd
        from selection.pair_decisions group by all order by recipe, pairs desc, outcome
    """,
    "categories": _BY.format(column="category"),
    "by_source": _BY.format(column="source"),
    "near_duplicates": """
        select decisions.recipe, count(*) as before, count(*) filter (where decisions.kept) as after
        from selection.pair_decisions as decisions
        inner join raw.near_duplicates as repeats on repeats.pair_id = decisions.pair_id
        where repeats.place > 1
        group by all order by decisions.recipe
    """,
    "losses": f"""
        with curves as (
            select
                checkpoints.name,
                curves.step,
                curves.loss,
                max(curves.step) over (partition by checkpoints.name) as steps
            from training.loss_curves as curves
            inner join training.current_checkpoints as checkpoints
                on checkpoints.checkpoint_id = curves.checkpoint_id
        )

        select name, step, loss from curves
        where step = steps or (step - 1) % greatest(1, steps // {_MOST_STEPS}) = 0
        order by name, step
    """,
    "checkpoints": """
        select name, checkpoint_id, path, student, loss_before, loss_after
        from training.current_checkpoints order by recipe, training_seed
    """,
    "win_rates": """
        select
            model_name, opponent_name, judge, instruction_set, wins, ties, losses, win_rate, win_rate_low,
            win_rate_high, length_controlled_rate
        from evaluation.win_rates order by judge, instruction_set, model_name, opponent_name
    """,
    "comparison": """
        select metric, subject, kind, higher_is_better, value, low, high, n, left_out
        from evaluation.recipe_comparison order by metric, kind, subject
    """,
    "benchmarks": """
        select name, task, metric, filter, value, stderr, n
        from evaluation.benchmark_results order by task, metric, filter, name
    """,
}  # fmt: skip
QUERIES = (_PAIRS, _CHOICES, _CANDIDATES, _DECISIONS, _TEXTS, _CRITIQUES, _ANSWERS, *TABLES.values())


def docs_beside(file: Path, warehouse: Path) -> str | None:
    """The address, from the report in `file`, of the page that describes the lake's tables, where there is one."""
    docs = warehouse / _DOCS
    return Path(os.path.relpath(docs, file.parent)).as_posix() if docs.exists() else None


@contextmanager
def report_content(lake: Lake, profile_name: str) -> Iterator[Content]:
    """All of it, as the lake is now; texts can be asked for until the end of the block."""
    with lake.connect() as connection:

        def read(sql: str, pair_ids: Sequence[str] | None = None) -> pl.DataFrame:
            return connection.execute(sql, {} if pair_ids is None else {"pair_ids": list(pair_ids)}).pl()

        def texts(pair_ids: Sequence[str]) -> tuple[Rows, Rows]:
            return read(_TEXTS, pair_ids).to_dicts(), read(_CRITIQUES, pair_ids).to_dicts()

        connection.execute("begin")
        yield Content(
            profile=profile_name,
            snapshot_id=read("select id from lake.current_snapshot()").item(),
            all_pairs=read("select count(*) from raw.raw_pairs").item(),
            pairs=read(_PAIRS),
            choices=read(_CHOICES),
            candidates=read(_CANDIDATES),
            decisions=read(_DECISIONS),
            answers=read(_ANSWERS),
            tables={name: read(query) for name, query in TABLES.items()},
            texts=texts,
        )
        connection.execute("commit")
