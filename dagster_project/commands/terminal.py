"""Output that every terminal takes: what its encoding cannot say (an arrow, a bar, a pair's own text) is a `?`.

any_encoding()      # first in a command's main
"""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def any_encoding() -> None:
    """Let no character end the process: PYTHONIOENCODING=ascii, an old locale, a file."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def second_stdout() -> TextIO:
    """Standard output once more, in its encoding, for when Python's own is redirected."""
    return _Stdout(os.fdopen(os.dup(1), "wb"), encoding=sys.stdout.encoding, errors="replace")


class _Stdout(io.TextIOWrapper):
    """Nobody may be there any more, at a terminal that was closed or a pipe that was left: that ends no run."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()
