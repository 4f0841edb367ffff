"""A file's bytes as a reader wants them: unpacked, UTF-8, and with an end.

    with open_bytes(Path("pairs.jsonl.zst")) as file: ...

Packing is told by the first bytes, not by the name: gzip, bzip2, xz, Zstandard. UTF-16 and UTF-32 are read as if they
were UTF-8, so offsets count the bytes of that. What cannot be read raises UnreadableError, in one sentence about the
file, at the place where it shows. A packed file that
unpacks to hundreds of times its size is refused, for nothing bounds it.
"""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

UTF8_BOM = b"\xef\xbb\xbf"
HEAD_BYTES = 64 << 10
_MOST_UNPACKED_TIMES = 200  # text packs 3 to 20 times, a log of equal lines about 100 times
_LEAST_UNPACKED_BYTES = 16 << 20
_PIECE_BYTES = 64 << 10


class UnreadableError(Exception):
    """Why a file cannot be read any further: what it is instead, and the remedy."""


def _gzip(file: BinaryIO) -> Any:
    return gzip.GzipFile(fileobj=file)


def _bzip2(file: BinaryIO) -> Any:
    return _Streams(file, bz2.BZ2Decompressor)


def _xz(file: BinaryIO) -> Any:
    return _Streams(file, lzma.LZMADecompressor)


def _zstd(file: BinaryIO) -> Any:
    import pyarrow as pa  # only whoever reads such a file pays for it

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_PACKINGS: dict[str, tuple[bytes, Callable[[BinaryIO], Any]]] = {
    "gzip": (b"\x1f\x8b", _gzip),
    "bzip2": (b"BZh", _bzip2),
    "xz": (b"\xfd7zXZ\x00", _xz),
    "Zstandard": (b"\x28\xb5\x2f\xfd", _zstd),
}
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")

