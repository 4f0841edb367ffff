"""What a GGUF file says of itself before its weights: its architecture, its settings, how long it must be.

    read_header(Path("tiny.gguf")).values["general.architecture"]     # "llama"

Read in milliseconds: `gguf.GGUFReader` makes an array of each of the 50,000 words, which takes seconds. Texts and
numbers are kept, lists (words, merges) passed over.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_LONGEST_TEXT = 64 << 20  # bytes; what says more is damaged
_VERSIONS = (2, 3)
_ALIGNMENT = 32  # where general.alignment does not say otherwise


class DamagedHeaderError(Exception):
    """Why the file cannot be a whole GGUF file."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """values: what it says, by key. weights: how many numbers its tensors hold."""

    values: Mapping[str, object]
    weights: int

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", "unknown"))


def read_header(file: Path) -> GgufHeader:
    """The header. Raises DamagedHeaderError where it breaks off, or the file ends before its last tensor does."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        try:
            return _header(_Reader(opened), size)
        except (struct.error, EOFError, UnicodeDecodeError, OverflowError) as error:
            raise DamagedHeaderError("its header breaks off or is damaged") from error


def _header(reader: "_Reader", size: int) -> GgufHeader:
    _, version, tensors, keys = reader.numbers("IIQQ")  # the first is `GGUF`, which `locate` has seen
    if version not in _VERSIONS:
        raise DamagedHeaderError(f"it is of version {version}; versions 2 and 3 are read")
    if max(tensors, keys) > size:
        raise DamagedHeaderError("its header counts more than the file can hold")
    values = dict(reader.value() for _ in range(keys))
    weights, ends = 0, 0
    for _ in range(tensors):
        reader.text()
        (dimensions,) = reader.numbers("I")
        *shape, kind, offset = reader.numbers(f"{min(dimensions, 8)}QIQ")
        weights += prod(shape)
        ends = max(ends, offset + _bytes(prod(shape), kind))
    alignment = values.get("general.alignment", _ALIGNMENT)
    step = alignment if isinstance(alignment, int) and alignment > 0 else _ALIGNMENT
    needed = -(-reader.position // step) * step + ends
    if size < needed:
        raise DamagedHeaderError(f"it has {size:,} bytes of the {needed:,} that its header names")
    return GgufHeader({key: value for key, value in values.items() if value is not None}, weights)


def _bytes(numbers: int, kind: int) -> int:
    """The bytes of a tensor; of a quantization that nobody knows, none."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        of_a_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError):
        return 0
    return numbers // of_a_block * block_bytes


class _Reader:
    """Little-endian values one after another. Raises EOFError and struct.error where the file ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = io.BufferedReader(file, 1 << 20) if isinstance(file, io.RawIOBase) else file

    @property
    def position(self) -> int:
        return self._file.tell()

    def numbers(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def text(self) -> str:
        return self._bytes_of_text().decode("utf-8")

    def value(self) -> tuple[str, object]:
        """Key and value; None for a list."""
        key = self.text()
        (kind,) = self.numbers("I")
        if kind == _LIST:
            self._pass_list()
            return key, None
        return key, self._single(kind)

    def _single(self, kind: int) -> object:
        if kind == _TEXT:
            return self._bytes_of_text().decode("utf-8", errors="replace")
        if kind not in _NUMBERS:
            raise EOFError(f"a value of the unknown type {kind}")
        return self.numbers(_NUMBERS[kind])[0]

    def _pass_list(self) -> None:
        kind, count = self.numbers("IQ")
        if kind in _NUMBERS:
            self._file.seek(count * struct.calcsize(f"<{_NUMBERS[kind]}"), io.SEEK_CUR)
        elif kind == _TEXT:
            for _ in range(count):
                self._bytes_of_text()
        else:
            raise EOFError(f"a list of the type {kind}")

    def _bytes_of_text(self) -> bytes:
        (length,) = self.numbers("Q")
        text = self._file.read(length) if length <= _LONGEST_TEXT else b""
        if len(text) != length:
            raise EOFError("a text breaks off")
        return text
