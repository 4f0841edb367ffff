"""A profile: one YAML file that says what a run reads, who reflects, who scores, what is trained and where it all lies.

    profile.recipes["paper"].policy, profile.warehouse, profile.students["toy"].max_length

`profiles/quickstart.yaml` explains every key. Relative paths start at the project, the folder that holds `profiles/`;
of a profile that lies elsewhere, at its own folder.

What the domain has a word for (sources, teachers, students, prices, training settings) is the domain's own dataclass,
so that a key, its default and its limits have one home.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ArgsKwargs

from dagster_project.profile.words import problem
from dagster_project.root import PROJECT_ROOT
from models_py.cleaning.settings import EvaluationFile, NearDuplicates
from models_py.errors import UserError, unknown
from models_py.evaluation.annotation_file import AnnotationFile
from models_py.evaluation.answer_settings import Generation, InstructionFile
from models_py.evaluation.benchmark_settings import Benchmarks
from models_py.evaluation.held_out import HeldOutSet
from models_py.evaluation.opponents import BASE
from models_py.paths import absolute
from models_py.postgres import is_postgres, without_password
from models_py.sources.spec import Source
from models_py.student.gguf import STUDENTS
from models_py.student.spec import Student
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Price
from models_py.teacher.spec import EngineSettings, PromptSettings, TeacherSpec
from models_py.training.settings import TrainingSettings, with_preset

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SIZE = re.compile(r"[1-9]\d*(\.\d+)? ?[MGT]i?B")


# --- kinds of values


def name_problem(name: str) -> str | None:
    """Why a name of the profile cannot be used; None where it can."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"{name!r} is no usable name; names are lower snake case (a-z, 0-9, _) and begin with a letter, for they "
        "become table values, asset keys and folders"
    )


def _usable(name: str) -> str:
    if told := name_problem(name):
        raise problem(told)
    return name


