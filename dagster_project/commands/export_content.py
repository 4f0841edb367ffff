"""What an export holds: rows of the lake in a shape, their counts and lineage, the licences of their sources.

    lines = write_export(lake, profile, Request(recipe="paper", shape=MESSAGES), folder)

Training sets are the frozen rows, those that the recipe's checkpoint was trained on. A preference set holds every pair
in which one of two answers to the same instruction won, whether the recipe keeps the pair (`kept`) or not: of those
that it keeps alone a model would learn to prefer whatever the teacher wrote.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.commands.lake_of import of_this_version
from dagster_project.lakehouse.frozen import snapshot_of
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.parts import parts_of_pairs
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.profile.schema import Profile
from models_py.card_text import FILE as CARD
from models_py.card_text import SourceOfRows
from models_py.errors import UserError
from models_py.export import llama_factory
from models_py.export.card import CardFacts, card
from models_py.export.data_files import DEFAULT, FOLDERS, Written, write_data
from models_py.export.folder import seal
from models_py.export.shapes import CANDIDATES, PREFERENCE, Row, Shape
from models_py.progress import OnProgress, silent

_BATCH = 10_000  # rows that are fetched at once
_PAIRS_AT_ONCE = 200_000  # whose texts DuckDB holds in memory: the views join them
_KEPT = {DEFAULT: "temp.exported_rows", CANDIDATES.name: "temp.exported_candidates"}
_CONTEXT = "coalesce({of}.system, '') as system, coalesce({of}.history::varchar, '[]') as history"

_TRAINING_ROWS = f"""
select
    frozen.rank,
    frozen.pair_id,
    frozen.candidate,
    selected.content_id,
    coalesce(frozen.source, raw_pairs.source) as source,
    selected.ifd,
    selected.r_ifd,
    {_CONTEXT.format(of="frozen")},
    frozen.instruction,
    frozen.input,
    frozen.output
from training.training_pairs as frozen
inner join selection.recycled_pairs as selected using (recipe, pair_id)
left join raw.raw_pairs as raw_pairs using (pair_id)
where frozen.recipe = $recipe and frozen.data_version = $data_version
"""
_PREFERENCES = f"""
select
    preferences.* exclude (system, history),
    {_CONTEXT.format(of="preferences")},
    raw_pairs.source,
    decisions.kept and decisions.candidate = preferences.chosen_candidate as kept
from selection.preference_pairs as preferences
inner join profile.recipes as recipes using (teacher, student)
inner join raw.raw_pairs as raw_pairs using (pair_id)
inner join selection.pair_decisions as decisions using (recipe, pair_id)
where recipes.recipe = $recipe
"""
_CANDIDATES = f"""
select
    candidates.pair_id,
    candidates.candidate,
    candidates.content_id,
    raw_pairs.source,
    {_CONTEXT.format(of="candidates")},
    candidates.instruction,
    candidates.input,
    candidates.output,
    scores.* exclude (teacher, student, pair_id, candidate, content_id),
    decisions.kept and decisions.candidate = candidates.candidate as chosen
from selection.candidates as candidates
inner join profile.recipes as recipes using (teacher, student)
inner join raw.raw_pairs as raw_pairs using (pair_id)
inner join selection.candidate_scores as scores using (teacher, student, pair_id, candidate)
inner join selection.pair_decisions as decisions
    on decisions.recipe = recipes.recipe
    and decisions.pair_id = candidates.pair_id
where recipes.recipe = $recipe
"""
_TRAINING_ORDER = "rank"
_ORDER = {
    PREFERENCE.name: "margin desc, pair_id, base",
    CANDIDATES.name: "pair_id, selection.candidate_order(candidate)",
}
_UNDECIDED = """
select choices.reason, count(*)
from selection.response_choices as choices
inner join profile.recipes as recipes using (teacher, student)
anti join selection.preference_pairs as preferences using (teacher, student, pair_id)
where recipes.recipe = $recipe
group by choices.reason
order by count(*) desc, choices.reason
"""
_LINEAGE = """
select
    {columns},
    recipes.first_choice,
    recipes.response_reflection,
    parts.* exclude (recipe)
from profile.recipes as recipes
inner join selection.recipe_parts as parts using (recipe)
where recipes.recipe = $recipe
"""
_FROZEN_AT = f"select {snapshot_of('$recipe', '$data_version')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be exported, and how. candidates: all texts with all scores too."""

    recipe: str
    shape: Shape
    files: str = "parquet"
    candidates: bool = False

    def file(self, config: str) -> str:
        """The path of a config's file in the folder."""
        return f"{FOLDERS[config]}/train.{self.files}"


