"""Output that every terminal takes: what its encoding cannot say (an arrow, a bar, a pair's own text) is a `?`.

any_encoding()      # first in a command's main
"""

import io
import os
import sys
from typing import TextIO


def any_encoding() -> None:
    """Let no character end the process: PYTHONIOENCODING=ascii, an old locale, a file."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def second_stdout() -> TextIO:
    """Standard output once more, in its encoding, for when Python's own is redirected."""
    return os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
