r"""From a teacher's reply to fields and a status; never raises, never invents text.

    The task is vague and the answer too short ...          critique: all before the first block
    [New Instruction] Compare three sorting ... [End]       instruction
    [New Answer] Merge sort splits ... [End]                output (phase 2 has one block, [Better Answer])

Reasoning before it and tokens around it are no part of a reply (reply_text.py). What opens a block, of each block the
first kind that the reply has, so that a text may hold all later ones:
1. `[New Answer]` at the start of a line (a heading, quote, list or bold mark may precede it) or directly after the
   [End] of a block. Capitals and spaces may vary, letters may not: `[New Answers]`, `(New Answer)` are text.
2. The same in other spellings: `[New Answer:]`, `[**New Answer**]`, `**2. [New Answer]**`, `\[New Answer\]`, full-width
   brackets, backticks, `<new_answer>`.
3. The only mention inside a line, if a closing tag follows or a colon introduces it; or the words as a heading (`New
   Answer:`, `### New Answer`) that stands in no block: whichever comes last. Else `[New Answer: the text]`.

What closes it is [End], or a tag that says it of this block: `[/New Answer]`, `[End of Answer]`, `</new_answer>`.
- Each tag opened once (the normal case, in either order): it is the last closing tag on a line of its own, behind which
  a paragraph ends; else the first behind which one ends; else the last at the end of a line; else the last. So a text
  may speak of [End], and so may what the teacher adds after it. Sections that the teacher adds in the same form
  (`[Reason] ... [End]`) are told from a text's own by counting.
- Without any: the opening tag repeated at the end of the block, or a line that says End. A forgotten one is forgiven
  where the next block begins, and at the end of the reply when the teacher meant to stop.
- Otherwise tags are repeated or nested: they must balance like parentheses, and the last complete set wins (a second
  try replaces the first; a format shown inside an answer stays in it). If they do not, an opening tag written twice in
  a row counts once, and tags in fenced code are the text's own. What does not balance then is not guessed at.

So: instruction and answer written between plain tags on lines of their own come back exactly, stripped, for every text
in which no opening tag starts a line or directly follows an [End], and no [End] on a line of its own is followed by a
blank line and a line `[Like this]`; with tags on the text's lines, if also no [End] in it ends a paragraph.
What a teacher draws around a text goes: marks of a quote that holds the tags too, rules on both sides.

Statuses, the first that applies:
    failed       `error` is set: nothing arrived, and finish_reason does not say that nothing ever will
    refused      it ended for content_filter
    repetitive   a server ended it for that, or it ended for length with an end that repeats itself (repetition.py)
    truncated    it ended for length, even if blocks look whole: the last [End] may have been one the text speaks of
    empty        no reply, or one of blanks, invisible characters and reasoning
    refused      no readable block, and the reply opens by declining
    repetitive   a block, or a reply without readable ones, that repeats itself
    missing_tag  a block is absent, unclosed, or ambiguous
    empty        a block of blanks and invisible characters
    placeholder  a block holds the words of a format section (`the full text of the new answer`, `...`), or says that
                 there is none (`N/A`, `same as above`), or the answer is the instruction once more
    ok           every block has text
Only `ok` carries instruction and output; what they say is for the student to judge.

A plain reply (request.PLAIN) is one text, whole. It has no tags to miss; it is `refused` only where it is short and
says that it cannot help, since an answer may begin with an apology.

Texts are those of the reply after `normalise_reply`: line ends are \n, NULs dropped, lone surrogates U+FFFD.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Literal

from models_py.teacher.repetition import repeats_itself
from models_py.teacher.reply_text import Ending, how_it_ended, reply_text
from models_py.teacher.request import INSTRUCTION_REFLECTION, NEW_INSTRUCTION, RESPONSE_REFLECTION, TAGGED

FIRST_VERSION = "1"  # of what says nothing about its parser
PARSER_VERSION = "3"  # raise it when a reply is read differently: stored replies are then read again, nobody is asked
PLAIN_VERSION = "2"  # likewise where replies without tags alone are

Status = Literal["ok", "missing_tag", "placeholder", "empty", "repetitive", "truncated", "refused", "failed"]

TAGS: dict[str, tuple[str, ...]] = {
    INSTRUCTION_REFLECTION: ("New Instruction", "New Answer"),
    RESPONSE_REFLECTION: ("Better Answer",),
}
END_TAG = "[End]"


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """`instruction` is None in the response phase; `critique` is what precedes the first block, None without one.

    Of a plain reply one of the two texts is None.
    """

    status: Status
    critique: str | None = None
    instruction: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class _Mark:
    """A tag, or what may be one. `opens` names the block, None for a closing tag, which `closes` one block or any."""

    start: int
    stop: int
    opens: str | None = None
    closes: str | None = None
    plain: bool = True  # False: any spelling but `[New Answer]`
    certain: bool = True  # False: a lone mention inside a line


# ── what tags look like ────────────────────────────────────────────────────────────────────────────────────────────

# Spaces and what cannot be seen: zero-width characters, bidirectional marks, byte order mark.
_INVISIBLE = r"\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_GAP = rf"[\s{_INVISIBLE}]"
_BLANK = rf"[^\S\n]|[{_INVISIBLE}]"
_VISIBLE = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f\xad{_INVISIBLE}]")

_LEFT, _RIGHT = r"(?:\\?\[{1,2}|［|【)", r"(?:\\?\]{1,2}|］|】)"
_HTML = r"(?:b|strong|i|em|u|p|code|h[1-6])"
_EMPHASIS = r"[*_`]{0,3}"
_LINE_PREFIX = re.compile(rf"(?:{_BLANK})*(?:(?:#{{1,6}}|>|[-*+]|\d{{1,2}}[.)])(?:{_BLANK})*)?")
# Marks, symbols and numbers: `> **2.`, `### (b)`, `Step 2:`.
_NUMBER = r"\(?(?:\d{1,2}(?:\.\d{1,2})?|[A-Da-d]|[IVXivx]{1,4})[.):]|(?i:step|part|section) ?\d{1,2}[.):]?"
_LOOSE = rf"(?:{_BLANK}|[>#*_`+\-=|•\u2190-\u2bff\ufe0f\U0001f300-\U0001faff]|{_NUMBER})"
_LOOSE_PREFIX = re.compile(f"{_LOOSE}*")
_LINE_PREFIX_MAX = 40  # a longer prefix is text; bounds the work on one-line replies
_LINE_END = re.compile(rf"[*_`\"”’)]{{0,3}}(?:{_BLANK})*(?:\n|\Z)")
_PARAGRAPH_END = re.compile(rf"{_LINE_END.pattern}(?:{_BLANK})*(?:\n|\Z|```|~~~|-{{3,}}|\*{{3}}|___|===)")

# Code such as `items[end]` is no tag: only the exact [End] may touch a word.
_END_PATTERN = (
    rf"(?P<end>\[End\]|(?<!\w)(?:\[{_GAP}*(?i:end){_GAP}*\]"
    rf"|{_LEFT}{_GAP}*{_EMPHASIS}/?(?i:end){_EMPHASIS}(?:{_GAP}{{0,3}}[.:：])?{_GAP}*{_RIGHT}))"
)
_OF = rf"(?:/{_GAP}*|(?i:end){_GAP}+(?:(?i:of){_GAP}+)?(?:(?i:the|your){_GAP}+)?)"


_ALSO_CALLED = {"Instruction": "prompt|task|question", "Answer": "response|reply|output|text"}


def _tag_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """Every tag: `open0` and `plain0` of the first block, `close0` of it alone, `end` of any."""
    alternatives = [_END_PATTERN]
    for index, name in enumerate(names):
        first, last = name.split()
        words, spelled = rf"{first}{_GAP}+{last}", rf"{first}(?:{_GAP}+|[_-]){last}"
        xml = rf"{first}(?:{_GAP}+|[_-])?{last}"
        named = rf"(?:(?:{first}(?:{_GAP}+|[_-]))?{last}|{_ALSO_CALLED[last]})"
        alternatives += [
            rf"(?P<plain{index}>\[{_GAP}*(?i:{words}){_GAP}*\]:?)",
            rf"(?P<open{index}>(?:{_LEFT}{_GAP}*{_EMPHASIS}(?i:{spelled}){_EMPHASIS}(?:{_GAP}{{0,3}}[:：])?{_EMPHASIS}{_GAP}*{_RIGHT}"
            rf"|<{_GAP}*(?i:{xml}){_GAP}*>)[:：]?)",
            rf"(?P<close{index}>{_LEFT}{_GAP}*{_EMPHASIS}(?:{_OF}(?i:{named})|(?i:{named}){_GAP}+(?i:end)){_EMPHASIS}"
            rf"(?:{_GAP}{{0,3}}[.:：])?{_GAP}*{_RIGHT}|<{_GAP}*{_OF}(?i:{xml}){_GAP}*>)",
        ]
    emphasis = r"(?P<emphasis>\*{1,3}|__?|`{1,3})?"
    tag = rf"{emphasis}(?:{'|'.join(alternatives)})(?(emphasis)(?P=emphasis)[:：]?)"
    may_start = r"(?=[\[\\［【<*_`])"  # text is passed over thirty times faster
    return re.compile(rf"{may_start}(?P<html><{_HTML}>)?{tag}(?(html)</{_HTML}>[:：]?)")


def _heading_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """A tag's words without brackets, where they can be nothing but a heading: `**New Answer:**`, `### New Answer`."""
    words = "|".join(
        rf"(?P<open{index}>{name[0]}(?i:{name[1:].replace(' ', rf'(?:{_BLANK})+')}))"
        for index, name in enumerate(names)
    )
    ends = rf"(?:{_BLANK})*(?:[:：]{_EMPHASIS}|(?<=[\s*_`])[-–—](?=\s)|[=\-~#|]{{0,6}}(?=\n|\Z))"
    return re.compile(rf"^{_LOOSE}{{0,{_LINE_PREFIX_MAX}}}(?:{words}){_EMPHASIS}{ends}", re.MULTILINE)


