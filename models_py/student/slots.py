"""Prompts as pieces of the template with holes for a person's texts between them.

    shape    Shape(system=True, roles=("user", "assistant"))       which texts there are: four, with the instruction
    pieces   <|system|> _ <|end|><|user|> _ <|end|><|assistant|> _ <|end|><|user|> _ <|end|><|assistant|>

A slot is made once a shape, by rendering sentinels (chat.py). It tells what of a rendered prompt is the template's and
what the data's, so that data never becomes a control token, and where the answers of a conversation stand. Nothing here
knows of templates or tokenizers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from models_py.conversation import Context, Message


@dataclass(frozen=True, slots=True)
class Shape:
    """Which texts a prompt has holes for, in this order: system, the turns of the history, instruction, input.

    apart: the input has a hole of its own.
    """

    system: bool = False
    roles: tuple[str, ...] = ()
    apart: bool = False

    @property
    def holes(self) -> int:
        return self.system + len(self.roles) + 1 + self.apart

    @property
    def needs(self) -> str:
        """What a template has to write beside the instruction, in words."""
        turns = f"{len(self.roles)} earlier turns"
        return " and ".join(["a system text"] * self.system + [turns] * bool(self.roles))

    def split(self, texts: Sequence[str]) -> tuple[Context, str, str]:
        """The context, instruction and input that the texts of the holes are."""
        rest = list(texts)
        system = rest.pop(0) if self.system else ""
        history = tuple(Message(role, rest.pop(0)) for role in self.roles)
        return Context(system, history), rest[0], rest[1] if self.apart else ""

    def is_answer(self, text: int) -> bool:
        """Whether the text of that number is what an assistant said in the history."""
        turn = text - self.system
        return 0 <= turn < len(self.roles) and self.roles[turn] == "assistant"


PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class Slot:
    """A prompt with holes for texts: `render(*texts)` is `pieces` with the texts between them.

    order: which text stands in which hole. piece_ids: the pieces, each tokenized alone.
    """

    name: str
    render: Callable[..., str]
    order: list[int]
    pieces: list[str]  # one more than holes
    piece_ids: list[list[int]]
    shape: Shape

    def as_written(self, texts: Sequence[str], rendered: str) -> list[str]:
        """The texts in the order of their holes, as the template writes them: it may trim them, or leave out a part."""
        ordered = [texts[n] for n in self.order]
        trimmed = [rf"(\s*{re.escape(text.strip())}\s*)" for text in ordered]
        pattern = "".join(re.escape(piece) + text for piece, text in zip(self.pieces, [*trimmed, ""], strict=True))
        if found := re.fullmatch(pattern, rendered):
            return list(found.groups())
        head, *between, tail = self.pieces
        if not (rendered.startswith(head) and rendered.endswith(tail)):
            return ordered
        written, rest = [], rendered[len(head) : len(rendered) - len(tail)]
        for piece in between:
            text, separator, rest = rest.partition(piece)
            if not separator:
                return ordered
            written.append(text)
        return [*written, rest]

    def answers(self, written: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """From where to where the answers of the history stand in a rendered prompt, and the piece behind each."""
        at = len(self.pieces[0])
        for place, text in enumerate(written):
            end = at + len(text)
            if self.shape.is_answer(self.order[place]):
                yield at, end, self.pieces[place + 1]
            at = end + len(self.pieces[place + 1])