# How a file begins that only stands for the data.
_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a git-lfs pointer, not the data; run `git lfs pull`",
    b"# xet version": "a xet pointer, not the data; download the file itself",
    b"/annex/objects/": "a git-annex pointer, not the data; run `git annex get`",
}
_FOREIGN = {
    **_POINTERS,
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"PAR1": "a Parquet file; name it .parquet or set format: parquet",
    b"ARROW1": "an Arrow file; name it .arrow or set format: arrow",
    b"\xff\xff\xff\xff": "an Arrow stream; name it .arrow or set format: arrow",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save the sheet as CSV UTF-8",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\x89HDF": "an HDF5 file; export it as Parquet",
    **{magic: f"{name} inside another packing; unpack it once" for name, (magic, _) in _PACKINGS.items()},
}
_WEB_PAGE = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)
_TAR_MAGIC = slice(257, 262)
_ENCODINGS = {
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
_BARE_UTF16 = {"utf-16-le": re.compile(rb"(?:[\t-~]\x00){2}"), "utf-16-be": re.compile(rb"(?:\x00[\t-~]){2}")}


def open_bytes(path: Path) -> "io.BufferedReader[Any]":
    """The text file's bytes. Reading raises UnreadableError where they cannot be had, or are no text at all."""
    return _recoded(_checked(_unpacked(path)))


def pointer(path: Path) -> str | None:
    """What the file is where it only stands for the data: a pointer of git-lfs and its like."""
    with path.open("rb") as file:
        head = file.read(100)
    return next((what for beginning, what in _POINTERS.items() if head.startswith(beginning)), None)


def refuse_packed(path: Path) -> None:
    """Raises UnreadableError for a packed file: of the formats that are no text readers want the file itself."""
    with path.open("rb") as file:
        packing = _packing(file.read(8))
    if packing is not None:
        raise UnreadableError(f"the file is packed ({packing}), and only text is unpacked here; unpack it")


def check_unpacked(unpacked: int, packed: int, packing: str, instead: str = "unpack it") -> None:
    """Raises UnreadableError where so many bytes come out of so few that it is an attack or an accident, not text."""
    if unpacked > max(_LEAST_UNPACKED_BYTES, _MOST_UNPACKED_TIMES * packed):
        raise UnreadableError(
            f"the {packing} file unpacks to more than {_MOST_UNPACKED_TIMES} times its size, as no text "
            f"does; if that is right, {instead} and name the result"
        )


def _unpacked(path: Path) -> "io.BufferedReader[Any]":
    file = io.BufferedReader(io.FileIO(path), HEAD_BYTES)
    packing = _packing(file.peek(8))
    if packing is None:
        return file
    _, unpack = _PACKINGS[packing]
    return io.BufferedReader(_Unpacked(file, unpack(file), packing), HEAD_BYTES)


def _packing(head: bytes) -> str | None:
    return next((name for name, (magic, _) in _PACKINGS.items() if head.startswith(magic)), None)


def _checked(file: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
    try:
        head = file.peek(HEAD_BYTES)
        what = next((what for beginning, what in _FOREIGN.items() if head.startswith(beginning)), None)
        if what is None and _WEB_PAGE.match(head):
            what = "a web page: the download brought a message instead of the data; download it again"
        if what is None and head[_TAR_MAGIC] == b"ustar":
            what = "a tar archive; unpack it"
        if what is not None:
            raise UnreadableError(f"the file is {what}")
    except UnreadableError:
        file.close()
        raise
    return file


def _recoded(file: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
    head = file.peek(HEAD_BYTES)
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            file.read(len(mark))
            return io.BufferedReader(_Recoded(file, encoding), HEAD_BYTES)
    for encoding, beginning in _BARE_UTF16.items():
        if beginning.match(head):
            return io.BufferedReader(_Recoded(file, encoding), HEAD_BYTES)
    return file


class _Streams:
    """What a file of packed streams, one behind the other, unpacks to. Zeros may fill it up.

    Python's own readers of bzip2 and xz take for the end what stands behind a stream and begins none.
    """

    def __init__(self, file: BinaryIO, unpacker: Callable[[], Any]) -> None:
        self._file = file
        self._unpacker = unpacker
        self._stream = unpacker()

    def read(self, most: int) -> bytes:
        """The next bytes, at most so many; none at the end. Raises EOFError, OSError or LZMAError for what is none."""
        packed = b""
        while True:
            if self._stream.eof:
                packed = self._behind(self._stream.unused_data)
                if not packed:
                    return b""
                self._stream = self._unpacker()
            elif self._stream.needs_input:
                packed = self._file.read(_PIECE_BYTES)
                if not packed:
                    raise EOFError("it ends before its last stream does")
            if block := self._stream.decompress(packed, most):
                return bytes(block)
            packed = b""

    def _behind(self, packed: bytes) -> bytes:
        """What stands behind a stream and its zeros."""
        while not (packed := packed.lstrip(b"\0")):
            if not (packed := self._file.read(_PIECE_BYTES)):
                break
        return packed

    def close(self) -> None:
        self._file.close()


class _Unpacked(io.RawIOBase):
    """What an unpacker gives, its errors in words, and an end to what it gives."""

    def __init__(self, packed: BinaryIO, stream: Any, packing: str) -> None:
        self._packed = packed
        self._stream = stream
        self._packing = packing
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(min(len(buffer), _PIECE_BYTES))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise UnreadableError(
                f"the {self._packing} file is damaged or breaks off here: {error}; get it again"
            ) from error
        self._given += len(block)
        check_unpacked(self._given, self._packed.tell(), self._packing)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        self._packed.close()  # not every unpacker closes what it was given
        super().close()


class _Recoded(io.RawIOBase):
    """A text in another encoding as UTF-8. Half a character at its end becomes a byte that is no UTF-8."""

    def __init__(self, file: "io.BufferedReader[Any]", encoding: str) -> None:
        self._file = file
        # Lone surrogates pass: the row that holds one is told, not the file.
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = b""
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._at_end:
            block = self._file.read(_PIECE_BYTES)
            self._at_end = not block
            try:
                self._ready = self._decoder.decode(block, self._at_end).encode("utf-8", errors="surrogatepass")
            except UnicodeDecodeError:
                self._ready, self._at_end = b"\xff", True
        piece, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


# --- lines

_LINE_END = re.compile(rb"\r*\n|\r")


class Lines:
    r"""The lines of a file, which end in `\n`, or in `\r` where the file's first line does."""

    def __init__(self, file: "io.BufferedReader[Any]") -> None:
        self._file = file
        first = _LINE_END.search(file.peek(HEAD_BYTES))
        self._ends_in_cr = first is not None and first.group() == b"\r"
        self._read = b""
        self._position = 0

    def readline(self, most: int) -> bytes:
        """The next line with its end, at most so many bytes of it; nothing at the end of the file."""
        if not self._ends_in_cr:
            return self._file.readline(most)
        looked = self._position
        while (end := self._read.find(b"\r", looked)) < 0:
            looked = len(self._read)
            if looked - self._position >= most or not (block := self._file.read(_PIECE_BYTES)):
                end = looked - 1
                break
            self._read = self._read[self._position :] + block
            looked -= self._position
            self._position = 0
        line = self._read[self._position : min(end + 1, self._position + most)]
        self._position += len(line)
        return line
