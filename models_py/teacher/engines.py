"""From a teacher of the profile to one that can be asked: its engine, its prompts, its sampling.

A new engine is a subclass of `Teacher` and one more line in `_ENGINES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models_py.errors import UserError
from models_py.teacher.prompt import Prompt, build_request, load_prompts, prompt_version
from models_py.teacher.recorded import RecordedTeacher
from models_py.teacher.request import Sampling, Teacher, TeacherRequest


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """A teacher as the profile names it. `replies`: the file of a `recorded` teacher. `prompts`: files by phase."""

    name: str
    engine: str
    replies: Path | None = None
    prompts: Mapping[str, Path] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class OpenTeacher:
    """A teacher that is ready: requests are built with its own prompts and sampling, and answered by `engine`."""

    spec: TeacherSpec
    engine: Teacher
    prompts: Mapping[str, Prompt]

    def request(self, phase: str, instruction: str, input: str, output: str) -> TeacherRequest:
        """The request of a phase about one pair."""
        return build_request(
            self.prompts[phase],
            teacher=self.spec.name,
            identity=self.engine.identity,
            sampling=self.spec.sampling,
            instruction=instruction,
            input=input,
            output=output,
        )

    def prompt_version(self, phase: str) -> str:
        """Which reflections of the phase are current: a hash of identity, sampling and prompt."""
        return prompt_version(phase, self.prompts[phase].text, self.spec.sampling, self.engine.identity)


def open_teacher(spec: TeacherSpec) -> OpenTeacher:
    """Checks prompts and files; asks nothing. Raises UserError naming the profile's field."""
    if spec.engine not in _ENGINES:
        raise UserError(f"teachers.{spec.name}.engine: {spec.engine!r} is unknown. Use one of {', '.join(_ENGINES)}.")
    return OpenTeacher(spec, _ENGINES[spec.engine](spec), load_prompts(spec.name, spec.prompts))


def _recorded(spec: TeacherSpec) -> Teacher:
    if spec.replies is None:
        raise UserError(f"teachers.{spec.name}.replies: missing. Name the JSON Lines file of recorded replies.")
    return RecordedTeacher(spec.replies)


_ENGINES: Mapping[str, Callable[[TeacherSpec], Teacher]] = {"recorded": _recorded}
ENGINES = tuple(_ENGINES)