def _holding_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """The beginning of `[New Answer: Rain falls.]`."""
    words = "|".join(rf"(?P<open{i}>(?i:{name.replace(' ', f'{_GAP}+')}))" for i, name in enumerate(names))
    return re.compile(rf"^{_LOOSE}{{0,{_LINE_PREFIX_MAX}}}{_LEFT}(?:{words})[:：]\s*(?![\]］】\\])", re.MULTILINE)


_PATTERNS = {phase: _tag_pattern(names) for phase, names in TAGS.items()}
_HEADINGS = {phase: _heading_pattern(names) for phase, names in TAGS.items()}
_HOLDING = {phase: _holding_pattern(names) for phase, names in TAGS.items()}
_BRACKET = re.compile(r"[\[\]［］]")
_BARE_END = re.compile(
    rf"(?:^(?:{_BLANK}|[>*_`(<\-=~])*|(?<=[.!?。！？])[ ]?[*_`(<]{{0,3}})\[?(?:End|END|(?<=[.。]\n)end)\]?"
    rf"[*_`)>.\-=~ ]{{0,5}}(?={_PARAGRAPH_END.pattern})",
    re.MULTILINE,
)
_BEGIN = re.compile(r"^\W*(?:begin|start)\b", re.IGNORECASE | re.MULTILINE)  # whose End is the text's own
_SECTION = re.compile(rf"^{_LOOSE}{{0,8}}\[(?!(?i:end)\b)[A-Z][^\[\]\n]{{1,40}}\][:*_` ]{{0,4}}$", re.MULTILINE)
_FENCE = re.compile(rf"^(?:{_BLANK}){{0,3}}(?P<fence>`{{3,}}|~{{3,}})(?P<info>[^\n`]*)$", re.MULTILINE)
_NEXT_FENCE = re.compile(rf"{_LINE_END.pattern}\s*(?:`{{3}}|~{{3}})")
_QUOTE = re.compile(r"^\s*>[ ]?")
_RULE_MAX = 100  # characters; a longer line is text
_RULE = rf"(?:{_BLANK})*(?:-{{3,}}|\*{{3,}}|_{{3,}}|={{3,}}|—{{3,}})(?:{_BLANK})*"
_LEADING_RULE = re.compile(rf"\s*{_RULE}\n")
_TRAILING_RULE = re.compile(rf"(?:\n|\A){_RULE}\s*\Z")
_KEY = re.compile(r"\s*[\w\-]+:(?:\s|$)")  # what stands between rules is YAML, and the rules belong to it

