"""The packages that only evaluation needs (scipy, statsmodels, lm-eval): the core runs without them."""

from collections.abc import Iterator
from contextlib import contextmanager

from models_py.errors import UserError


@contextmanager
def needs_evaluation_group() -> Iterator[None]:
    """Around an import of one of them: a UserError that says how to install what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"evaluation needs the package {error.name}, which is not installed. "
            "`make setup WITH=evaluation` installs it, and so does `make evaluate`."
        ) from error
