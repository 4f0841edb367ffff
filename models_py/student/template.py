r"""A chat template as text, and the prompt of an answer: what the template itself writes before a finished turn.

Many templates ask for something else than what they write. A reasoning model's, asked for an answer, opens a thinking
block, and an answer that is scored or trained on after it stands inside that block:

    its generation prompt      <|user|>Why?<|end|><|assistant|><think>\n
    its finished turn          <|user|>Why?<|end|><|assistant|>Light is scattered.<|end|>
    so an answer follows       <|user|>Why?<|end|><|assistant|>

`answer_template` finds that prefix by rendering a sentinel as the answer, and gives back a template whose generation
prompt is it, so that a saved checkpoint is asked as it was trained. A template that already asks so stays as it is,
letter by letter. One that writes no finished turns is taken at its word, unless it opens a thinking block.

A user's template may take `instruction` and `input` apart ('' is no input), as published two-part prompts do. Where
it is served with messages alone, the last user message is the instruction.

Templates see what transformers shows them (a test holds both equal), without importing it; date functions answer one
fixed day, for a score must not depend on when it was computed. Nothing here knows of tokens.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from models_py.conversation import NO_CONTEXT, Context
from models_py.errors import UserError

# Stands for a person's text while a template is taken apart; only has to survive trimming and occur nowhere else.
SENTINEL = "reflection-lake-sentinel-5d1f"
_ANSWER = "reflection-lake-answer-5d1f"  # none is part of another
_OTHER_ANSWER = "reflection-lake-other-5d1f.\n\nIt has two lines, and more words than the first."
_SPACED_ANSWER = "<think>reflection-lake-answer-5d1f</think>\n\n\n  spaced\tas it  is"
_FIXED_DAY = datetime(2024, 7, 26)
# What reasoning stands in, whoever wrote it: `<think>`, `</thought>`, `[THINK]`.
THINKING_MARK = re.compile(
    r"<(/?)(?:seed:)?(?:think|thinking|thought|thoughts|reasoning)>|\[(/?)THINK\]", re.IGNORECASE
)
# A prompt that ends so asks for thoughts, not for an answer.
_OPENS_THINKING = re.compile(
    r"(<[|/]?[\w:]*(think|thought|reason)\w*\|?>|\[THINK\]|<\|?channel\|?>\s*(analysis|thought)\s*(<\|message\|>)?)\s*$",
    re.IGNORECASE,
)
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_ANSWER_MARK = "reflection-lake-written-5d1f"
_PARTS = frozenset(("instruction", "input"))
# Stand for a tokenizer's tokens where there is none at hand.
_SOME_TOKENS: Mapping[str, str] = MappingProxyType(
    {name: f"<reflection-lake-{name}-5d1f>" for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
)

# Block tags swallow the newline after them, so `own` begins where it would begin a file; the empty string keeps the
# blanks at its end from those of the tag that follows.
_PARTS_FROM_MESSAGES = """\
{#- Reads `instruction` and `input` apart; of messages alone the last one of the user is the instruction. -#}
{%- if instruction is not defined -%}
{%- set instruction = (messages | selectattr('role', 'equalto', 'user') | list | last).content -%}
{%- set input = '' -%}
{%- endif %}
"""
_ASKING_AS_ANSWERED = f"""\
{{#- The generation prompt is what stands before a finished answer: what the model was trained to go on from. -#}}
{{%- set asks_for_answer = add_generation_prompt -%}}
{{%- if asks_for_answer -%}}
{{%- set messages = messages + [{{'role': 'assistant', 'content': '{_ANSWER}'}}] -%}}
{{%- set add_generation_prompt = false -%}}
{{%- endif -%}}
{{%- set written %}}
OWN{{{{ '' }}}}{{% endset -%}}
{{{{- written.split('{_ANSWER}')[0] if asks_for_answer else written -}}}}"""


class Unrenderable(Exception):
    """A template that cannot be compiled, or that raises on these texts."""


def instruction_text(instruction: str, input: str) -> str:
    """X as the student reads it: the instruction, then the input on a new line when there is one."""
    return f"{instruction}\n{input}" if input.strip() else instruction


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template with what its tokenizer lends it, ready to render.

    text: Jinja, what is saved with a checkpoint. own: as it was given. rest: what stands after a finished answer, None
    where the template writes none. parts: whether it takes instruction and input apart.
    """

    text: str
    own: str
    rest: str | None
    parts: bool
    tokens: Mapping[str, str]

    def prompt(self, instruction: str, input: str = "", context: Context = NO_CONTEXT) -> str:
        """All that stands before the answer. Raises Unrenderable."""
        return self._render(self.text, instruction, input, context)

    def own_prompt(self, instruction: str, input: str = "") -> str:
        """The generation prompt of the template as it was given. Raises Unrenderable."""
        return self._render(self.own, instruction, input, NO_CONTEXT)

    def finished(self, instruction: str, input: str, output: str, context: Context = NO_CONTEXT) -> str:
        """The exchange with its answer. Raises Unrenderable."""
        return self._render(self.text, instruction, input, context, output)

    @property
    def marks_answers(self) -> bool:
        """Whether it says itself, with `{% generation %}`, what of a conversation an assistant wrote."""
        return _GENERATION.search(self.own) is not None

    def prompt_with_marks(self, instruction: str, input: str, context: Context) -> tuple[str, list[tuple[int, int]]]:
        """The prompt, and from where to where an assistant wrote it as the template says. Raises Unrenderable."""
        marked = self._render(self.text, instruction, input, context, marked=True)
        spans: list[tuple[int, int]] = []
        written = ""
        parts = marked.split(_ANSWER_MARK)
        for place, part in enumerate(parts):
            if place % 2 and place + 1 < len(parts):  # the answer to come may be opened and is not closed
                spans.append((len(written), len(written) + len(part)))
            written += part
        return written, spans

    def starting_with_bos(self) -> "ChatTemplate":
        """The same with BOS in front."""
        return replace(self, text="{{ bos_token }}" + self.text, own="{{ bos_token }}" + self.own)

    def _render(
        self,
        template: str,
        instruction: str,
        input: str,
        context: Context,
        output: str | None = None,
        *,
        marked: bool = False,
    ) -> str:
        messages = [*context.messages(), {"role": "user", "content": instruction_text(instruction, input)}]
        if output is not None:
            messages.append({"role": "assistant", "content": output})
        apart = {"instruction": instruction, "input": input} if self.parts else {}
        return render(template, messages, asks=output is None, marked=marked, **self.tokens, **apart)


def answer_template(own: str, tokens: Mapping[str, str] = _SOME_TOKENS, *, spaces_texts: bool = False) -> ChatTemplate:
    """The template whose generation prompt is what `own` writes before a finished answer.

    tokens: the names and texts of the tokenizer's special tokens, as templates know them. spaces_texts: whether it puts
    a space before every text of its own accord; then one space that the template writes before an answer is that one.
    Raises UserError where the template cannot be rendered, loses or repeats a text, or asks for thoughts and writes no
    finished turns.
    """
    given = ChatTemplate(own, own, None, parts=False, tokens=tokens)
    try:
        if _PARTS & _undeclared(own):
            given = replace(given, text=_PARTS_FROM_MESSAGES + own, own=_PARTS_FROM_MESSAGES + own, parts=True)
        asked = given.prompt(SENTINEL)
    except Unrenderable as error:
        raise UserError(
            f"the student's chat template cannot be rendered: {error}; mend the Jinja file it comes from"
        ) from error
    holes(asked, [SENTINEL], "chat template")
    finished = _finished_turns(given)
    if finished is None:
        if _OPENS_THINKING.search(asked):
            raise UserError(
                "the student's chat template ends its prompt inside a thinking block "
                f"({asked[-40:]!r}) and writes no finished answer, so nobody knows what an answer follows; name a "
                "chat_template that renders an assistant message"
            )
        return given
    before, rest = finished
    if before == asked or (spaces_texts and before == asked + " "):
        return replace(given, rest=rest)
    text = _ASKING_AS_ANSWERED.replace("OWN", given.own.removesuffix("\n"), 1)
    asking = replace(given, text=text, rest=rest)
    try:
        faithful = (
            asking.prompt(SENTINEL) == before and asking.finished(SENTINEL, "", _ANSWER) == before + _ANSWER + rest
        )
    except Unrenderable:
        faithful = False
    if not faithful:
        raise UserError(
            f"the student's chat template asks for an answer with {asked[-40:]!r} but writes {before[-40:]!r} before "
            "a finished one, and it cannot be made to ask so; name a chat_template whose generation prompt is what "
            "stands before its answers"
        )
    return asking


@functools.lru_cache(maxsize=64)
def renders_as_at_first(own: str, *, spaces_texts: bool = False) -> bool:
    """Whether every row has the prompt and the target that the first release gave it under this template.

    False for those whose generation prompt is not what an answer follows, that know thinking blocks, write an answer
    otherwise than it stands there, or write BOS after something else. True for those that are refused.
    """
    try:
        template = answer_template(own, spaces_texts=spaces_texts)
        asked = template.prompt(SENTINEL)
        bos = asked.find(_SOME_TOKENS["bos_token"])
        if template.text != template.own or bos > 0:
            return False
        return template.rest is None or (
            not THINKING_MARK.search(own)
            and template.finished(SENTINEL, "", _SPACED_ANSWER).removeprefix(asked).lstrip().startswith(_SPACED_ANSWER)
        )
    except UserError:
        return True
    except Unrenderable:  # on an answer with a thinking block
        return False


def holes(rendered: str, sentinels: list[str], what: str) -> list[str]:
    """What stands around the sentinels, in order. Raises UserError where one is not there exactly once."""
    for sentinel in sentinels:
        if (times := rendered.count(sentinel)) != 1:
            raise UserError(
                f"the student's {what} writes its text {times} times; it must write it, a plain text, exactly once"
            )
    return re.split("|".join(map(re.escape, sentinels)), rendered)


def _finished_turns(template: ChatTemplate) -> tuple[str, str] | None:
    """What stands before and after a finished answer; None where the template writes no answers."""
    try:
        one, other = (template.finished(SENTINEL, "", answer) for answer in (_ANSWER, _OTHER_ANSWER))
    except Unrenderable:
        return None  # a template for prompts only
    if one == other:
        return None
    found = [one.split(_ANSWER), other.split(_OTHER_ANSWER)]
    if {*map(len, found)} != {2}:
        raise UserError(
            "the student's chat template does not write every answer exactly once, as it is; name a chat_template that "
            "does"
        )
    if found[0] != found[1]:
        raise UserError(
            "the student's chat template writes something else around each answer, so no prompt fits them all; name a "
            "chat_template whose text before and after an answer does not depend on it"
        )
    before, rest = found[0]
    if before.count(SENTINEL) != 1:
        raise UserError(
            "the student's chat template does not write the instruction before the answer; name one that does"
        )
    return before, rest


def render(template: str, messages: list[dict[str, str]], *, asks: bool, marked: bool = False, **values: Any) -> str:
    """What a template makes of messages, as transformers renders it. Raises Unrenderable for all that it raises.

    marked: with `_ANSWER_MARK` on both sides of what stands in `{% generation %}`.
    """
    try:
        rendered: str = _compiled(template, marked).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=asks, **values
        )
    except Exception as error:  # a template can raise anything
        raise Unrenderable(f"{error}" or type(error).__name__) from error
    return rendered


def _undeclared(template: str) -> set[str]:
    from jinja2 import TemplateError
    from jinja2.meta import find_undeclared_variables

    try:
        return find_undeclared_variables(_environment().parse(template))
    except TemplateError as error:
        raise Unrenderable(str(error)) from error


@functools.lru_cache(maxsize=64)
def _compiled(template: str, marked: bool) -> Any:
    return _environment(marked).from_string(template)


@functools.cache
def _environment(marked: bool = False) -> Any:
    """Jinja as transformers sets it up for chat templates."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant wrote; it writes what is inside."""

        tags = {"generation"}  # noqa: RUF012 (jinja declares it so)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            if marked:
                start, end = (nodes.Output([nodes.TemplateData(_ANSWER_MARK)]) for _ in range(2))
                body = [start, *body, end]
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": refuse, "strftime_now": _FIXED_DAY.strftime}
    return environment


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def compile_reverse_prompt(text: str) -> Callable[[str], str]:
    """The prompt that shows an answer and asks for its instruction. Raises UserError for what is no template."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        template = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(text)
    except TemplateError as error:
        raise UserError(
            f"the student's reverse prompt is not a Jinja template: {error}; mend the file it comes from"
        ) from error
    return lambda answer: template.render(answer=answer)