# ── what is no text ────────────────────────────────────────────────────────────────────────────────────────────────

# Words of a format section, compared with a block's words, punctuation aside. One qualifying word is demanded, since
# "Question" or "Text" alone can be an answer.
_THING = r"(?:instruction|answer|response|question|prompt|text|task|output)"
_PLACEHOLDER = re.compile(
    r"(?=.*\b(?:your|new|better|improved|revised|rewritten|here|insert|full|complete)\b)"
    r"(?:(?:please )?(?:insert|write|put|place|enter|type|add|provide|give) )?"
    r"(?:(?:the|your|a|an|my|this) )?(?:(?:full|complete|whole|actual) )?(?:(?:text|content|body) (?:of|for) )?"
    r"(?:(?:the|your|a|an|my|this) )?(?:(?:new|better|improved|revised|rewritten) )*"
    rf"{_THING}(?: text)?(?: (?:goes|comes|is))?(?: here)?",
)
_BRACKETED = re.compile(
    rf"[\[<{{(]{{1,2}}\s*(?:{_THING}|[^\[\]<>{{}}()\n]*\b(?:your|here|insert)\b[^\[\]<>{{}}()\n]*)\s*[\])>}}]{{1,2}}",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(r"[\[(<{\"'“]*\s*(?:\.{2,}|…+|_{3,}|-{3,})\s*[\])>}\"'”]*")
# What stands where nothing was written. `None`, `Same` or `Na` can be answers; no instruction is `None`.
_OTHER_TEXT = r"(?:the )?(?:above|before|original|previous)(?: (?:one|answer|instruction|response|text))?"
_UNWRITTEN = re.compile(
    rf"not applicable|ditto|tbd|todo|to be (?:determined|added|written)|(?:please )?(?:see|as|same as) {_OTHER_TEXT}"
    rf"|(?:the )?same (?:answer|instruction|response|text)(?: as {_OTHER_TEXT})?"
    r"|(?:the )?(?:original|existing|given|current|previous) (?:answer|instruction|response)"
    r"(?: (?:is|was|stays|remains))?(?: already)?"
    r"(?: (?:good|fine|correct|sufficient|excellent|perfect|adequate|optimal|unchanged|the same|as is))?"
    r"|(?:there (?:is|are) )?no (?:further |new |better |improved )?"
    r"(?:instruction|answer|response|improvement|change|revision|modification)s?(?: (?:is|are|was|were))?"
    r" (?:needed|required|necessary|possible|provided|given|made)"
    rf"|(?:{_THING} )?omitted for brevity|{_THING} omitted"
    r"|不适用|无需(?:修改|更改|改进)|同上|no aplica|sans objet|non applicable|n[ãa]o se aplica|entfällt|не ?применимо"
)
_NOT_APPLICABLE = re.compile(r"\W*n\s*[/.]\s*a(?:\W*|\.?\s*[-–—:(].*)", re.IGNORECASE | re.DOTALL)
_NO_INSTRUCTION = re.compile(r"\W*(?:none|null|nil|nothing|na|无)\W*|[\s\-–—_.]+", re.IGNORECASE)

_PLACEHOLDER_MAX = 100  # characters; what is longer was written, not echoed

_CANNOT = (
    r"\W*as an ai\b"
    r"|.{0,150}?\b(?:i|we) (?:can'?t|cannot|won'?t|will not|am unable to|am not able to)"
    r" (?:help|assist|comply|fulfil|fulfill|support|take part|engage|continue|rewrite|do (?:this|that|so))\b"
)
_REFUSAL = re.compile(
    r"\W*(?:i'?m|i am|we'?re|we are) (?:\w+ )?sorry\b"
    r"|\W*sorry,? (?:but )?(?:i|we|this|that)\b"
    r"|\W*(?:i|we) (?:can'?t|cannot|can not|won'?t|will not|must decline|have to decline|decline|apologi[sz]e)\b"
    r"|\W*(?:i'?m|i am|we are) (?:unable|not able|not going) to\b"
    rf"|{_CANNOT}",
    re.IGNORECASE | re.DOTALL,
)
_CANNOT_HELP = re.compile(_CANNOT, re.IGNORECASE | re.DOTALL)
_REFUSAL_MAX = 400  # characters; a refusal begins with itself

_REPEATED_MIN = 20  # characters

_STOPPED: dict[str, Status] = {"content_filter": "refused", "length": "truncated", "repetition": "repetitive"}
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def parse_reply(phase: str, reply: str | None, finish_reason: str | None, error: str | None = None) -> ParsedReply:
    """Reads one reply of `phase`; the module's docstring states every rule."""
    if error is not None:
        return ParsedReply(_STOPPED.get(finish_reason or "", "failed"))
    ending = how_it_ended(finish_reason)
    whole = normalise_reply(reply or "")
    if ending == "length" and repeats_itself(whole, was_cut=True):
        ending = "repetition"
    if phase not in TAGGED:
        return _parse_plain(phase, reply_text(whole, lambda _: ([], []), is_all=True).strip(), ending)
    text = reply_text(whole, lambda given: _tag_places(given, phase))
    openings, bodies = _read_blocks(text, phase, may_end=ending == "stop")
    critique = (text[: openings[0].start].strip() or None) if openings else None
    status = _STOPPED.get(ending or "stop") or _judge(text, bodies)
    if status != "ok" or bodies is None:
        return ParsedReply(status, critique)
    instruction = bodies[0] if phase == INSTRUCTION_REFLECTION else None
    return ParsedReply("ok", critique, instruction, bodies[-1])


def version_of(request: str) -> str:
    """The version that reads replies to requests of that name."""
    return PARSER_VERSION if request in TAGGED else f"{PARSER_VERSION}.{PLAIN_VERSION}"


def _parse_plain(phase: str, text: str, ending: Ending | None) -> ParsedReply:
    declines = len(text) <= _REFUSAL_MAX and _CANNOT_HELP.match(text.replace("’", "'"))
    status = _STOPPED.get(ending or "stop") or ("refused" if declines else _judge(text, [text]))
    if status != "ok":
        return ParsedReply(status)
    if phase != NEW_INSTRUCTION:
        return ParsedReply("ok", output=text)
    return ParsedReply("placeholder") if _NO_INSTRUCTION.fullmatch(text) else ParsedReply("ok", instruction=text)


def _judge(text: str, bodies: Sequence[str] | None) -> Status:
    if not _is_visible(text):
        return "empty"
    if bodies is None and _REFUSAL.match(text[:_REFUSAL_MAX].replace("’", "'")):
        return "refused"
    if any(repeats_itself(body, was_cut=False) for body in bodies or [text]):
        return "repetitive"
    if bodies is None:
        return "missing_tag"
    if not all(map(_is_visible, bodies)):
        return "empty"
    unwritten = len(bodies) > 1 and (_NO_INSTRUCTION.fullmatch(bodies[0]) or _is_repeated(*bodies))
    return "placeholder" if unwritten or any(map(_is_placeholder, bodies)) else "ok"


def _is_repeated(instruction: str, answer: str) -> bool:
    """Whether the answer is the instruction once more; a word or two may answer themselves."""
    return len(instruction) > _REPEATED_MIN and instruction.split() == answer.split()


def normalise_reply(reply: str) -> str:
    r"""The reply with \n line ends, without NULs, and encodable as UTF-8 (lone surrogates become U+FFFD)."""
    return encodable(reply).replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")


def encodable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 file or database holds, replaced by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


# ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_blocks(text: str, phase: str, *, may_end: bool) -> tuple[list[_Mark], list[str] | None]:
    """The opening tags that count, and the text of every block in the phase's order, or None."""
    marks = _find_marks(text, phase)
    openings = _find_openings(text, marks, phase)
    for tags, counted in _readings(text, phase, marks, openings):
        if spans := _spans(text, tags, counted, TAGS[phase], may_end=may_end):
            return counted, [_body(text, phase, *span) for span in spans]
    return _held(text, phase) or ([mark for mark in openings if mark.certain], None)


def _readings(
    text: str, phase: str, marks: list[_Mark], openings: list[_Mark]
) -> Iterator[tuple[list[_Mark], list[_Mark]]]:
    """All tags with the opening ones that count: the first in which blocks are complete is what the reply says."""
    yield marks, openings
    yield marks, _without_doubles(text, openings)
    outside = _outside_code(text, marks, openings)
    yield outside, _find_openings(text, outside, phase)


def _find_marks(text: str, phase: str) -> list[_Mark]:
    return [_mark(match, phase) for match in _PATTERNS[phase].finditer(text)]


def _mark(match: re.Match[str], phase: str) -> _Mark:
    """The mark that a match is: its last group, as `plain0`, says which."""
    group = match.lastgroup or ""
    kind = group.rstrip("0123456789")
    name = TAGS[phase][int(group[len(kind) :])] if kind != group else None
    if kind in ("close", "end"):
        return _Mark(match.start(), match.end(), closes=name)
    return _Mark(match.start(), match.end(), opens=name, plain=kind == "plain" and match[0][0] not in "`<")


def _tag_places(text: str, phase: str) -> tuple[list[int], list[int]]:
    """Where tags open blocks, and where tags that close them end."""
    marks = _find_marks(text, phase)
    openings = _find_openings(text, marks, phase)
    return [one.start for one in openings if one.certain], [one.stop for one in marks if not one.opens]


def _find_openings(text: str, marks: Sequence[_Mark], phase: str) -> list[_Mark]:
    """The opening tags that count, of each block in the spelling that says most clearly that it is one."""
    clear: list[_Mark] = []
    other: list[_Mark] = []
    for previous, mark in zip([None, *marks], marks, strict=False):
        if mark.opens is None:
            continue
        follows = previous is not None and previous.opens is None and _only_blanks(text, previous.stop, mark.start)
        if mark.plain and (line := _line_start(text, mark.start, _LINE_PREFIX)) is not None:
            clear.append(replace(mark, start=line))
        elif mark.plain and clear and follows and previous and not previous.closes:
            clear.append(mark)
        elif (line := _line_start(text, mark.start, _LOOSE_PREFIX)) is not None:
            other.append(replace(mark, start=line, stop=_after_emphasis(text, line, mark)))
        elif follows and (clear or other):
            other.append(mark)
    found: list[_Mark] = []
    for name in TAGS[phase]:
        for spelling in (clear, other):
            named = [mark for mark in spelling if mark.opens == name]
            if named:
                break
        found += named or _heading_or_mention(text, phase, name, marks, clear or other)
    return _without_closing(text, marks, sorted(found, key=lambda mark: mark.start))


def _heading_or_mention(text: str, phase: str, name: str, marks: Sequence[_Mark], tags: Sequence[_Mark]) -> list[_Mark]:
    """What opens a block that no tag at the start of a line does: its words as a heading, or a tag named only once.

    A heading is text where it stands in a block of `tags` that is closed only behind it.
    """
    opened = [mark.stop for mark in tags]
    closed = [mark.start for mark in marks if mark.opens is None]
    headings = []
    for match in _HEADINGS[phase].finditer(text):
        mark = _mark(match, phase)
        before, closing = bisect_right(opened, mark.start), bisect_left(closed, mark.start)
        is_inside = before > 0 and closing < len(closed) and (closing == 0 or closed[closing - 1] < opened[before - 1])
        if mark.opens == name and not is_inside:
            headings.append(mark)
    mentions = [mark for mark in marks if mark.opens == name]
    if len(mentions) != 1 or (len(headings) == 1 and headings[0].start > mentions[0].start):
        return headings
    if text.startswith("`", mentions[0].start):
        return []
    introduced = text[: mentions[0].start][-_LINE_PREFIX_MAX:].rstrip().endswith((":", "："))
    return [replace(mentions[0], certain=introduced)]


def _without_closing(text: str, marks: Sequence[_Mark], openings: Sequence[_Mark]) -> list[_Mark]:
    """Without opening tags that are repeated behind their block to close it."""
    ends = [mark.start for mark in marks if mark.opens is None]
    kept: list[_Mark] = []
    for mark, following in zip_longest(openings, openings[1:]):
        previous = kept[-1] if kept else None
        limit = following.start if following else len(text)
        closes = (
            previous is not None
            and previous.opens == mark.opens
            and bisect_left(ends, previous.stop) == bisect_left(ends, mark.start)
            and not _only_blanks(text, previous.stop, mark.start)
            and _only_blanks(text, mark.stop, limit)
        )
        if not closes:
            kept.append(mark)
    return kept


def _without_doubles(text: str, openings: Sequence[_Mark]) -> list[_Mark]:
    """Of an opening tag that is written twice in a row, one."""
    kept: list[_Mark] = []
    for mark in openings:
        if kept and kept[-1].opens == mark.opens and _only_blanks(text, kept[-1].stop, mark.start):
            kept[-1] = replace(mark, start=kept[-1].start)
        else:
            kept.append(mark)
    return kept


def _outside_code(text: str, marks: Sequence[_Mark], openings: Sequence[_Mark]) -> list[_Mark]:
    """Tags without those in the fenced code of a block."""
    fences: list[tuple[int, int]] = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text, openings[0].stop if openings else len(text)):
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]) and not match["info"].strip():
            fences.append((opened.start(), match.end()))
            opened = None
    fence = [bisect_right(fences, (mark.start, len(text))) - 1 for mark in marks]
    return [mark for mark, at in zip(marks, fence, strict=True) if at < 0 or mark.start >= fences[at][1]]


