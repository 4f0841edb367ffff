"""Human experts as a recorded teacher: what pairs that they revised come to as replies, and what is held out.

From a file as of planted_rewrites.py, its first rows are trained on and the next ones held out:

    pairs.jsonl       the pairs before revision, each input folded into its instruction
    replies.jsonl     first reply: the revised instruction, its input folded in, with the revised answer, where an
                      expert changed instruction or input; else the pair as it is. Second reply: the revised answer
    revised.jsonl     held out: other pairs as the experts revised them
    originals.jsonl   held out: the same pairs as they were

A pair whose first reply holds the revised answer already has nothing left for the second: both are equal there, and a
policy that keeps reflected answers alone keeps such a pair only where the first choice was its original.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_py.content import content_id
from models_py.errors import UserError
from models_py.evaluation.planted_rewrites import folded, write_lines
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION

PAIRS, REPLIES, REVISED, ORIGINALS = "pairs.jsonl", "replies.jsonl", "revised.jsonl", "originals.jsonl"
_FIELDS = ("instruction", "input", "output", "revised_instruction", "revised_input", "revised_output")


@dataclass(frozen=True, slots=True)
class ExpertPair:
    """A pair before and after revision; inputs are folded into their instructions."""

    instruction: str
    output: str
    revised_instruction: str
    revised_output: str

    @property
    def changed_instruction(self) -> bool:
        """Whether the expert changed instruction or input."""
        return self.revised_instruction != self.instruction


def read_expert_pairs(file: Path, rows: int) -> list[ExpertPair]:
    """The first `rows` distinct pairs with all their texts. Raises UserError for another or a shorter file."""
    if not file.is_file():
        raise UserError(f"{file} is missing: DATA names the folder that holds {file.name}.")
    found: dict[str, ExpertPair] = {}
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            pair = _expert_pair(line, f"{file.name} row {number}")
            if all((pair.instruction, pair.output, pair.revised_instruction, pair.revised_output)):
                found.setdefault(pair.instruction, pair)
            if len(found) == rows:
                return [*found.values()]
    raise UserError(f"{file} holds {len(found)} distinct pairs; {rows} are asked for: lower --rows or --held-out.")


def _expert_pair(line: str, where: str) -> ExpertPair:
    try:
        row = json.loads(line)
        instruction, given, output, new_instruction, new_given, new_output = (str(row[name]) for name in _FIELDS)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: no JSON object with {', '.join(_FIELDS)} ({error!r}).") from error
    return ExpertPair(
        folded(instruction, given), output.strip(), folded(new_instruction, new_given), new_output.strip()
    )


def write_expert_files(trained: Sequence[ExpertPair], held_out: Sequence[ExpertPair], folder: Path) -> None:
    """The four files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / PAIRS, [_pair(one.instruction, one.output) for one in trained])
    replies = {(line["phase"], line["content_id"]): line for one in trained for line in _replies(one)}
    write_lines(folder / REPLIES, [*replies.values()])
    write_lines(folder / REVISED, [_pair(one.revised_instruction, one.revised_output) for one in held_out])
    write_lines(folder / ORIGINALS, [_pair(one.instruction, one.output) for one in held_out])


def _pair(instruction: str, output: str) -> dict[str, str]:
    return {"instruction": instruction, "output": output}


def _replies(pair: ExpertPair) -> Iterator[dict[str, str]]:
    original = (pair.instruction, pair.output)
    first = (pair.revised_instruction, pair.revised_output) if pair.changed_instruction else original
    said = f"[New Instruction]\n{first[0]}\n[End]\n\n[New Answer]\n{first[1]}\n[End]"
    yield {"phase": INSTRUCTION_REFLECTION, **_about(original), "reply": said}
    for base in dict.fromkeys((original, first)):
        better = f"[Better Answer]\n{pair.revised_output}\n[End]"
        yield {"phase": RESPONSE_REFLECTION, **_about(base), "reply": better}


def _about(pair: tuple[str, str]) -> dict[str, str]:
    return {"content_id": content_id(pair[0], "", pair[1]), "finish_reason": "stop"}
