"""`make check`: what would stop a run of a profile, found within seconds, before anything is computed.

    python -m dagster_project.commands.check [--profile NAME] [--port PORT]

    ok           sources.pairs: 60 pairs of 64 rows in seeds/pairs.jsonl
    problem      teachers.gpt.api_key_env: the environment variable OPENAI_API_KEY is not set. ...
    not checked  students.qwen.model: ... the hub cannot be reached ...

Everything at once, a line each; nothing is written into the warehouse, no teacher is asked, no model loaded. To a
server a connection is made and nothing sent. Each check is the one that a run makes, or is called by `make run` too
(`check_before_run`): before, it made some of them hours in.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, ParamSpec

from huggingface_hub import constants
from rich.console import Console
from rich.text import Text

from dagster_project.commands.missing_replies import ledger_copy, missing_replies
from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error
from dagster_project.commands.ui_address import HOST, PORT, listen, running_at
from dagster_project.lakehouse.binding import problems
from dagster_project.lakehouse.donors import CATALOG, DATA, HASHES, LEDGER, check_donors, copied
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import load_checks, load_models, policies
from dagster_project.lakehouse.trouble import NoLakeError
from dagster_project.profile.load import ProfileError, load_profile
from dagster_project.profile.schema import Profile
from dagster_project.profile.words import shown
from models_py.cleaning.evaluation_texts import read_evaluation_texts
from models_py.cleaning.settings import EvaluationFile
from models_py.disk import free_bytes, nearest_folder
from models_py.errors import UnreachableError, UserError, refuse
from models_py.evaluation import benchmark_settings
from models_py.evaluation.annotation_file import AnnotationFile
from models_py.evaluation.annotations import read_annotations
from models_py.evaluation.answer_settings import InstructionFile
from models_py.evaluation.instructions import read_instructions
from models_py.evaluation.judge import open_judge
from models_py.paths import is_hub_id
from models_py.postgres import check_database
from models_py.ray_cluster import job_client, machines, named_cluster, need_ray
from models_py.s3 import ObjectStore
from models_py.shared_folders import check_place
from models_py.sources import hub
from models_py.sources.first_rows import check_fields
from models_py.sources.read import SourceCounts, check_bad_fraction, read_sources, readable_files
from models_py.sources.spec import Source
from models_py.student.hub import fetched
from models_py.student.resolve import check_student
from models_py.student.size import DiskUse, disk_use
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, Student
from models_py.teacher.engines.base import profile_key
from models_py.teacher.engines.openai.address import shown_url, unreached
from models_py.teacher.estimate import Amounts, stops_at
from models_py.teacher.money import Budget, Spent
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.prompt import load_prompts
from models_py.teacher.request import PendingPair
from models_py.teacher.spec import ServerSettings, TeacherSpec, VllmSettings
from models_py.training.cluster import MACHINES, too_few_machines, unnamed
from models_py.training.machine import lacking
from models_py.training.settings import TrainingSettings

_MOST_ROWS = 20_000  # of a source that are read
_CONNECT_S = 2.0  # until somebody takes a connection
_BYTES_A_PAIR = 24_000  # of lake and ledger, with both replies; generous: the quickstart's ledger takes 9 kB a pair
P = ParamSpec("P")
_STYLES = {"ok": "green", "problem": "bold red", "not checked": "yellow"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check: `told` begins with the key of the profile, or with what was looked at."""

    verdict: Literal["ok", "problem", "not checked"]
    told: str


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where nothing is wrong, 1 where something is."""
    parser = Arguments(prog="make check", description=__doc__)
    parser.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")
    parser.add_argument("--port", type=int, default=PORT, help="where `make ui` would listen")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    problems = 0
    try:
        for finding in findings(options.profile, options.port):
            problems += finding.verdict == "problem"
            told = plain(finding.told, lines=True).replace("\n", "\n" + 13 * " ")
            console.print(Text.assemble((f"{finding.verdict:<13}", _STYLES[finding.verdict]), told))
    except UserError as error:  # there is no such profile
        say_error(error)
        return 1
    console.print(_summary(problems))
    return 1 if problems else 0


def _summary(problems: int) -> str:
    if not problems:
        return "\nNothing stands in the way of `make run`."
    return f"\n{'One problem' if problems == 1 else f'{problems} problems'} to correct before `make run`."


def findings(profile_name: str | Path | None = None, port: int = PORT) -> Iterator[Finding]:
    """Everything that is looked at, in the order of the profile. Raises UserError where there is no such profile."""
    told: list[str] = []
    known: Mapping[str, str] | None = None
    with suppress(UserError):  # what is wrong with a file of sql/ has a line of its own
        known = policies()
    try:
        profile: Profile | None = load_profile(profile_name, known)
    except ProfileError as error:
        profile, told = error.profile, error.problems
    yield from (Finding("problem", problem) for problem in told)
    if profile is None:
        yield Finding("not checked", "all else: it is looked at once the profile can be read")
        return
    if not told:
        yield Finding("ok", f"{shown(profile.file)}: {_count(len(profile.recipes), 'recipe')} of parts that are there")
    yield from _found(_sql)
    yield from _found(_warehouse, profile)
    yield from _shared(profile)
    if profile.reuse:
        yield from _found(_reuse, profile)
    servers = _Servers([*profile.teacher_specs(), *profile.judge_specs()])
    looks = [_Looked(source) for source in profile.sources]
    for look in looks:
        yield from _found(look.told, profile)
    for evaluation in profile.evaluation.contamination:
        yield from _found(_evaluation, evaluation)
    pairs = [pair for look in looks for pair in look.pairs]
    all_seen = all(look.saw_all for look in looks) and not told
    for spec in profile.teacher_specs():
        yield from _teacher(profile, spec, pairs, servers, all_seen=all_seen)
    for student in profile.students.values():
        yield from _found(_student, profile, student)
    yield from _machine(profile)
    if needs_ray := _needs_ray(profile):
        yield from _found(_ray, profile, needs_ray)
    yield from _evaluated(profile)
    for spec in profile.judge_specs():
        yield from _judge(spec, servers)
    yield from _disk(profile, len(pairs))
    yield from _found(_port, profile, port)


def check_before_run(profile: Profile) -> None:
    """Raise UserError for what a run would find late, or one after the other: a column that a file of sql/ has wrong, a
    field that no row has, an evaluation file that cannot be read, a student that is no model, too little disk. Quick,
    asks nobody and guesses nothing: what lies on the hub is looked at when it is here.
    """
    found = [*_found(_sql), *_found(_writable, profile), *_shared(profile)]
    for source in profile.sources:
        found += _found(_readable, source) if not _is_away(source) else ()
    for evaluation in profile.evaluation.contamination:
        found += _found(_evaluation, evaluation) if not _is_away(evaluation.files) else ()
    for student in profile.students.values():
        found += _found(_student, profile, student) if not _is_away_on_the_hub(profile, student) else ()
    found += _found(_ray, profile, needs_ray) if (needs_ray := _needs_ray(profile)) else ()
    found += [*_machine(profile), *_disk(profile, 0, by_names=False)]
    refuse(finding.told for finding in found if finding.verdict == "problem")


def _found(look: Callable[P, str], *of: P.args, **how: P.kwargs) -> Iterator[Finding]:
    """What looking says in a line, or raises: a finding for each line that is not indented."""
    try:
        yield Finding("ok", look(*of, **how))
    except UnreachableError as error:
        yield Finding("not checked", str(error))
    except UserError as error:
        yield from (Finding("problem", told) for told in re.split(r"\n(?! )", str(error)))


# --- the SQL files


def _sql() -> str:
    """Whether DuckDB understands them. Raises UserError, a line a file, for those that it does not."""
    refuse(problems())
    return f"sql: {_count(len(load_models()), 'model')}, {_count(len({name for _, name in load_checks()}), 'check')}"


# --- the warehouse


def _writable(profile: Profile) -> str:
    open_lake(profile).check_writable()
    return f"warehouse: {shown(profile.warehouse)}{'' if profile.warehouse.exists() else ', to be made'}"


def _shared(profile: Profile) -> Iterator[Finding]:
    """What a team shares: whether its server and its stores let us in."""
    lake = profile.lake
    if lake.catalog:
        yield from _found(_server, lake.catalog)
    stores = {"lake.data_path": lake.data_path, "lake.checkpoints": lake.checkpoints}
    for key, address in stores.items():
        if address:
            yield from _found(_store, key, address)


def _server(address: str) -> str:
    return f"lake.catalog: {check_database(address)}"


def _store(key: str, address: str) -> str:
    own_secret = key == "lake.data_path" and ObjectStore.of_environment() is None
    if "://" in address and (own_secret or not address.startswith("s3://")):
        raise UnreachableError(f"{key}: {address}: DuckDB's own secrets open it, if anything does; the run will tell")
    check_place(address, key)
    return f"{key}: {address}"


def _warehouse(profile: Profile) -> str:
    """Writable, this profile's own, and not damaged; seen in a copy of its catalog."""
    told = _writable(profile)
    if profile.lake.catalog is not None or "://" in (profile.lake.data_path or ""):
        return f"{told}; the lake lies elsewhere, `make run` looks at it"
    with copied(profile.warehouse, CATALOG, HASHES) as folder:
        if not (folder / CATALOG).exists():
            return told
        if profile.lake.data_path is None:
            (folder / DATA).symlink_to(profile.warehouse / DATA)
        try:
            with Lake(folder, data_path=profile.lake.data_path, owner=profile.name).connect():
                return told
        except NoLakeError:
            return told
        except UserError as error:
            raise UserError(str(error).replace(str(folder), str(profile.warehouse))) from error