# ── where blocks begin and end ─────────────────────────────────────────────────────────────────────────────────────

_Span = tuple[_Mark, int, int]  # opening tag, where the text stops, where its closing tag does


def _spans(
    text: str, marks: Sequence[_Mark], openings: Sequence[_Mark], names: Sequence[str], *, may_end: bool
) -> list[_Span] | None:
    opened = [mark.opens for mark in openings]
    if opened == list(names):
        return _spans_in_order(text, marks, openings, may_end=may_end)
    if opened == list(reversed(names)):
        spans = _spans_in_order(text, marks, openings, may_end=may_end)
        return spans and [span for name in names for span in spans if span[0].opens == name]
    return _spans_balanced(text, marks, openings, names)


def _spans_in_order(
    text: str, marks: Sequence[_Mark], openings: Sequence[_Mark], *, may_end: bool
) -> list[_Span] | None:
    """Each tag opens once. Where `may_end` is False the last block has to be closed, and with it those before."""
    spans = []
    for opening, following in zip_longest(openings, openings[1:]):
        limit = following.start if following else len(text)
        if closing := _closing(text, opening, marks, limit):
            spans.append((opening, closing.start, closing.stop))
        elif opening.certain and (following or may_end):
            spans.append((opening, limit, limit))
        else:
            return None
    return spans


