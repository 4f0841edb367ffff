"""A profile: one YAML file that says what a run reads, who reflects, who scores, what is trained and where it all lies.

    profile.recipes["paper"].policy, profile.warehouse, profile.student_spec("toy")

`profiles/quickstart.yaml` explains every key. Relative paths start at the project, the folder that holds `profiles/`;
of a profile that lies elsewhere, at its own folder.

Values of the domain (training settings, sampling, the toy student) are the domain's own dataclasses, so that a key, its
default and its limits have one home.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

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

from dagster_project.profile.words import problem, shown, unknown
from models_py.errors import UserError
from models_py.sources.spec import FORMAT_BY_SUFFIX, OPTIONAL_FIELDS, REQUIRED_FIELDS, SourceSpec
from models_py.student.spec import ScratchSpec, StudentSpec
from models_py.teacher.money import Price
from models_py.teacher.spec import EngineSettings, TeacherSpec, VllmSettings
from models_py.training.settings import TrainingSettings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_GLOB = re.compile(r"[*?\[]")


# --- kinds of values


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise problem(
            f"{value!r} is no usable name; names are lower snake case (a-z, 0-9, _) and begin with a letter, for they "
            "become table values, asset keys and folders"
        )
    return value


def _absolute(path: str | Path, info: ValidationInfo) -> Path:
    root = info.context
    assert isinstance(root, Path)
    try:
        return Path(os.path.normpath(root / Path(path).expanduser()))
    except RuntimeError as error:  # ~somebody who does not exist
        raise problem(f"{path} cannot be resolved; write the folder's path") from error


def _absolute_texts(scratch: ScratchSpec, info: ValidationInfo) -> ScratchSpec:
    return dataclasses.replace(scratch, texts=tuple(_absolute(path, info) for path in scratch.texts))


def _absolute_pattern(pattern: str, info: ValidationInfo) -> str:
    if "://" in pattern:
        raise problem(f"{pattern} is an address; download the file and name it here")
    return str(_absolute(pattern, info))


def _absolute_unless_address(folder: str, info: ValidationInfo) -> str:
    return folder if "://" in folder else f"{_absolute(folder, info)}/"


def _absolute_if_folder(model: str, info: ValidationInfo) -> str:
    folder = _absolute(model, info)
    return str(folder) if model.startswith(("/", ".", "~")) or os.path.isdir(folder) else model  # noqa: PTH112 (False, not an error, for names no file can have)


def _absolute_teacher(teacher: EngineSettings, info: ValidationInfo) -> EngineSettings:
    def absolute(settings: Any) -> Any:
        paths = {
            field.name: _absolute(value, info)
            for field in dataclasses.fields(settings)
            if isinstance(value := getattr(settings, field.name), Path)
        }
        return dataclasses.replace(settings, **paths)

    teacher = dataclasses.replace(absolute(teacher), prompts=absolute(teacher.prompts))
    if isinstance(teacher, VllmSettings):
        return dataclasses.replace(teacher, model=_absolute_if_folder(teacher.model, info))
    return teacher


def _in_words(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Let a dataclass that checks itself be one complaint among others."""
    try:
        return handler(value)
    except UserError as error:
        raise problem(str(error)) from error