def _in_words(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Let what the domain refuses be one complaint among others."""
    try:
        return handler(value)
    except UserError as error:
        raise problem(str(error)) from error


class _HasPaths(Protocol):
    def at(self, root: Path) -> "_HasPaths": ...


def _at_root(value: _HasPaths, info: ValidationInfo) -> _HasPaths:
    assert isinstance(info.context, Path)
    return value.at(info.context)


def _absolute(path: str | Path, info: ValidationInfo) -> Path:
    assert isinstance(info.context, Path)
    return absolute(path, info.context)


def _absolute_unless_address(folder: str, info: ValidationInfo) -> str:
    return folder if "://" in folder else f"{_absolute(folder, info)}/"


def _named(students: object) -> object:
    """Each student's name, the first argument of its class, is its key here."""
    if not isinstance(students, dict):
        return students
    return {name: ArgsKwargs((name,), keys) if isinstance(keys, dict) else keys for name, keys in students.items()}


def _inherited(profile: object) -> object:
    """The profile with what its `training` says filled into the settings that recipes have of their own."""
    if not isinstance(profile, dict) or not isinstance(common := profile.get("training") or {}, dict):
        return profile
    if not isinstance(recipes := profile.get("recipes"), dict):
        return profile

    def whole(recipe: object) -> object:
        own = recipe.get("training") if isinstance(recipe, dict) else None
        return {**recipe, "training": common | own} if isinstance(recipe, dict) and isinstance(own, dict) else recipe

    return profile | {"recipes": {name: whole(recipe) for name, recipe in recipes.items()}}


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise problem(f"{text!r} is no size; write a number and its unit, such as 4GB or 512MB")
    return text


def _count_or_auto(value: object) -> object:
    if value in (None, "auto") or (type(value) is int and value > 0):
        return value
    raise problem(f"found {value!r}; use a number from 1 on, or auto")


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len({*seeds}) != len(seeds):
        raise problem("names a seed twice; each makes a checkpoint of its own")
    return seeds


_InWords = WrapValidator(_in_words)
_AtRoot = AfterValidator(_at_root)
Name = Annotated[str, AfterValidator(_usable)]
Training = Annotated[TrainingSettings, BeforeValidator(with_preset), _InWords]
TrainingSeeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeSettings(_Settings):
    """Where catalog and data lie, when not in the warehouse, and how much memory a query may take.

    `catalog`: `postgres:<libpq string>`, without the password: libpq takes it from PGPASSWORD or ~/.pgpass. What else a
    team shares lies in the same database: locks, the teacher's ledger, Dagster's records.
    `data_path`: a folder or an object store's address (s3://bucket/folder/).
    `checkpoints`: a folder or address to which finished checkpoints are copied, and where other machines find them.
    `memory_limit`: 4GB, 512MB; what does not fit is written to the warehouse while the query runs.
    """

    catalog: str | None = None
    data_path: Annotated[str, AfterValidator(_absolute_unless_address), _InWords] | None = None
    checkpoints: Annotated[str, AfterValidator(_absolute_unless_address), _InWords] | None = None
    memory_limit: Annotated[str, AfterValidator(_size)] = "4GB"

    @model_validator(mode="after")
    def _check(self) -> "LakeSettings":
        if self.catalog is not None and not is_postgres(self.catalog):
            raise problem(
                f"catalog: {self.catalog!r} does not begin with postgres:; leave it out for SQLite in the warehouse"
            )
        if self.catalog is not None and without_password(self.catalog) != self.catalog:
            raise problem(
                "catalog: holds a password, and a profile is no place for one; leave it out and set PGPASSWORD, or "
                "write it to ~/.pgpass"
            )
        return self

    @property
    def team(self) -> str | None:
        """The database that a team shares; None where all is this machine's."""
        return self.catalog


class RaySettings(_Settings):
    """The cluster of `executor: ray`, of scoring and training on several machines, in Ray's own words.

    `address`: http://<head>:8265, <head>:6379, or `auto` for the one that this machine is part of; without one a
    cluster is started on this machine for the run. RAY_ADDRESS goes before it. `env_vars`: variables that the steps
    get from here; whoever sees the cluster's jobs sees their values, so keys belong in its machines' own environment.
    `wait_minutes`: how long training waits for machines that are not there, of a cluster that scales up by itself.
    """

    address: str | None = None
    env_vars: tuple[str, ...] = ()
    wait_minutes: Annotated[float, Field(ge=0)] = 0.0


class Scoring(_Settings):
    """`actors`: how many scorers work at once, each on a GPU of its own; `auto` is one a GPU. Needs Ray."""

    actors: Annotated[int | Literal["auto"] | None, BeforeValidator(_count_or_auto)] = None


class Recipe(_Settings):
    """One training set and the checkpoints made from it. The fields but the last two are columns of `profile.recipes`.

    `top_fraction` (floor) or `top_k` keep the rows of highest IFD, or the first ones where the policy ranks otherwise;
    `rows_as` keeps as many as another recipe does, as far as there are; `ifd_below` and `r_ifd_below` are gates, and so
    are `drop_contaminated` and `drop_near_duplicates`; `mix` is the share of rows that go back to their original;
    `seed` of everything random in that. `training`, `training_seeds`: what differs from the profile's.
    """

    policy: str
    teacher: str
    student: str
    top_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    ifd_below: Annotated[float, Field(gt=0)] | None = None
    r_ifd_below: Annotated[float, Field(gt=0)] | None = None
    mix: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int = 0
    rows_as: str | None = None
    drop_near_duplicates: bool = False
    drop_contaminated: bool = False
    training: Training | None = None
    training_seeds: TrainingSeeds | None = None

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.top_fraction is not None and self.top_k is not None:
            raise problem("top_k: give top_fraction or top_k, not both")
        if self.rows_as is not None and (self.top_fraction is not None or self.top_k is not None):
            raise problem("rows_as: the other recipe says how many rows; leave out top_fraction and top_k")
        return self

    @property
    def columns(self) -> dict[str, Any]:
        """What selects the rows, as `profile.recipes` holds it."""
        return self.model_dump(exclude={"training", "training_seeds"})


_Engine = Annotated[EngineSettings, Field(discriminator="engine"), _AtRoot, _InWords]
_BUNDLED = InstructionFile("bundled", path=str(PROJECT_ROOT / "seeds" / "evaluation" / "instructions.jsonl"))


class Evaluation(_Settings):
    """What the fine-tuned students are asked, and who judges it.

    contamination: files of which no training row is to hold a copy.
    instructions: what every model answers, as `generation` says.
    judges: who compares the answers, engines as of teachers, each with its own prompt.
    opponents: whom a checkpoint is compared with: its base student, the checkpoint of a recipe of its training seed.
    annotations: verdicts of other people's judges, files in AlpacaEval's format.
    held_out: pairs whose answers they are to find likely. benchmarks: tasks of lm-eval.
    """

    contamination: tuple[Annotated[EvaluationFile, _AtRoot, _InWords], ...] = ()
    held_out: tuple[Annotated[HeldOutSet, _AtRoot, _InWords], ...] = ()
    benchmarks: Annotated[Benchmarks, _AtRoot, _InWords] | None = None
    instructions: tuple[Annotated[InstructionFile, _AtRoot, _InWords], ...] = (_BUNDLED,)
    generation: Annotated[Generation, _InWords] = Generation()
    judges: dict[Name, _Engine] = {}
    opponents: tuple[str, ...] = (BASE, "original")
    annotations: tuple[Annotated[AnnotationFile, _AtRoot, _InWords], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Evaluation":
        for key, files in (("instructions", self.instructions), ("annotations", self.annotations)):
            names = [file.name for file in files]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise problem(f"{key}: {twice} is named twice; each needs a name of its own")
        for name, judge in self.judges.items():
            if judge.prompts != PromptSettings(verdict=judge.prompts.verdict):
                raise problem(f"judges.{name}.prompts: a judge has one prompt, verdict; leave out the others")
        return self


# --- the profile


class Profile(_Settings):
    """A checked profile. All paths are absolute. Made by `load_profile`."""

    warehouse: Annotated[Path, AfterValidator(_absolute), _InWords]
    sources: tuple[Annotated[Source, _AtRoot, _InWords], ...]
    teachers: dict[Name, _Engine]
    students: Annotated[dict[Name, Annotated[Student, _AtRoot, _InWords]], BeforeValidator(_named)]
    recipes: dict[Name, Recipe]
    lake: LakeSettings = LakeSettings()
    reuse: tuple[Annotated[Path, AfterValidator(_absolute), _InWords], ...] = ()
    prices: dict[str, Annotated[Price, _InWords]] = {}
    executor: Literal["in_process", "multiprocess", "ray"] = "in_process"
    ray: RaySettings = RaySettings()
    scoring: Scoring = Scoring()
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    response_reflection: Literal["selected", "all"] = "selected"
    first_choice: Literal["ifd", "guarded"] = "ifd"
    training: Training = TrainingSettings()
    training_seeds: TrainingSeeds | None = None
    near_duplicates: Annotated[NearDuplicates, _InWords] | None = None
    evaluation: Evaluation = Evaluation()

    _inherit = model_validator(mode="before")(_inherited)

    @model_validator(mode="after")
    def _check(self) -> "Profile":
        if self.warehouse in self.reuse:
            raise problem("reuse: names the profile's own warehouse; what lies there is used as it is")
        for name, recipe in self.recipes.items():
            if self._seeds_of(recipe) and (recipe.training or self.training).seed:
                where = f"recipes.{name}." if recipe.training else ""
                raise problem(f"{where}training.seed: the training_seeds say it already; leave it out")
        for name, teacher in self.teachers.items():
            if teacher.prompts.verdict is not None:
                raise problem(
                    f"teachers.{name}.prompts.verdict: only judges (evaluation.judges) are asked for verdicts"
                )
        for opponent in self.evaluation.opponents:
            if opponent not in (known := [BASE, "original", *self.recipes]):
                raise problem(f"evaluation.opponents: {unknown('base or a recipe', opponent, known)}")
        return self

    _file: Path = PrivateAttr()
    _root: Path = PrivateAttr()

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self._file.stem

    @property
    def file(self) -> Path:
        """The profile's file."""
        return self._file

    @property
    def root(self) -> Path:
        """Where relative paths start."""
        return self._root

    @property
    def ledger_path(self) -> Path:
        """The file of the teacher's ledger; there is none where a team has the ledger beside its catalog."""
        return self.warehouse / "teacher.sqlite"

    @property
    def ledger(self) -> LedgerPlace:
        """The teacher's ledger: the file, or of a lake with its catalog in PostgreSQL the same database."""
        return LedgerPlace(self.ledger_path, self.lake.team)

    @property
    def dagster_home(self) -> Path:
        """Dagster's own records."""
        return self.warehouse / ".dagster"

    @property
    def file_hashes(self) -> Path:
        """Where hashes of large files are remembered."""
        return self.warehouse / "file_hashes.json"

    @property
    def students_dir(self) -> Path:
        """Where students made here lie."""
        return self.warehouse / STUDENTS

    @property
    def checkpoints_dir(self) -> Path:
        """Where fine-tuned students lie."""
        return self.warehouse / "checkpoints"

    def trainings_of(self, recipe: str) -> list[TrainingSettings]:
        """How the students of a recipe are trained: one a training seed, which is the settings' `seed`."""
        settings = self.recipes[recipe].training or self.training
        seeds = self._seeds_of(self.recipes[recipe])
        return [replace(settings, seed=seed) for seed in seeds] if seeds else [settings]

    def _seeds_of(self, recipe: Recipe) -> tuple[int, ...] | None:
        return recipe.training_seeds or self.training_seeds

    @property
    def near_duplicates_sought(self) -> NearDuplicates | None:
        """How near duplicates are found, None where nothing asks for them."""
        is_gate = any(recipe.drop_near_duplicates for recipe in self.recipes.values())
        return self.near_duplicates or (NearDuplicates() if is_gate else None)

    def teacher_specs(self) -> list[TeacherSpec]:
        """Every teacher, in the profile's order."""
        return [
            TeacherSpec(name, settings, self.prices.get(settings.model_name or ""), self.ray.address)
            for name, settings in self.teachers.items()
        ]

    def judge_specs(self) -> list[TeacherSpec]:
        """Every judge, in the profile's order, under its whole key: it is no teacher and has a budget of its own."""
        return [
            TeacherSpec(
                f"evaluation.judges.{name}", settings, self.prices.get(settings.model_name or ""), self.ray.address
            )
            for name, settings in self.evaluation.judges.items()
        ]

    @property
    def scoring_actors(self) -> int | Literal["auto"] | None:
        """How many scorers work at once; None is the one in the step's own process."""
        return self.scoring.actors or ("auto" if self.executor == "ray" else None)

    def scorer_of(self, student: str) -> str:
        """The name of the student whose scores decide for that student: itself unless `scored_by` says otherwise."""
        return self.students[student].scored_by or student

    def scorers_for(self, teacher: str) -> set[str]:
        """The names of the students that choose among a teacher's rewrites, for some recipe."""
        return {self.scorer_of(recipe.student) for recipe in self.recipes.values() if recipe.teacher == teacher}

    def scorers(self) -> list[Student]:
        """The students that score for somebody, in the profile's order."""
        names = {self.scorer_of(name) for name in self.students}
        return [student for name, student in self.students.items() if name in names]