def _closing(text: str, opening: _Mark, marks: Sequence[_Mark], limit: int) -> _Mark | None:
    """The closing tag of a block that reaches to `limit` at most."""
    inside = [mark for mark in marks if opening.stop <= mark.start < limit]
    closings = [mark for mark in inside if mark.opens is None and mark.closes in (None, opening.opens)]
    if not closings:
        return _repeated(text, opening, inside, limit) or _bare_end(text, opening, limit)
    ends = [mark for mark in closings if _ends_line(text, mark) or _only_blanks(text, mark.stop, limit)] or closings
    paragraphs = [mark for mark in ends if _ends_paragraph(text, mark, limit)]
    alone = [mark for mark in paragraphs if _line_start(text, mark.start, _LOOSE_PREFIX) is not None]
    closing = _before_sections(text, opening, alone) if alone else [*paragraphs[:1], ends[-1]][0]
    return _first_of_several(text, closing, closings[: closings.index(closing)])


def _first_of_several(text: str, closing: _Mark, before: Sequence[_Mark]) -> _Mark:
    """Of `[/New Answer] [End]` the first, and of two [End] with a blank line between; else the first is the text's."""
    previous = before[-1] if before else None
    if previous is None or not _only_blanks(text, previous.stop, closing.start):
        return closing
    is_other = previous.closes or closing.closes or _PARAGRAPH_END.match(text, previous.stop)
    return replace(closing, start=previous.start) if is_other else closing


