"""Prompts: one Jinja file a phase, rendered from one pair, versioned by the hash of its text.

A template has the variables `instruction`, `input` (may be empty) and `output`, and up to two Jinja blocks that become
the two messages; a template without blocks is one user message:

    {% block system %} who the teacher is {% endblock %}
    {% block user %} <record> {{ instruction }} ... {{ output }} </record> criteria, reply format {% endblock %}

A pair's text is data: braces in it are never read as Jinja. A profile replaces a bundled file through
`teachers.<name>.prompts.<phase>`. Mistakes in a template are found when it is loaded, before anything is asked.

Two bundled variants say the same in another order: `record_first`, and `criteria_first`, whose system message is the
same for all pairs of a phase, so that a server's prefix cache reads it once. A third, `plain`, is for models too small
for criteria and tags: one file a request (request.py), which asks for one text and need not show the old answer.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models_py.content import content_id, fingerprint
from models_py.errors import UserError
from models_py.teacher import parser
from models_py.teacher.parser import END_TAG, TAGS
from models_py.teacher.request import TAGGED, Message, Sampling, TeacherRequest, request_hash
from models_py.teacher.spec import PromptSettings
from models_py.template_trial import problem_of

BUNDLED = Path(__file__).parent / "prompts"

_VARIABLES = {"instruction", "input", "output"}
_ROLES = ("system", "user")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A checked template. `field` is the profile's field it came from, for messages to people."""

    phase: str
    text: str
    field: str

    @property
    def version(self) -> str:
        """The sha256 hex digest of the template's text."""
        return fingerprint(self.text)

    def messages(self, instruction: str, input: str, output: str) -> tuple[Message, ...]:
        """Renders one pair; raises UserError when the template cannot take it."""
        try:
            template = _compile(self.text)
            context = template.new_context({"instruction": instruction, "input": input, "output": output})
            if not template.blocks:
                return (Message("user", "".join(template.root_render_func(context)).strip()),)
            return tuple(
                Message(role, "".join(template.blocks[role](context)).strip())
                for role in _ROLES
                if role in template.blocks
            )
        except Exception as error:  # a template may call any filter on any text
            raise UserError(f"{self.field}: the template cannot be rendered: {error}. Correct it.") from error


def load_prompts(teacher: str, settings: PromptSettings | None = None) -> dict[str, Prompt]:
    """The prompt of every request of the teacher named `teacher`: the profile's own files, else the bundled variant.

    Raises UserError, naming the profile's field, for an unreadable file or a broken template.
    """
    settings = settings or PromptSettings()
    return {
        phase: _load(
            phase,
            getattr(settings, phase) or BUNDLED / settings.variant / f"{phase}.jinja",
            f"teachers.{teacher}.prompts.{phase}",
        )
        for requests in settings.requests.values()
        for phase in requests
    }


def prompt_version(phase: str, text: object, sampling: Sampling, identity: str, parse_attempts: int) -> str:
    """The sha256 hex digest that says which reflections of a phase are current.

    Template (a list where the phase has two requests), sampling, who answers, how often an unusable reply is asked
    again, and how replies are read: with more tries or another parser pairs are gone through anew, and what the ledger
    knows costs nothing. The first parser is left out, so that reflections from before parsers counted stay current.
    """
    read_by = [] if parser.PARSER_VERSION == parser.FIRST_VERSION else [parser.PARSER_VERSION]
    return fingerprint(phase, text, sampling.payload(), identity, parse_attempts, *read_by)


def build_request(
    prompt: Prompt,
    *,
    teacher: str,
    identity: str,
    sampling: Sampling,
    instruction: str,
    input: str,
    output: str,
    parse_attempt: int = 0,
) -> TeacherRequest:
    """The request of `prompt`'s phase about one pair; `teacher` is a name, `identity` is `Engine.identity`."""
    messages = prompt.messages(instruction, input, output)
    version = prompt.version
    return TeacherRequest(
        request_id=request_hash(
            identity=identity, phase=prompt.phase, prompt=version, messages=messages, sampling=sampling
        ),
        teacher=teacher,
        identity=identity,
        phase=prompt.phase,
        content_id=content_id(instruction, input, output),
        prompt=version,
        messages=messages,
        sampling=sampling,
        parse_attempt=parse_attempt,
    )


def _load(phase: str, path: Path, field: str) -> Prompt:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise UserError(f"{field}: {path} is no file. Name a readable Jinja file.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{field}: cannot read {path} ({error.strerror}). Name a readable Jinja file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{field}: {path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    if not path.is_relative_to(BUNDLED) and (problem := problem_of(text)):
        raise UserError(f"{field}: {path} {problem}. Take the loop or the repetition out of the template.")
    prompt = Prompt(phase=phase, text=text, field=field)
    _check(prompt, path)
    return prompt


def _check(prompt: Prompt, path: Path) -> None:
    """Refuses what would only show after replies were paid for."""
    try:
        used = meta.find_undeclared_variables(_environment().parse(prompt.text))
        blocks = set(_compile(prompt.text).blocks)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{prompt.field}: {path}:{error.lineno}: {error.message}. Correct the template.") from error
    if unknown := sorted(used - _VARIABLES):
        raise UserError(
            f"{prompt.field}: {path} uses the unknown variable {unknown[0]!r}. "
            f"Use {', '.join(sorted(_VARIABLES))} or a literal."
        )
    is_tagged = prompt.phase in TAGGED
    if unshown := sorted(({"instruction", "output"} if is_tagged else {"instruction"}) - used):
        raise UserError(f"{prompt.field}: {path} never shows the pair's {unshown[0]}. Add {{{{ {unshown[0]} }}}}.")
    if blocks and ("user" not in blocks or blocks - set(_ROLES)):
        raise UserError(
            f"{prompt.field}: {path} has the blocks {', '.join(sorted(blocks))}. Use user, or system and user, or none."
        )
    asked = "\n".join(message.content for message in prompt.messages("instruction", "input", "output"))
    for tag in (*(f"[{name}]" for name in TAGS[prompt.phase]), END_TAG) if is_tagged else ():
        if tag not in asked:
            raise UserError(f"{prompt.field}: {path} never names the tag {tag}, so no reply could be read. Ask for it.")


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@lru_cache(maxsize=32)  # compiling costs milliseconds, rendering microseconds
def _compile(text: str) -> jinja2.Template:
    return _environment().from_string(text)
