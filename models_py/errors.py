"""Errors that the person at the keyboard can mend, and the words that point to the nearest right name."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One clear message: which file, row or field, what is wrong, and the remedy.

    The command line prints it without a traceback and exits with status 1.
    """


class UnreachableError(UserError):
    """Whoever is to be asked cannot be reached: nothing need be wrong with what was named."""


def refuse(problems: Iterable[str]) -> None:
    """Raise one UserError that says all of them, a line each, each beginning with its key; none is well."""
    if lines := list(problems):
        raise UserError("\n".join(lines))


def unknown(what: str, found: object, known: Iterable[str]) -> str:
    """`'vlm' is not an engine (did you mean vllm?); there are: recorded, vllm`."""
    names = list(known)
    return f"{found!r} is not {what}{did_you_mean(str(found), names)}; there are: {', '.join(names) or 'none'}"


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """` (did you mean vllm?)`, or nothing where no name is near."""
    near = difflib.get_close_matches(found, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