def _before_sections(text: str, opening: _Mark, ends: Sequence[_Mark]) -> _Mark:
    """The last of closing tags on lines of their own, or that before sections which the teacher added."""
    sections = [match.start() for match in _SECTION.finditer(text, opening.stop, ends[-1].start)]
    for number, (end, following) in enumerate(pairwise(ends)):
        place = bisect_left(sections, end.stop)
        if place == number and place < len(sections) and _only_blanks(text, end.stop, sections[place]):
            return end if sections[place] < following.start else ends[-1]
    return ends[-1]


def _repeated(text: str, opening: _Mark, inside: Sequence[_Mark], limit: int) -> _Mark | None:
    """The block's opening tag, written again where it ends."""
    last = inside[-1] if inside else None
    if last is None or last.opens != opening.opens or not _only_blanks(text, last.stop, limit):
        return None
    alone = _line_start(text, last.start, _LOOSE_PREFIX) is not None
    before = text[max(opening.stop, last.start - 3) : last.start].rstrip()
    return last if alone or before.endswith((".", "!", "?", "。", "！", "？")) else None


def _bare_end(text: str, opening: _Mark, limit: int) -> _Mark | None:
    """The word End on a line of its own, where a block has no other."""
    found = list(_BARE_END.finditer(text, opening.stop, limit))
    if len(found) != 1 or _BEGIN.search(text, opening.stop, found[0].start()):
        return None
    return _Mark(found[0].start(), found[0].end())