def write_export(
    lake: Lake,
    profile: Profile,
    request: Request,
    folder: Path,
    *,
    repo: str | None = None,
    on_progress: OnProgress = silent,
) -> list[str]:
    """Fill an empty folder with the data set; lines that say what is in it.

    repo: where it will lie on the hub. All is read of one snapshot. Raises UserError where there is nothing to export.
    """
    with of_this_version(lake), lake.connect() as connection:
        connection.execute("begin")
        reading = _Reading(connection, profile, request)
        written = reading.write(folder, on_progress)
        facts = reading.card_facts(written, repo)
        connection.execute("rollback")  # also of the temporary tables
    (folder / CARD).write_text(card(facts), encoding="utf-8")
    file = request.file(DEFAULT)
    info = llama_factory.dataset_info(request.recipe, request.shape, written[DEFAULT], file, repo)
    (folder / llama_factory.FILE).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    seal(folder, {"recipe": request.recipe, "format": request.shape.name, "lineage": dict(facts.lineage)})
    counted = (f"{name}: {value}" for name, value in facts.counts[1:])
    return [f"{request.recipe} as {request.shape.name}: {written['default'].rows:,} rows", *counted]


class _Reading:
    """What an export reads of the lake, in one transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, profile: Profile, request: Request) -> None:
        self._connection, self._profile, self._request = connection, profile, request
        self._recipe = {"recipe": request.recipe}
        self._columns = profile.recipes[request.recipe].columns
        self._parts = self._recipe_and_its_parts()
        self._version = None if request.shape is PREFERENCE else self._frozen_version()

    def write(self, folder: Path, on_progress: OnProgress) -> dict[str, Written]:
        """The data files, by config."""
        if self._version is None:
            self._read(DEFAULT, _PREFERENCES, self._recipe)
        else:
            self._read(DEFAULT, _TRAINING_ROWS, {**self._recipe, "data_version": self._version})
        written = {DEFAULT: self._write(folder, DEFAULT, self._request.shape, on_progress)}
        if self._request.candidates:
            self._read(CANDIDATES.name, _CANDIDATES, self._recipe)
            written[CANDIDATES.name] = self._write(folder, CANDIDATES.name, CANDIDATES, on_progress)
        return written

    def _read(self, config: str, query: str, params: dict[str, Any]) -> None:
        """Keep the rows of a config: they are looked at several times, and views are computed each time."""
        (pairs,) = self._row("select count(*) from raw.raw_pairs")
        make = f"create or replace temp table {_KEPT[config]} as"
        for low, high in parts_of_pairs(pairs, _PAIRS_AT_ONCE):
            part = {**params, "low": low, "high": high}
            self._connection.execute(f"{make} from ({query}) where pair_id >= $low and pair_id < $high", part)
            make = f"insert into {_KEPT[config]}"

    def _write(self, folder: Path, config: str, shape: Shape, on_progress: OnProgress) -> Written:
        rows, systems, histories = self._used(config)
        if not rows:
            raise UserError(self._why_empty())
        written = write_data(
            folder / self._request.file(config),
            shape,
            self._rows(config, shape),
            used=[name for name, count in (("system", systems), ("history", histories)) if count],
            total=rows,
            on_progress=on_progress,
        )
        if not written.rows:
            reasons = ", ".join(f"{count:,} x {reason}" for reason, count in written.left_out.items())
            raise UserError(f"FORMAT={shape.name} cannot say any of the {rows:,} rows ({reasons}); use FORMAT=messages")
        return written

    def card_facts(self, written: dict[str, Written], repo: str | None) -> CardFacts:
        """What the card says of these files."""
        request, row = self._request, self._parts
        policy, *_ = load_models()[f"selection.{row['policy']}"].description.partition(" Grain: ")
        return CardFacts(
            name=request.recipe,
            shape=request.shape,
            what=self._what(),
            place=repo or "path/to/this/folder",
            files={config: (request.file(config), one) for config, one in written.items()},
            counts=[*self._counts(written[DEFAULT]), *self._candidate_counts(written)],
            lineage=[*self._lineage(written)],
            policy=f"Policy `{row['policy']}`: {policy}",
            sources=self._sources(),
            rights=_rights(row),
        )

    # ---- counts

    def _what(self) -> str:
        if self._version is None:
            return (
                "Two answers to one instruction, of which a student model's statistics prefer one: an answer and the "
                "teacher's better answer to the same instruction. The one with the lower r-IFD is chosen, the "
                "strongest preference comes first."
            )
        return (
            "A training set of instructions and answers, chosen and in part rewritten by reflection; best rows first."
        )

    def _counts(self, written: Written) -> Iterator[tuple[str, str]]:
        yield "rows", f"{written.rows:,}"
        for name, count in self._grouped("candidate" if self._version else "reason"):
            yield name, f"{count:,}"
        _, systems, histories = self._used(DEFAULT)
        for what, count in (("with a system text", systems), ("with earlier turns", histories)):
            if count:
                yield what, f"{count:,}"
        for reason, count in written.left_out.items():
            yield f"left out: {reason}", f"{count:,}"
        for remark, count in written.remarks.items():
            yield remark, f"{count:,}"
        if self._version is None:
            for reason, count in self._undecided():
                yield f"pairs without a preference: {reason}", f"{count:,}"

    def _candidate_counts(self, written: dict[str, Written]) -> Iterator[tuple[str, str]]:
        if CANDIDATES.name in written:
            yield "texts in `candidates`", f"{written[CANDIDATES.name].rows:,}"

    def _sources(self) -> list[SourceOfRows]:
        stated = {source.name: source.license for source in self._profile.sources}
        return [SourceOfRows(name or "unknown", n, stated.get(name)) for name, n in self._grouped("source")]

    # ---- lineage

    def _recipe_and_its_parts(self) -> dict[str, Any]:
        """The recipe as the last run had it. Raises UserError where the profile says something else now."""
        columns = ", ".join(f"recipes.{name}" for name in self._columns)
        result = self._connection.execute(_LINEAGE.format(columns=columns), self._recipe)
        names = [name for name, *_ in result.description or []]
        values = result.fetchone()
        if values is None:
            raise UserError(self._not_frozen())
        row = dict(zip(names, values, strict=True))
        for name, value in self._columns.items():
            if row[name] != value:
                raise UserError(
                    f"recipes.{self._request.recipe}.{name}: is {value} now and was {row[name]} at the last run; "
                    "`make run` brings the rows up to date, and then they can be exported."
                )
        return row

    def _lineage(self, written: dict[str, Written]) -> Iterator[tuple[str, str]]:
        row = self._parts
        cuts = [name for name in self._columns if name not in ("policy", "teacher", "student")]
        cut = ", ".join(f"{name} {row[name]}" for name in cuts if row[name])
        yield "recipe", f"{self._request.recipe}: policy {row['policy']}" + (f", {cut}" if cut else "")
        yield "choices", f"first_choice {row['first_choice']}, response_reflection {row['response_reflection']}"
        if self._version is not None:
            yield "data version", self._version
            (frozen_at,) = self._row(_FROZEN_AT, {"data_version": self._version, **self._recipe})
            if frozen_at is not None:
                yield "frozen in snapshot", str(frozen_at)
        (snapshot,) = self._row("select id from lake.current_snapshot()")
        yield "read from snapshot", str(snapshot)
        for config, one in written.items():
            yield "content" if config == DEFAULT else f"content of {config}", one.content
        yield "teacher", _called(row["teacher"], row["teacher_model"], row["engine"])
        yield "prompt versions", f"{row['instruction_prompt_version']}, {row['response_prompt_version']}"
        yield "student", _called(row["student"], row["student_model"], row["revision"])
        yield "student fingerprint", row["student_fingerprint"]
        if row["scored_by"] != row["student"]:
            yield "scored by", row["scored_by"]
        yield "reflection-lake", version("reflection-lake")

    # ---- queries

    def _frozen_version(self) -> str:
        row = self._connection.execute(
            "select data_version from training.current_training_sets where recipe = $recipe", self._recipe
        ).fetchone()
        if row is None:
            raise UserError(self._not_frozen())
        return str(row[0])

    def _not_frozen(self) -> str:
        return (
            f"recipes.{self._request.recipe}: the rows that it selects now are not frozen, for nothing was trained on "
            "them yet. `make run` does both."
        )

    def _why_empty(self) -> str:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in self._undecided())
        return (
            f"recipes.{self._request.recipe}: no answer is preferred to another one "
            f"({reasons or 'nothing was compared yet: `make run` does it'})."
        )

    def _undecided(self) -> list[tuple[str, int]]:
        return self._connection.execute(_UNDECIDED, self._recipe).fetchall()

    def _rows(self, config: str, shape: Shape) -> Iterator[Row]:
        order = _ORDER.get(shape.name, _TRAINING_ORDER)
        result = self._connection.execute(f"select * from {_KEPT[config]} order by {order}")
        names = [name for name, *_ in result.description or []]
        while batch := result.fetchmany(_BATCH):
            for row in batch:
                yield dict(zip(names, row, strict=True))

    def _used(self, config: str) -> tuple[int, int, int]:
        """How many rows there are, with a system text, with earlier turns."""
        rows, systems, histories = self._row(
            f"select count(*), count(*) filter (system <> ''), count(*) filter (history <> '[]') from {_KEPT[config]}"
        )
        return int(rows), int(systems), int(histories)

    def _grouped(self, column: str) -> list[tuple[Any, int]]:
        """Each value of a column and how many rows have it, the most frequent first."""
        grouped = f"select {column}, count(*) from {_KEPT[DEFAULT]} group by all order by count(*) desc, {column}"
        return self._connection.execute(grouped).fetchall()

    def _row(self, query: str, params: dict[str, Any] | None = None) -> tuple[Any, ...]:
        row = self._connection.execute(query, params or {}).fetchone()
        assert row is not None
        return row


def _called(name: str, model: str | None, more: str | None) -> str:
    """A name of the profile with what it stands for; of a model in a folder the folder's name alone."""
    shown = Path(model).name if model and Path(model).is_absolute() else model
    known = ", ".join(part for part in (shown, more) if part)
    return f"{name} ({known})" if known else name


def _rights(row: dict[str, Any]) -> str:
    teacher = _called(row["teacher"], row["teacher_model"], None)
    return (
        f"Texts other than `original` are in part written by {teacher}; the terms of its provider may bind them too. "
        "Licences are as the profile states them (`license` of a source)."
    )
