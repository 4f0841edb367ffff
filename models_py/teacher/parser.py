r"""From a teacher's reply to fields and a status; never raises, never invents text.

    The task is vague and the answer too short ...          critique: all before the first block
    [New Instruction] Compare three sorting ... [End]       instruction
    [New Answer] Merge sort splits ... [End]                output (phase 2 has one block, [Better Answer])

Which brackets are tags:
- An opening tag counts at the start of a line (a heading, quote, list or bold mark may precede it) or directly after
  the [End] of a block. Elsewhere it is a mention, unless it is the only occurrence and an [End] follows.
- Capitals and spaces may vary, letters may not: `[ new  answer ]` is a tag; `[New Answers]`, `(New Answer)` are text.
- Each tag opened once, in order (the normal case): a block reaches to the last [End] at the end of a line before the
  next block, so a text may speak of [End]; failing that to the last [End] at all. A forgotten [End] is forgiven where
  the next block begins, and at the end of the reply when `finish_reason` says that the teacher meant to stop.
- Otherwise tags are repeated or nested: they must balance like parentheses, and the last complete set wins (a second
  try replaces the first; a format shown inside an answer stays in it). What does not balance is not guessed at.

So: instruction and answer written between well-formed tags come back exactly, stripped, for every text in which no
opening tag starts a line or directly follows an [End].

Statuses, the first that applies:
    failed       `error` is set: nothing arrived
    refused      finish_reason content_filter
    truncated    finish_reason length, even if blocks look whole: the last [End] may have been one the text speaks of
    empty        no reply, or one of blanks and invisible characters
    refused      no readable block, and the reply opens by declining
    missing_tag  a block is absent, unclosed, or ambiguous
    empty        a block of blanks and invisible characters
    placeholder  a block holds the words of a format section (`the full text of the new answer`, `...`)
    ok           every block has text
Only `ok` carries instruction and output; what they say is for the student to judge.

Texts are those of the reply after `normalise_reply`: line ends are \n, NULs dropped, lone surrogates U+FFFD.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION

FIRST_VERSION = "1"  # of what says nothing about its parser
PARSER_VERSION = "1"  # raise it when a reply is read differently: stored replies are then read again, nobody is asked

Status = Literal["ok", "missing_tag", "placeholder", "empty", "truncated", "refused", "failed"]

TAGS: dict[str, tuple[str, ...]] = {
    INSTRUCTION_REFLECTION: ("New Instruction", "New Answer"),
    RESPONSE_REFLECTION: ("Better Answer",),
}
END_TAG = "[End]"


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """`instruction` is None in the response phase; `critique` is what precedes the first block, None without one."""

    status: Status
    critique: str | None = None
    instruction: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class _Mark:
    """One bracket that may be a tag: `name` None is [End]."""

    name: str | None
    start: int
    stop: int
    certain: bool = True  # False: a lone mention inside a line


# Spaces and what cannot be seen: zero-width characters, bidirectional marks, byte order mark.
_INVISIBLE = r"\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_GAP = rf"[\s{_INVISIBLE}]"
_BLANK = rf"[^\S\n]|[{_INVISIBLE}]"

_LINE_PREFIX = re.compile(rf"(?:{_BLANK})*(?:(?:#{{1,6}}|>|[-*+]|\d{{1,2}}[.)])(?:{_BLANK})*)?")
_LINE_PREFIX_MAX = 40  # a longer prefix is text; bounds the work on one-line replies
_LINE_END = re.compile(rf"(?:{_BLANK})*(?:\n|\Z)")
_VISIBLE = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f\xad{_INVISIBLE}]")

# Code such as `items[end]` is no tag: only the exact [End] may touch a word.
_END_PATTERN = rf"(?P<end>\[End\]|(?<!\w)\[{_GAP}*(?i:end){_GAP}*\])"


def _tag_pattern(names: Sequence[str]) -> re.Pattern[str]:
    words = "|".join(
        rf"(?P<tag{index}>\[{_GAP}*(?i:{f'{_GAP}+'.join(name.split())}){_GAP}*\])" for index, name in enumerate(names)
    )
    bold = r"(?P<bold>\*{1,3}|__)?"
    return re.compile(rf"{bold}(?:{_END_PATTERN}|(?:{words}):?)(?(bold)(?P=bold))")


_PATTERNS = {phase: _tag_pattern(names) for phase, names in TAGS.items()}

# Words of a format section, compared with a block's words, punctuation aside. One qualifying word is demanded, since
# "Question" or "Text" alone can be an answer.
_PLACEHOLDER = re.compile(
    r"(?=.*\b(?:your|new|better|improved|revised|rewritten|here|insert|full|complete)\b)"
    r"(?:(?:please )?(?:insert|write|put|place|enter|type|add|provide|give) )?"
    r"(?:(?:the|your|a|an|my|this) )?(?:(?:full|complete|whole|actual) )?(?:text (?:of|for) )?"
    r"(?:(?:the|your|a|an|my|this) )?(?:(?:new|better|improved|revised|rewritten) )*"
    r"(?:instruction|answer|response|question|prompt|text|task|output)(?: text)?(?: (?:goes|comes|is))?(?: here)?",
)
_ELLIPSIS = re.compile(r"[\[(<{]*\s*(?:\.{2,}|…+|_{3,}|-{3,})\s*[\])>}]*")
_PLACEHOLDER_MAX = 100  # characters; what is longer was written, not echoed

_REFUSAL = re.compile(
    r"\W*(?:i'?m|i am|we'?re|we are) (?:\w+ )?sorry\b"
    r"|\W*sorry,? (?:but )?(?:i|we|this|that)\b"
    r"|\W*(?:i|we) (?:can'?t|cannot|can not|won'?t|will not|must decline|have to decline|decline|apologi[sz]e)\b"
    r"|\W*(?:i'?m|i am|we are) (?:unable|not able|not going) to\b"
    r"|\W*as an ai\b"
    r"|.{0,150}?\b(?:i|we) (?:can'?t|cannot|won'?t|will not|am unable to|am not able to)"
    r" (?:help|assist|comply|fulfil|fulfill|support|take part|engage|continue|rewrite|do (?:this|that|so))\b",
    re.IGNORECASE | re.DOTALL,
)
_REFUSAL_MAX = 400  # characters; a refusal begins with itself

_STOPPED: dict[str, Status] = {"content_filter": "refused", "length": "truncated"}

_THINKING = re.compile(r"\s*<think>(?:.*?</think>|.*)", re.DOTALL)
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def parse_reply(phase: str, reply: str | None, finish_reason: str | None, error: str | None = None) -> ParsedReply:
    """Reads one reply of `phase`; the module's docstring states every rule.

    `finish_reason` uses OpenAI's words (stop, length, content_filter); anything else is no sign of a meant end.
    A leading `<think>...</think>` of a reasoning model is not part of the reply.
    """
    if error is not None:
        return ParsedReply("failed")
    text = normalise_reply(reply or "")
    if thinking := _THINKING.match(text):
        text = text[thinking.end() :]
    openings, bodies = _read_blocks(text, phase, may_end=finish_reason == "stop")
    critique = (text[: openings[0].start].strip() or None) if openings else None
    status = _STOPPED.get(finish_reason or "") or _judge(text, bodies)
    if status != "ok" or bodies is None:
        return ParsedReply(status, critique)
    instruction = bodies[0] if phase == INSTRUCTION_REFLECTION else None
    return ParsedReply("ok", critique, instruction, bodies[-1])


def _judge(text: str, bodies: Sequence[str] | None) -> Status:
    if not _is_visible(text):
        return "empty"
    if bodies is None:
        return "refused" if _REFUSAL.match(text[:_REFUSAL_MAX].replace("’", "'")) else "missing_tag"
    if not all(map(_is_visible, bodies)):
        return "empty"
    return "placeholder" if any(map(_is_placeholder, bodies)) else "ok"


def normalise_reply(reply: str) -> str:
    r"""The reply with \n line ends, without NULs, and encodable as UTF-8 (lone surrogates become U+FFFD)."""
    return encodable(reply).replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")


def encodable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 file or database holds, replaced by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def _read_blocks(text: str, phase: str, *, may_end: bool) -> tuple[list[_Mark], list[str] | None]:
    """The opening tags that count, and the text of every block in the phase's order, or None."""
    names = TAGS[phase]
    marks = _find_marks(text, phase)
    openings = _find_openings(text, marks, names)
    if [mark.name for mark in openings] == list(names):
        spans = _spans_in_order(text, marks, openings, may_end=may_end)
    else:
        spans = _spans_balanced(text, marks, openings, names)
    if spans is None:
        return [mark for mark in openings if mark.certain], None
    return openings, [text[start:stop].strip() for start, stop in spans]