def _spans_balanced(
    text: str, marks: Sequence[_Mark], openings: Sequence[_Mark], names: Sequence[str]
) -> list[_Span] | None:
    """Tags are repeated or nested: the outermost balanced blocks, of which the last complete set counts."""
    blocks: list[_Span] = []
    stack: list[_Mark] = []
    tags = sorted([*openings, *(mark for mark in marks if mark.opens is None)], key=lambda mark: mark.start)
    for mark, following in zip_longest(tags, tags[1:]):
        if mark.opens:
            stack.append(mark)
        elif (stack or blocks) and mark.closes in (None, stack[-1].opens if stack else None):
            meets_opening = following and following.opens and _only_blanks(text, mark.stop, following.start)
            if not (meets_opening or _ends_line(text, mark)):
                continue  # a mention
            if not stack:
                return None
            opening = stack.pop()
            if not stack:
                blocks.append((opening, mark.start, mark.stop))
    if stack:
        return None
    spans: list[_Span] = []
    index = len(blocks)
    for name in reversed(names):
        index = next((i for i in range(index - 1, -1, -1) if blocks[i][0].opens == name), -1)
        if index < 0:
            return None
        spans.insert(0, blocks[index])
    return spans


def _held(text: str, phase: str) -> tuple[list[_Mark], list[str]] | None:
    """What `[New Answer: Rain falls.]` holds, where every block is written so, once and in order."""
    openings = [_mark(match, phase) for match in _HOLDING[phase].finditer(text)]
    if [mark.opens for mark in openings] != list(TAGS[phase]):
        return None
    bodies = []
    for opening, following in zip_longest(openings, openings[1:]):
        limit = following.start if following else len(text)
        depth = 1
        for bracket in _BRACKET.finditer(text, opening.stop, limit):
            depth += 1 if bracket[0] in "[［" else -1
            if depth == 0:
                break
        else:
            return None
        if not _LINE_END.match(text, bracket.end()) or _PATTERNS[phase].search(text, bracket.end(), limit):
            return None
        bodies.append(text[opening.stop : bracket.start()].rstrip("\\").strip())
    return openings, bodies