def _in_words_of_field(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """The same where the message begins with the key: `budget.max_usd: 0 is not above 0`."""
    try:
        return handler(value)
    except UserError as error:
        key, _, message = str(error).partition(": ")
        raise problem(message, key) from error


def _available_executor(value: object) -> object:
    if value == "ray":
        raise problem("ray is not yet available; use in_process or multiprocess")
    return value


Name = Annotated[str, AfterValidator(_name)]
FilePath = Annotated[Path, AfterValidator(_absolute)]
FilePattern = Annotated[str, AfterValidator(_absolute_pattern)]
Teacher = Annotated[
    EngineSettings,
    Field(discriminator="engine"),
    AfterValidator(_absolute_teacher),
    WrapValidator(_in_words_of_field),
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeSettings(_Settings):
    """Where catalog and data lie, when not in the warehouse.

    `catalog`: `postgres:<libpq string>`, without the password: libpq takes it from PGPASSWORD or ~/.pgpass.
    `data_path`: a folder or an object store's address (s3://bucket/folder/).
    """

    catalog: str | None = None
    data_path: Annotated[str, AfterValidator(_absolute_unless_address)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "LakeSettings":
        if self.catalog is not None and not self.catalog.startswith("postgres:"):
            raise problem(
                f"{self.catalog!r} does not begin with postgres:; leave it out for SQLite in the warehouse", "catalog"
            )
        return self


class Source(_Settings):
    """Files that pairs are read from: `path` or `paths`, each a file, a folder or a glob."""

    name: Name
    path: FilePattern | None = None
    paths: tuple[FilePattern, ...] | None = None
    format: Literal["json", "jsonl", "csv", "parquet"] | None = None
    fields: dict[str, str] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Source":
        if (self.path is None) == (self.paths is None):
            raise problem("give either path or paths (a list)")
        if not self.patterns:
            raise problem("is empty; name at least one file", "paths")
        for name in REQUIRED_FIELDS:
            if self.fields is not None and name not in self.fields:
                raise problem(f"{name} is missing; write {name}: <the file's field>", "fields")
        for name in self.fields or {}:
            if name not in REQUIRED_FIELDS + OPTIONAL_FIELDS:
                raise problem(unknown("one of our fields", name, REQUIRED_FIELDS + OPTIONAL_FIELDS), f"fields.{name}")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """What `path` or `paths` says, absolute, not expanded."""
        return (self.path,) if self.path is not None else self.paths or ()


class Student(_Settings):
    """A model to score with and to train: `model` (hub id or folder) or `scratch` (a toy trained here).

    `max_length` counts tokens of the longest sequence; without it 2048, or the positions of the toy.
    `scored_by` names the student whose statistics decide in its place, such as a smaller one; without it itself.
    """

    model: Annotated[str, AfterValidator(_absolute_if_folder)] | None = None
    revision: str | None = None
    scratch: Annotated[ScratchSpec, AfterValidator(_absolute_texts)] | None = None
    chat_template: FilePath | None = None
    reverse_prompt: FilePath | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    scored_by: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Student":
        if (self.model is None) == (self.scratch is None):
            raise problem("give either model (a hub id or a folder) or scratch (a toy trained here)")
        if self.revision is not None and self.model is None:
            raise problem("only a model has a revision", "revision")
        if self.scratch is None:
            return self
        for name, value in dataclasses.asdict(self.scratch).items():
            if isinstance(value, int | float) and value <= 0 and name != "seed":
                raise problem(f"{value} is not above 0", f"scratch.{name}")
        if (self.max_length or 0) > self.scratch.max_length:
            raise problem(
                f"{self.max_length} is more than the {self.scratch.max_length} of scratch.max_length", "max_length"
            )
        return self


class Recipe(_Settings):
    """One training set and the checkpoint made from it. The fields are the columns of `profile.recipes`.

    `top_fraction` (floor) or `top_k` keep the rows of highest IFD; `ifd_below` and `r_ifd_below` are gates;
    `mix` is the share of rows that go back to their original; `seed` of everything random.
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

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.top_fraction is not None and self.top_k is not None:
            raise problem("give top_fraction or top_k, not both", "top_k")
        return self


# --- the profile


class Profile(_Settings):
    """A checked profile. All paths are absolute. Made by `load_profile`."""

    warehouse: FilePath
    sources: tuple[Source, ...]
    teachers: dict[Name, Teacher]
    students: dict[Name, Student]
    recipes: dict[Name, Recipe]
    lake: LakeSettings = LakeSettings()
    prices: dict[str, Annotated[Price, WrapValidator(_in_words_of_field)]] = {}
    executor: Annotated[Literal["in_process", "multiprocess"], BeforeValidator(_available_executor)] = "in_process"
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    response_reflection: Literal["selected", "all"] = "selected"
    training: Annotated[TrainingSettings, WrapValidator(_in_words)] = TrainingSettings()

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
        """The teacher's ledger."""
        return self.warehouse / "teacher.sqlite"

    @property
    def file_hashes(self) -> Path:
        """Where hashes of large files are remembered."""
        return self.warehouse / "file_hashes.json"

    @property
    def students_dir(self) -> Path:
        """Where students made here lie."""
        return self.warehouse / "students"

    @property
    def checkpoints_dir(self) -> Path:
        """Where fine-tuned students lie."""
        return self.warehouse / "checkpoints"

    def source_specs(self) -> list[SourceSpec]:
        """The sources with folders and globs expanded, files sorted. Raises UserError when a source matches no file."""
        return [SourceSpec(source.name, self._files(source), source.format, source.fields) for source in self.sources]

    def teacher_specs(self) -> list[TeacherSpec]:
        """Every teacher, in the profile's order."""
        return [
            TeacherSpec(name, settings, self.prices.get(settings.model_name or ""))
            for name, settings in self.teachers.items()
        ]

    def student_specs(self) -> list[StudentSpec]:
        """Every student, in the profile's order."""
        return [self.student_spec(name) for name in self.students]

    def student_spec(self, name: str) -> StudentSpec:
        """The student of that name."""
        student = self.students[name]
        default_length = student.scratch.max_length if student.scratch else StudentSpec(name).max_length
        return StudentSpec(
            name=name,
            model=student.model,
            revision=student.revision,
            scratch=student.scratch,
            chat_template=student.chat_template,
            max_length=student.max_length or default_length,
            dtype=student.dtype,
            reverse_prompt=student.reverse_prompt,
        )

    def scorer_of(self, student: str) -> str:
        """The name of the student whose scores decide for that student: itself unless `scored_by` says otherwise."""
        return self.students[student].scored_by or student

    def scorer_specs(self) -> list[StudentSpec]:
        """The students that score for somebody, in the profile's order."""
        scorers = {self.scorer_of(name) for name in self.students}
        return [self.student_spec(name) for name in self.students if name in scorers]

    def training_settings(self) -> TrainingSettings:
        """The hyperparameters that all recipes share."""
        return self.training

    def _files(self, source: Source) -> tuple[Path, ...]:
        files: dict[Path, None] = {}
        for pattern in source.patterns:
            path = Path(pattern)
            if path.is_dir():
                found = [file for file in sorted(path.iterdir()) if _is_data(file, source.format)]
            elif _GLOB.search(pattern) and not path.exists():
                anchor = Path(path.anchor)
                found = sorted(file for file in anchor.glob(str(path.relative_to(anchor))) if file.is_file())
            else:
                found = [path]
            if not found:
                raise UserError(
                    f"{shown(self._file)}: sources.{source.name}.path: {pattern} holds no file to read "
                    f"({', '.join(FORMAT_BY_SUFFIX)}, also .gz); correct it or set the source's format"
                )
            files.update(dict.fromkeys(found))
        return tuple(files)


def _is_data(file: Path, format: str | None) -> bool:
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    return file.is_file() and not file.name.startswith(".") and (format is not None or suffix in FORMAT_BY_SUFFIX)