def _find_marks(text: str, phase: str) -> list[_Mark]:
    marks = []
    for match in _PATTERNS[phase].finditer(text):
        name = next((name for index, name in enumerate(TAGS[phase]) if match[f"tag{index}"]), None)
        marks.append(_Mark(name, match.start(), match.end()))
    return marks


def _find_openings(text: str, marks: Sequence[_Mark], names: Sequence[str]) -> list[_Mark]:
    openings: list[_Mark] = []
    for previous, mark in zip([None, *marks], marks, strict=False):
        if mark.name is None:
            continue
        if (line := _line_start(text, mark.start)) is not None:
            openings.append(_Mark(mark.name, line, mark.stop))
        elif openings and previous and previous.name is None and _only_blanks(text, previous.stop, mark.start):
            openings.append(mark)
    found = {mark.name for mark in openings}
    for name in names:
        mentions = [mark for mark in marks if mark.name == name]
        if name not in found and len(mentions) == 1:
            openings.append(_Mark(name, mentions[0].start, mentions[0].stop, certain=False))
    return sorted(openings, key=lambda mark: mark.start)


def _spans_in_order(
    text: str, marks: Sequence[_Mark], openings: Sequence[_Mark], *, may_end: bool
) -> list[tuple[int, int]] | None:
    """Each tag opens once: a block reaches to its last [End]."""
    spans = []
    for opening, following in zip_longest(openings, openings[1:]):
        limit = following.start if following else len(text)
        ends = [mark for mark in marks if mark.name is None and opening.stop <= mark.start < limit]
        if ends:
            last = ends[-1]
            if not _only_blanks(text, last.stop, limit):
                last = next((mark for mark in reversed(ends) if _ends_line(text, mark)), last)
            spans.append((opening.stop, last.start))
        elif opening.certain and (following or may_end):
            spans.append((opening.stop, limit))
        else:
            return None
    return spans