# ── the text of a block ────────────────────────────────────────────────────────────────────────────────────────────


def _body(text: str, phase: str, opening: _Mark, stop: int, closed: int) -> str:
    """The text, without what the teacher drew around it: quote marks, rules, half of a fence."""
    body = text[opening.stop : stop]
    lead = text[opening.start : opening.stop]
    if ">" in lead.partition("[")[0]:
        body = _unquoted(body)
    if stop == closed:
        body = _without_heading(body, phase)
    for marks in ("**", "`"):
        if lead.count(marks) % 2 and body.count(marks) % 2:
            body = body.rstrip().removesuffix(marks)
    body = _without_rules(text, body, opening, stop, closed)
    return _without_half_fence(text, body, opening, closed).strip()


def _unquoted(body: str) -> str:
    first, *lines = body.split("\n")
    if all(line.lstrip().startswith(">") for line in lines if _is_visible(line)):
        return "\n".join([first, *(_QUOTE.sub("", line) for line in lines)])
    return body


def _without_heading(body: str, phase: str) -> str:
    """Without the heading of the block that follows: `3. **New Answer:**`."""
    start = body.rstrip().rfind("\n") + 1
    heading = _HEADINGS[phase].match(body, start)
    return body[:start] if heading and _only_blanks(body, heading.end(), len(body)) else body


def _without_rules(text: str, body: str, opening: _Mark, stop: int, closed: int) -> str:
    """Without rules on both sides of a text, or around its tags; a rule at the end of one that nothing closes."""
    leading, trailing = _LEADING_RULE.match(body), _TRAILING_RULE.search(body, len(body.rstrip()[:-_RULE_MAX]))
    if leading and _KEY.match(body, leading.end()):
        return body
    below = leading and (trailing or _LEADING_RULE.match(text, closed))
    above = trailing and (leading or stop == closed or _TRAILING_RULE.search(text[: opening.start][-_RULE_MAX:]))
    return body[leading.end() if below and leading else 0 : trailing.start() if above and trailing else len(body)]


def _without_half_fence(text: str, body: str, opening: _Mark, closed: int) -> str:
    """Without the one end of a fence whose other end lies outside the block."""
    fences = list(_FENCE.finditer(body))
    if len(fences) % 2 == 0:
        return body
    if _only_blanks(body, 0, fences[0].start()) and _NEXT_FENCE.match(text, closed):
        return body[fences[0].end() :]
    if _only_blanks(body, fences[-1].end(), len(body)) and len(_FENCE.findall(text, 0, opening.start)) % 2:
        return body[: fences[-1].start()]
    return body


# ── the parts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _line_start(text: str, position: int, prefix: re.Pattern[str]) -> int | None:
    """Where the line of `position` starts, if only a prefix (`##`, `>`, `1.`) lies between; else None."""
    earliest = max(0, position - _LINE_PREFIX_MAX)
    line = text.rfind("\n", earliest, position) + 1
    if line == 0 and earliest > 0:
        return None
    return line if prefix.fullmatch(text, line, position) else None


def _after_emphasis(text: str, line: int, mark: _Mark) -> int:
    """Where a tag stops whose line began with `**` or a backtick that is closed behind it: `**2. [New Answer]**`."""
    lead = re.sub(rf"(?:{_BLANK})+|\A[*+-] ", "", text[line : mark.start])
    marks = re.search(r"[*_`]+", lead)
    if marks and text.startswith(marks[0], mark.stop):
        stop = mark.stop + len(marks[0])
        return stop + (text[stop : stop + 1] in (":", "："))
    return mark.stop


def _ends_line(text: str, mark: _Mark) -> bool:
    return _LINE_END.match(text, mark.stop) is not None


def _ends_paragraph(text: str, mark: _Mark, limit: int) -> bool:
    return _only_blanks(text, mark.stop, limit) or _PARAGRAPH_END.match(text, mark.stop) is not None


def _only_blanks(text: str, start: int, stop: int) -> bool:
    return _VISIBLE.search(text, start, stop) is None


def _is_visible(text: str) -> bool:
    return _VISIBLE.search(text) is not None


def _is_placeholder(body: str) -> bool:
    if len(body) > _PLACEHOLDER_MAX:
        return False
    words = " ".join(re.findall(r"[^\W_]+", body.casefold()))
    return bool(
        _ELLIPSIS.fullmatch(body)
        or _PLACEHOLDER.fullmatch(words)
        or _BRACKETED.fullmatch(body)
        or _NOT_APPLICABLE.fullmatch(body)
        or _UNWRITTEN.fullmatch(words)
    )
