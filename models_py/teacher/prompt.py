"""Prompts: one Jinja file a phase, rendered from one pair, versioned by the hash of its text.

A template has the variables `instruction`, `input` (may be empty) and `output`, and up to two Jinja blocks that become
the two messages; a template without blocks is one user message:

    {% block system %} who the teacher is {% endblock %}
    {% block user %} <record> {{ instruction }} ... {{ output }} </record> criteria, reply format {% endblock %}

A pair's text is data: braces in it are never read as Jinja. A profile replaces a bundled file through
`teachers.<name>.prompts.<phase>`. Mistakes in a template are found when it is loaded, before anything is asked.

Of a pair that ends a conversation the system text and the earlier turns are shown too: by a template that uses the
variables `system` and `history` (turns with role and content) itself, else by conversation.jinja, put in front of the
user's message. All other pairs are asked about in the very words that there were before there were conversations.

Two bundled variants say the same in another order: `record_first`, and `criteria_first`, whose system message is the
same for all pairs of a phase, so that a server's prefix cache reads it once. A third, `plain`, is for models too small
for criteria and tags: one file a request (request.py), which asks for one text and need not show the old answer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models_py.content import content_id, fingerprint
from models_py.conversation import NO_CONTEXT, Context, Message
from models_py.errors import UserError
from models_py.teacher import parser
from models_py.teacher.engines.base import profile_key
from models_py.teacher.parser import END_TAG, TAGS
from models_py.teacher.request import TAGGED, Sampling, TeacherRequest, request_hash
from models_py.teacher.spec import PromptSettings
from models_py.template_trial import problem_of

BUNDLED = Path(__file__).parent / "prompts"
CONVERSATION = "conversation"

_PAIR = {"instruction", "input", "output"}
_CONTEXT = {"system", "history"}
# The bundled conversation.jinja that need no mention in a version: there was none before them. Others change it.
_FIRST_CONVERSATIONS = frozenset(
    {
        "74c8eea69bf5a11836fcbafd09b084969c9a5b501c3ba30ff7fc930a3f0e2636",
        "ecba7d05c50f3268972611a773722cd311ef1b05022963214a74caa8f1e5ad20",
    }
)
_ROLES = ("system", "user")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A checked template. `field` is the profile's field it came from, for messages to people.

    conversation: the template of what stands before a pair; '' where the template itself shows that.
    """

    phase: str
    text: str
    field: str
    conversation: str = ""

    @property
    def version(self) -> str:
        """The sha256 hex digest of the template's text."""
        return fingerprint(self.text)

    @property
    def texts(self) -> str | list[str]:
        """What a prompt version hashes of it."""
        is_known = not self.conversation or fingerprint(self.conversation) in _FIRST_CONVERSATIONS
        return self.text if is_known else [self.text, self.conversation]

    def messages(self, instruction: str, input: str, output: str, context: Context = NO_CONTEXT) -> tuple[Message, ...]:
        """Renders one pair; raises UserError when the template cannot take it."""
        before = {"system": context.system, "history": context.history}
        values = {"instruction": instruction, "input": input, "output": output, **before}
        messages = rendered(self.text, values, self.field)
        if context and self.conversation:
            with _told(self.field):
                conversation = _compile(self.conversation).render(before).strip()
            messages["user"] = f"{conversation}\n\n{messages['user']}"
        return in_order(messages)


def rendered(text: str, values: Mapping[str, object], field: str) -> dict[str, str]:
    """The messages that a template makes of values, by role. Raises UserError, naming the profile's field."""
    with _told(field):
        template = _compile(text)
        context = template.new_context(dict(values))
        if not template.blocks:
            return {"user": "".join(template.root_render_func(context)).strip()}
        return {role: "".join(template.blocks[role](context)).strip() for role in template.blocks}


def in_order(messages: Mapping[str, str]) -> tuple[Message, ...]:
    """The messages as they are sent: the system's first."""
    return tuple(Message(role, messages[role]) for role in _ROLES if role in messages)


