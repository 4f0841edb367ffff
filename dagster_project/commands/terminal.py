"""What every command of `make` shares: its arguments; output that every terminal takes, and that acts on none.

Arguments(...)      # argparse's, whose complaints name the settings of `make`
any_encoding()      # first in a command's main: what its encoding cannot say (an arrow, a bar) is a `?`
plain(text)         # a text that is not ours: no sign in it moves the cursor, colours, hides or turns what is read
"""

import argparse
import io
import os
import re
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

# C0, C1, what turns the reading direction, line and paragraph separators, byte order marks, tags, lone surrogates.
_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


_OF_OPTION = re.compile(r"^argument (?:-\w/)?--([\w-]+): (?:invalid int value: ('.*'))?")


class Arguments(argparse.ArgumentParser):
    """Of a command that people call through `make`: they have seen none of its options."""

    def error(self, message: str) -> NoReturn:
        """Exit status 2, with what is wrong as one line."""
        self.exit(2, f"{self.prog}: {plain(_OF_OPTION.sub(_setting, message))}\n")


def _setting(found: re.Match[str]) -> str:
    name, value = found[1].upper().replace("-", "_"), found[2]
    return f"{name}={value[1:-1]}: a whole number is wanted" if value else f"{name}: "


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


def plain(text: str, *, lines: bool = False) -> str:
    """The text with such signs as pictures (␛) or escapes; lines: its line ends and tabs stay."""
    return _ACTS.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _picture(found[0]), text)


def _picture(sign: str) -> str:
    code = ord(sign)
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else f"\\u{code:04x}"


def say_error(error: Exception) -> None:
    """On standard error, in red where there are colours; its words may be those of a server or a file."""
    from rich.console import Console
    from rich.text import Text

    told = Text.assemble(("Error", "bold red"), f" {plain(str(error), lines=True)}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(told)
