"""What libraries set in the environment must not reach later steps of this process."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment_kept(defaults: Mapping[str, str] | None = None) -> Iterator[None]:
    """`defaults` for what is not set, and afterwards all as before, whatever was set, changed or removed inside."""
    before = dict(os.environ)
    for name, value in (defaults or {}).items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
