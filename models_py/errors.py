"""Errors that the person at the keyboard can mend."""


class UserError(Exception):
    """One clear message: which file, row or field, what is wrong, and the remedy.

    The command line prints it without a traceback and exits with status 1.
    """
