"""A place for a ledger: a file, and a team's database."""

from pathlib import Path

import pytest

from models_py.teacher.ledger_store import LedgerPlace


@pytest.fixture(params=["file", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    """Every test that asks for it runs twice."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return LedgerPlace(tmp_path / "deep" / "teacher.sqlite", server)