def _spans_balanced(
    text: str, marks: Sequence[_Mark], openings: Sequence[_Mark], names: Sequence[str]
) -> list[tuple[int, int]] | None:
    """Tags are repeated or nested: the outermost balanced blocks, of which the last complete set counts."""
    opened = {mark.stop: mark for mark in openings}
    blocks: list[tuple[str | None, tuple[int, int]]] = []
    stack: list[_Mark] = []
    for mark, following in zip_longest(marks, marks[1:]):
        if mark.stop in opened:
            stack.append(opened[mark.stop])
        elif mark.name is None and (stack or blocks):
            meets_opening = following and following.stop in opened and _only_blanks(text, mark.stop, following.start)
            if not (meets_opening or _ends_line(text, mark)):
                continue  # a mention
            if not stack:
                return None
            opening = stack.pop()
            if not stack:
                blocks.append((opening.name, (opening.stop, mark.start)))
    if stack:
        return None
    spans: list[tuple[int, int]] = []
    index = len(blocks)
    for name in reversed(names):
        index = next((i for i in range(index - 1, -1, -1) if blocks[i][0] == name), -1)
        if index < 0:
            return None
        spans.insert(0, blocks[index][1])
    return spans


def _line_start(text: str, position: int) -> int | None:
    """Where the line of `position` starts, if only a prefix (`##`, `>`, `1.`) lies between; else None."""
    earliest = max(0, position - _LINE_PREFIX_MAX)
    line = text.rfind("\n", earliest, position) + 1
    if line == 0 and earliest > 0:
        return None
    return line if _LINE_PREFIX.fullmatch(text, line, position) else None


def _ends_line(text: str, mark: _Mark) -> bool:
    return _LINE_END.match(text, mark.stop) is not None


def _only_blanks(text: str, start: int, stop: int) -> bool:
    return _VISIBLE.search(text, start, stop) is None


def _is_visible(text: str) -> bool:
    return _VISIBLE.search(text) is not None


def _is_placeholder(body: str) -> bool:
    if len(body) > _PLACEHOLDER_MAX:
        return False
    words = " ".join(re.findall(r"\w+", body.casefold()))
    return bool(_ELLIPSIS.fullmatch(body) or _PLACEHOLDER.fullmatch(words))