@contextmanager
def _told(field: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a template may call any filter on any text
        raise UserError(f"{field}: the template cannot be rendered: {error}. Correct it.") from error


def load_prompts(teacher: str, settings: PromptSettings | None = None) -> dict[str, Prompt]:
    """The prompt of every request of the teacher named `teacher`: the profile's own files, else the bundled variant.

    Raises UserError, naming the profile's field, for an unreadable file or a broken template.
    """
    settings = settings or PromptSettings()
    where = f"{profile_key(teacher)}.prompts"
    conversation = _load_conversation(settings, f"{where}.{CONVERSATION}")
    return {
        phase: _load(
            phase,
            getattr(settings, phase) or BUNDLED / settings.variant / f"{phase}.jinja",
            f"{where}.{phase}",
            conversation,
        )
        for requests in settings.requests.values()
        for phase in requests
    }


def prompt_version(
    phase: str, text: object, sampling: Sampling, identity: str, parse_attempts: int, *, request: str | None = None
) -> str:
    """The sha256 hex digest that says which reflections of a phase are current.

    `Prompt.texts` (a list where the phase has two requests), sampling, who answers, how often an unusable reply is
    asked again, and how replies are read: with more tries or another parser pairs are gone through anew, and what the
    ledger knows costs nothing. The first parser is left out, so that reflections from before parsers counted stay
    current. request: by whose parser, where it is not called like the phase.
    """
    version = parser.version_of(request or phase)
    read_by = [] if version == parser.FIRST_VERSION else [version]
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
    context: Context = NO_CONTEXT,
    parse_attempt: int = 0,
) -> TeacherRequest:
    """The request of `prompt`'s phase about one pair; `teacher` is a name, `identity` is `Engine.identity`."""
    messages = prompt.messages(instruction, input, output, context)
    version = prompt.version
    return TeacherRequest(
        request_id=request_hash(
            identity=identity, phase=prompt.phase, prompt=version, messages=messages, sampling=sampling
        ),
        teacher=teacher,
        identity=identity,
        phase=prompt.phase,
        content_id=content_id(instruction, input, output, context),
        prompt=version,
        messages=messages,
        sampling=sampling,
        parse_attempt=parse_attempt,
    )


def _load(phase: str, path: Path, field: str, conversation: str) -> Prompt:
    text = read_template(path, field)
    prompt = Prompt(phase, text, field, "" if _CONTEXT & variables_of(text, path, field) else conversation)
    _check(prompt, path)
    return prompt


def _load_conversation(settings: PromptSettings, field: str) -> str:
    """The template of what stands before a pair. Raises UserError for one that does not show all of it."""
    own = BUNDLED / settings.variant / f"{CONVERSATION}.jinja"
    path = settings.conversation or (own if own.exists() else BUNDLED / own.name)
    text = read_template(path, field)
    used = variables_of(text, path, field)
    if unshown := sorted(_CONTEXT - used):
        raise UserError(f"{field}: {path} never shows {unshown[0]}. Add {{{{ {unshown[0]} }}}}, or a loop over it.")
    if unknown := sorted(used - _CONTEXT):
        raise UserError(f"{field}: {path} uses the unknown variable {unknown[0]!r}. Use system, history or a literal.")
    return text


def read_template(path: Path, field: str) -> str:
    """The text of a template that a profile may have replaced. Raises UserError."""
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
    return text


def variables_of(text: str, path: Path, field: str) -> set[str]:
    """The variables of a template. Raises UserError for one that cannot be compiled."""
    try:
        _compile(text)
        return meta.find_undeclared_variables(_environment().parse(text))
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{field}: {path}:{error.lineno}: {error.message}. Correct the template.") from error


def _check(prompt: Prompt, path: Path) -> None:
    """Refuses what would only show after replies were paid for."""
    used = variables_of(prompt.text, path, prompt.field)
    if unknown := sorted(used - _PAIR - _CONTEXT):
        raise UserError(
            f"{prompt.field}: {path} uses the unknown variable {unknown[0]!r}. "
            f"Use {', '.join(sorted(_PAIR | _CONTEXT))} or a literal."
        )
    if len(used & _CONTEXT) == 1:
        (missing,) = _CONTEXT - used
        raise UserError(f"{prompt.field}: {path} shows half of the conversation. Add {missing}, or take the rest out.")
    is_tagged = prompt.phase in TAGGED
    if unshown := sorted(({"instruction", "output"} if is_tagged else {"instruction"}) - used):
        raise UserError(f"{prompt.field}: {path} never shows the pair's {unshown[0]}. Add {{{{ {unshown[0]} }}}}.")
    check_blocks(prompt.text, path, prompt.field)
    asked = "\n".join(message.content for message in prompt.messages("instruction", "input", "output"))
    for tag in (*(f"[{name}]" for name in TAGS[prompt.phase]), END_TAG) if is_tagged else ():
        if tag not in asked:
            raise UserError(f"{prompt.field}: {path} never names the tag {tag}, so no reply could be read. Ask for it.")


def check_blocks(text: str, path: Path, field: str) -> None:
    """Raises UserError for a template whose blocks are no messages."""
    blocks = set(_compile(text).blocks)
    if blocks and ("user" not in blocks or blocks - set(_ROLES)):
        raise UserError(
            f"{field}: {path} has the blocks {', '.join(sorted(blocks))}. Use user, or system and user, or none."
        )


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@lru_cache(maxsize=32)  # compiling costs milliseconds, rendering microseconds
def _compile(text: str) -> jinja2.Template:
    return _environment().from_string(text)
