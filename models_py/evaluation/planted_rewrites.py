"""Rewrites whose worth is known: what a statistic can see is how it tells them apart.

From pairs that human experts revised come one good rewrite of each answer and five that are bad in one known way:

    expert      the expert's revised answer
    off_topic   the expert's revised answer to another row's instruction
    cut_third   the first third of the expert's answer, cut at a word
    wrong_fact  the expert's answer with one number changed or, where it has none, one statement negated
    padded      the expert's answer, padded to twice its length with sentences that say nothing

Each kind becomes a recorded teacher: its first reply leaves the pair as it is, its second gives the rewrite, so that
the second choice is between the original and that rewrite and nothing else. An answer without a number or a statement
that can be negated has no `wrong_fact`.

The experts' file is JSON Lines with instruction, input, output, revised_instruction, revised_input, revised_output
(lunyiliu/CoachLM). An input is folded into its instruction, so that a rewrite that has none differs by its answer only.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_py.content import content_id
from models_py.errors import UserError
from models_py.publish import published_file
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION

KINDS = ("expert", "off_topic", "cut_third", "wrong_fact", "padded")
PAIRS_FILE = "pairs.jsonl"
_FIELDS = ("instruction", "input", "output", "revised_output")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,9}(?![\w,]|\.\d)")
# The first of these in a text is negated; words that stand in questions and negations already are left alone.
_STATEMENT = re.compile(r"\b(is|are|was|were|can|will|should|has|have|does|do|may)\b(?! not\b|n't)", re.IGNORECASE)
_FILLER = (
    "It is worth taking a moment to consider this in more detail.",
    "As with many things of this kind, there is more than one way of looking at it.",
    "What has been said above should be read with that in mind.",
    "Of course, the particular circumstances always play a role as well.",
    "This is a point that comes up again and again.",
    "In the end, it all depends on what one is looking for.",
    "There are, as one would expect, several further aspects to it.",
    "Keeping this in view can be helpful in a number of situations.",
    "It goes without saying that every case is different.",
    "All in all, this gives a fair picture of the matter.",
)


@dataclass(frozen=True, slots=True)
class RevisedPair:
    """A pair before revision, and the answer that an expert made of it."""

    instruction: str
    output: str
    revised: str

    @property
    def content_id(self) -> str:
        return content_id(self.instruction, "", self.output)


def read_revised_pairs(file: Path, rows: int) -> list[RevisedPair]:
    """The first `rows` distinct pairs whose answer the expert changed. Raises UserError for another kind of file."""
    found: dict[str, RevisedPair] = {}
    if not file.is_file():
        raise UserError(f"{file} is missing: DATA names the folder that holds {file.name}.")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            pair = _revised_pair(line, f"{file.name} row {number}")
            if pair.output.strip() and pair.revised.strip() and pair.output.strip() != pair.revised.strip():
                found.setdefault(pair.content_id, pair)
            if len(found) == rows:
                break
    if len(found) < 2:
        raise UserError(f"{file} holds fewer than two pairs whose answer was revised.")
    return list(found.values())


def _revised_pair(line: str, where: str) -> RevisedPair:
    try:
        row = json.loads(line)
        instruction, given, output, revised = (str(row[name]) for name in _FIELDS)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: no JSON object with {', '.join(_FIELDS)} ({error!r}).") from error
    return RevisedPair(folded(instruction, given), output.strip(), revised.strip())


def folded(instruction: str, given: str) -> str:
    """An instruction with its input below it, as one text."""
    return "\n".join(part for part in (instruction.strip(), given.strip()) if part)


def rewrite(kind: str, pairs: Sequence[RevisedPair], at: int) -> str | None:
    """What the teacher of that kind makes of the answer of `pairs[at]`; None where it cannot make anything of it."""
    revised = pairs[at].revised
    match kind:
        case "expert":
            return revised
        case "off_topic":
            return pairs[(at + 1) % len(pairs)].revised
        case "cut_third":
            return _cut(revised)
        case "wrong_fact":
            return _with_wrong_fact(revised)
        case "padded":
            return _padded(revised, at)
    raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")


def write_evidence_files(pairs: Sequence[RevisedPair], folder: Path) -> dict[str, int]:
    """pairs.jsonl and <kind>.jsonl with the replies of each kind's teacher; how many pairs each kind rewrites."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [{"instruction": pair.instruction, "output": pair.output} for pair in pairs]
    write_lines(folder / PAIRS_FILE, sources)
    made = {}
    for kind in KINDS:
        texts = [rewrite(kind, pairs, at) for at in range(len(pairs))]
        write_lines(
            folder / f"{kind}.jsonl",
            [line for pair, text in zip(pairs, texts, strict=True) for line in _replies(pair, text)],
        )
        made[kind] = sum(text is not None for text in texts)
    return made


def _replies(pair: RevisedPair, text: str | None) -> Iterator[dict[str, str]]:
    same = {"content_id": pair.content_id, "finish_reason": "stop"}
    unchanged = f"[New Instruction]\n{pair.instruction}\n[End]\n\n[New Answer]\n{pair.output}\n[End]"
    yield {"phase": INSTRUCTION_REFLECTION, **same, "reply": unchanged}
    if text is not None:
        yield {"phase": RESPONSE_REFLECTION, **same, "reply": f"[Better Answer]\n{text}\n[End]"}


def _cut(text: str) -> str | None:
    words = list(re.finditer(r"\S+", text))
    within = [word.end() for word in words if word.end() <= len(text) / 3]
    return text[: within[-1]] if within else None


def _with_wrong_fact(text: str) -> str | None:
    if number := _NUMBER.search(text):
        wrong = str(2 * int(number[0]) + 3)
        return text[: number.start()] + wrong + text[number.end() :]
    if statement := _STATEMENT.search(text):
        return f"{text[: statement.end()]} not{text[statement.end() :]}"
    return None


def _padded(text: str, at: int) -> str:
    padding: list[str] = []
    while len(text) + sum(len(sentence) + 1 for sentence in padding) < 2 * len(text):
        padding.append(_FILLER[(at + len(padding)) % len(_FILLER)])
    return f"{text} {' '.join(padding)}"


def write_lines(file: Path, rows: Sequence[dict[str, str]]) -> None:
    """The rows as JSON Lines."""
    with published_file(file) as partial:
        partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