def _reuse(profile: Profile) -> str:
    check_donors(profile.reuse)
    return f"reuse: {', '.join(map(shown, profile.reuse))}"


# --- sources


class _Looked:
    """A source as far as it was looked at: its first rows, and whether these are all."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.pairs: list[PendingPair] = []
        self.saw_all = False

    def told(self, profile: Profile) -> str:
        """What it holds. Raises UserError, and UnreachableError where it is on the hub and not here."""
        source, allowed = self.source, profile.max_bad_fraction
        _be_here(source)
        told = _readable(source)
        read = read_sources([source], max_bad_fraction=allowed, most_rows=_MOST_ROWS)
        check_bad_fraction(read, allowed, source.section)
        self.pairs = [PendingPair.of(row) for row in read.pairs.iter_rows(named=True)]
        (counts,) = read.counts
        self.saw_all = counts.rows_seen < _MOST_ROWS
        rows = f"{counts.row_count:,} rows" if self.saw_all else f"the first {_MOST_ROWS:,} rows"
        return f"{told}: {len(self.pairs):,} pairs in {rows}, {_became(counts)}"


def _became(counts: SourceCounts) -> str:
    """Of the rows those that are no pair of their own, so that the figures add up."""
    told, copies = f"{counts.quarantined_count:,} to be quarantined", counts.duplicate_count
    if copies:
        told += f", {copies:,} that {'repeats another' if copies == 1 else 'repeat others'}"
    if counts.further_pair_count:
        told += f"; {counts.further_pair_count:,} more than rows, from conversations of several turns"
    return told


def _readable(source: Source) -> str:
    files = readable_files([source])[source.name]
    check_fields(source)
    (only, *more) = files
    return f"{source.where}: {_count(len(files), 'file') if more else _brief(hub.shown(only))}"


def _evaluated(profile: Profile) -> Iterator[Finding]:
    """What `make evaluate` reads."""
    settings = profile.evaluation
    for instructions in settings.instructions if "instructions" in settings.model_fields_set else ():
        yield from _found(_instructions, instructions)
    for held_out in settings.held_out:
        yield from _found(_Looked(held_out).told, profile)
    if settings.benchmarks:
        yield from _found(_benchmarks, settings.benchmarks)
    for annotations in settings.annotations:
        yield from _found(_annotations, annotations)


def _evaluation(evaluation: EvaluationFile) -> str:
    """What of it is looked for. Raises UserError, and UnreachableError where it is on the hub and not here."""
    _be_here(evaluation.files)
    texts = read_evaluation_texts([evaluation])
    rows = texts.select("file", "item_row").n_unique()
    return f"{evaluation.files.where}: {_count(texts.height, 'text')} in {_count(rows, 'row')}"


def _instructions(file: InstructionFile) -> str:
    """What models are asked. Raises UserError, and UnreachableError where it is on the hub and not here."""
    _be_here(file.files)
    return f"{file.files.where}: {_count(len(read_instructions([file]).instructions), 'instruction')}"


def _annotations(file: AnnotationFile) -> str:
    _be_here(file.files)
    return f"{file.files.where}: {_count(len(read_annotations([file])), 'annotation')}"


def _benchmarks(settings: benchmark_settings.Benchmarks) -> str:
    """Whether the folder of task files is there; what lm-eval makes of the names takes it longer."""
    where = benchmark_settings.SECTION
    if settings.include is not None and not settings.include.is_dir():
        raise UserError(f"{where}.include: there is no folder {shown(settings.include)}; name that of the task files")
    return f"{where}: {_count(len(settings.tasks), 'task')}; lm-eval looks them up in `make evaluate`"


def _judge(spec: TeacherSpec, servers: "_Servers") -> Iterator[Finding]:
    """Whether it could be asked: its prompt, its price, its key, its server."""

    def is_ready() -> str:
        open_judge(spec).asked.engine.check_ready()
        return f"{spec.name}: {spec.settings.engine}, {_brief(spec.settings.asked_at)}"

    def is_there() -> str:
        servers.check(spec)
        return f"{spec.name}: server"

    found = [*_found(is_ready), *_found(is_there)]
    yield from [finding for finding in found if finding.verdict != "ok"] or found[:1]


def _away(source: Source) -> list[str]:
    return [pattern for pattern in source.patterns if hub.is_address(pattern) and not hub.is_here(pattern)]


def _is_away(source: Source) -> bool:
    return bool(_away(source))


def _be_here(source: Source) -> None:
    """Raises UnreachableError where some of it is on the hub and not here."""
    if away := _away(source):
        sizes = [size for address in away for size in hub.offered(address, source.key).values()]
        raise UnreachableError(
            f"{source.key}: {', '.join(away)}: {_count(len(sizes), 'file')} of {_size(sum(sizes))} on the hub; "
            "`make run` downloads them, their rows are looked at then"
        )


# --- teachers


# Less than any request takes: a budget that stops this is used up.
_LEAST = Amounts(requests=1, tokens_in=1, tokens_out=0, usd=1e-9, seconds=None)


class _Servers:
    """Whether somebody listens where teachers and judges are asked: tried of all at once, while files are read."""

    def __init__(self, specs: Sequence[TeacherSpec]) -> None:
        addresses = {spec.settings.base_url for spec in specs if isinstance(spec.settings, ServerSettings)}
        self._told: dict[str, Exception | str | None] = {}
        self._until = time.monotonic() + _CONNECT_S
        # Daemons: a name may take longer to be looked up than anybody waits.
        self._threads = {one: threading.Thread(target=self._try, args=(one,), daemon=True) for one in addresses}
        for thread in self._threads.values():
            thread.start()

    def _try(self, address: str) -> None:
        try:
            self._told[address] = unreached(address, _CONNECT_S)
        except UserError as error:
            self._told[address] = error

    def check(self, spec: TeacherSpec) -> None:
        """Raise UserError where nobody does."""
        address = getattr(spec.settings, "base_url", None)
        if address not in self._threads:
            return
        self._threads[address].join(max(0.0, self._until - time.monotonic()))
        told = self._told.get(address, f"{shown_url(address)} does not answer (no answer in time)")
        if isinstance(told, Exception):
            raise told
        if told is not None:
            key = f"{profile_key(spec.name)}.base_url"
            raise UserError(f"{key}: {told}; start what listens there, or correct the address")


def _teacher(
    profile: Profile, spec: TeacherSpec, pairs: Sequence[PendingPair], servers: _Servers, *, all_seen: bool
) -> Iterator[Finding]:
    """Each thing that is wrong with a teacher, or one line that nothing is."""
    engine, where = spec.open_engine(None), f"teachers.{spec.name}"

    def has_price() -> str:
        OpenTeacher(spec, engine, {}).account(Spent())
        return f"{where}: price"

    def is_asked_in_words() -> str:
        load_prompts(spec.name, spec.settings.prompts)
        return f"{where}: prompts"

    def knows_a_pair() -> str:
        try:
            engine.check_knows([pair.content_id for pair in pairs])
        except UserError as error:
            if all_seen:
                raise
            raise UnreachableError(f"{where}: {error} (Not all pairs were looked at.)") from error
        if spec.settings.is_free and not pairs:
            raise UnreachableError(f"{where}: whether it knows the pairs shows when a source can be read")
        return f"{where}: {spec.settings.engine}, {_brief(spec.settings.asked_at)}"

    def is_ready() -> str:
        try:
            engine.check_ready()
        except UserError:
            if not (all_seen and _is_answered(profile, spec, pairs)):
                raise
        return f"{where}: key"

    def is_there() -> str:
        try:
            servers.check(spec)
        except UserError:
            if not (all_seen and _is_answered(profile, spec, pairs)):
                raise
        return f"{where}: server"

    def may_ask() -> str:
        if spec.settings.budget == Budget():
            return f"{where}: no budget"
        try:
            with ledger_copy(profile) as ledger:
                stop = stops_at(spec.settings.budget, ledger.spent(spec.name, spec.charged), _LEAST)
        except (OSError, UserError) as error:
            raise UnreachableError(f"{where}.budget: what is left of it shows when the ledger can be read") from error
        if stop is not None and not (all_seen and _is_answered(profile, spec, pairs)):
            raise UserError(f"{where}.{stop[0]} is reached: nothing more is asked; raise it")
        return f"{where}: budget"

    looks = (is_asked_in_words, has_price, is_ready, is_there, may_ask, knows_a_pair)
    found = [finding for look in looks for finding in _found(look)]
    yield from [finding for finding in found if finding.verdict != "ok"] or found[-1:]


def _is_answered(profile: Profile, spec: TeacherSpec, pairs: Sequence[PendingPair]) -> bool:
    """Whether nothing would be asked: a finished project needs no key."""
    if not profile.ledger.exists() and not any((place / LEDGER).exists() for place in profile.reuse):
        return False
    with ledger_copy(profile) as ledger:
        return missing_replies(profile, open_teacher(spec), pairs, ledger).missing == 0


# --- students


def _student(profile: Profile, student: Student) -> str:
    folder = _folder_of(profile, student)
    try:
        template = check_student(replace(student, model=str(folder), revision=None) if folder else student)
    except UnreachableError as error:
        raise UnreachableError(
            f"students.{student.name}.model: {student.model} is looked up on the hub, which cannot be reached"
        ) from error
    plain_one = template == DEFAULT_CHAT_TEMPLATE.read_text("utf-8") and student.chat_template is None
    return (
        f"students.{student.name}: {'a toy trained here' if student.scratch else _brief(str(student.model))}"
        f"{', without a chat template of its own: it gets the plain one of this project' if plain_one else ''}"
    )


def _folder_of(profile: Profile, student: Student) -> Path | None:
    """Where a model of the hub lies on this machine, as `make run` fetched it."""
    return fetched(student, profile.students_dir) if _is_on_the_hub(student) else None


def _is_on_the_hub(student: Student) -> bool:
    return student.scratch is None and is_hub_id(str(student.model))


def _is_away_on_the_hub(profile: Profile, student: Student) -> bool:
    return _is_on_the_hub(student) and _folder_of(profile, student) is None


# --- disk and port


def _disk(profile: Profile, pairs: int, *, by_names: bool = True) -> Iterator[Finding]:
    """Whether there is room for what is surely still to be written: students, one checkpoint a recipe, the tables.

    by_names: take the size of a model that is not here from its name.
    """
    uses: dict[str, DiskUse] = {}
    for name, student in profile.students.items():
        with suppress(UserError):  # it has a line of its own
            use = disk_use(student, profile.students_dir)
            if use and (by_names or not use.by_name):
                uses[name] = use
            else:
                yield Finding("not checked", f"disk: how large {student.model} is shows when it is here")
    new = [recipe.student for name, recipe in profile.recipes.items() if not (profile.checkpoints_dir / name).exists()]
    parts = {
        "students": sum(use.to_make for use in uses.values()),
        _count(len(new), "checkpoint"): sum(uses[name].checkpoint for name in new if name in uses),
        "lake and ledger": pairs * _BYTES_A_PAIR,
    }
    cache, fetching = Path(constants.HF_HUB_CACHE), sum(use.to_fetch for use in uses.values())
    guessed = " (by the names of the models)" if any(use.by_name for use in uses.values()) else ""
    try:
        if nearest_folder(cache).stat().st_dev == nearest_folder(profile.warehouse).stat().st_dev:
            parts["downloads"], fetching = fetching, 0
        yield _room(profile.warehouse, "warehouse", parts, guessed)
        if fetching:
            yield _room(cache, "HF_HOME", {"downloads": fetching}, guessed)
    except OSError:  # what is wrong with the warehouse is said there
        return


def _room(place: Path, key: str, parts: dict[str, int], guessed: str) -> Finding:
    needed, free = sum(parts.values()), free_bytes(place)
    told = ", ".join(f"{what} {_size(size)}" for what, size in parts.items() if size > needed / 100)
    if needed <= free:
        return Finding("ok", f"disk: {_size(free)} free, about {_size(needed)} needed{guessed}")
    return Finding(
        "problem",
        f"{key}: {shown(place)} needs about {_size(needed)}{guessed} and has {_size(free)}: {told}; make room, or name "
        "a folder on another disk",
    )


def _machine(profile: Profile) -> Iterator[Finding]:
    """What a training asks for that this machine has not; nothing is said of what any machine can do, nor of a
    cluster's machines: a training looks at its own.
    """
    if profile.executor == "ray" and named_cluster(profile.ray.address):
        return
    here = (settings for settings in _trainings(profile) if settings.machines == 1)
    told = dict.fromkeys(problem for settings in here for problem in lacking(settings))
    yield from (Finding("problem", problem) for problem in told)


def _trainings(profile: Profile) -> list[TrainingSettings]:
    return [settings for recipe in profile.recipes for settings in profile.trainings_of(recipe)]


def _needs_ray(profile: Profile) -> str | None:
    """The first key that asks for it."""
    specs = (*profile.teacher_specs(), *profile.judge_specs())
    vllm = {spec.name: spec.settings for spec in specs if isinstance(spec.settings, VllmSettings)}
    actors = {f"{profile_key(name)}.actors": settings.actors for name, settings in vllm.items()}
    several = any(settings.machines > 1 for settings in _trainings(profile))
    asked = {
        "executor": profile.executor == "ray",
        "scoring.actors": profile.scoring.actors,
        **actors,
        MACHINES: several,
    }
    return next((key for key, asks in asked.items() if asks), None)


def _ray(profile: Profile, key: str) -> str:
    """The cluster that does the work. Raises UserError where Ray is not installed, the cluster does not answer or has
    too few machines to train on.
    """
    need_ray(key)
    address = named_cluster(profile.ray.address)
    if address is None:
        refuse(dict.fromkeys(unnamed(settings) for settings in _trainings(profile) if settings.machines > 1))
        return "ray: a cluster on this machine, started for the run"
    job_client(address)
    there = machines(address)
    if not profile.ray.wait_minutes:
        told = (too_few_machines(settings, there) for settings in _trainings(profile) if settings.machines > 1)
        refuse(dict.fromkeys(filter(None, told)))
    has = [f"{sum(one.get(what, 0) for one in there):,.0f} {what}s" for what in ("CPU", "GPU")]
    return f"ray.address: {address}, {_count(len(there), 'machine')}, {', '.join(has)}"


def _port(profile: Profile, port: int) -> str:
    if address := running_at(Path(os.environ.get("DAGSTER_HOME") or profile.dagster_home)):
        return f"port: the UI of this warehouse runs on {address}"
    listen(port).close()
    return f"port: {port} of {HOST} is free for `make ui`"


def _brief(name: str) -> str:
    """A path as a person in the project's folder would write it, all else as it is."""
    return shown(Path(name)) if name.startswith("/") else name


def _size(size: int) -> str:
    """`1.2 GB`, `340 MB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
