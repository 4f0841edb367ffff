"""A real browser for tests: Chromium of the system, driven by Playwright; every request of a page is known.

Debian: `apt-get install chromium`. The tests that need it are skipped, with that reason, where it is absent.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Nothing but this machine has an address: what a page asks of another is seen, and goes nowhere.
_ARGUMENTS = ("--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")


@contextmanager
def browser() -> Iterator["BrowserContext"]:
    """A window of its own, with no history."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here (make setup WITH=checks)")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(_PROGRAMS)} (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=[*_ARGUMENTS])
        try:
            yield chromium.new_context(viewport={"width": 1400, "height": 1000})
        finally:
            chromium.close()
