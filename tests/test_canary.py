"""A key never leaves the process but in its header: no file, no row, no line of output holds it.

The server says it back in everything that it refuses. What is searched: every byte below the profile's folder (lake,
ledger, students, checkpoints, Dagster's event log and compute logs), every row of the lake, and all that was printed.
"""

import base64
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.tables import TABLES
from models_py.teacher.ledger import Ledger
from tests.support.processes import run
from tests.support.profiles import SEEDS, small_toy
from tests.support.servers import ChatServer, completion

pytestmark = pytest.mark.slow

VARIABLE = "CANARY_API_KEY"
CANARY = "sk-canary-Vw7kQ2mZp9Lx4Rt8Yb3Nc6Hd"
PIECE = CANARY[:12]  # a message may have been cut in the middle of the key
PAIRS = 6


def holds(content: bytes) -> bool:
    """Whether a piece of the key is there: in UTF-8, UTF-16, or base64 wherever in the encoded bytes it begins."""
    shifted = [base64.b64encode(b"\0" * shift + PIECE.encode())[4 * (shift > 0) : -4] for shift in range(3)]
    return any(form in content for form in (PIECE.encode(), PIECE.encode("utf-16-le"), *shifted))


@dataclass
class Echo:
    """One prompt is a 400 for good, another a 200 without a reply, of the others the first call is a 500.

    When `closed`, everything is a 401.
    """

    closed: bool = False
    headers: set[str] = field(default_factory=set)
    prompts: list[str] = field(default_factory=list)

    def __call__(self, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.headers.add(headers["authorization"])
        echo = {"error": {"message": f"{headers['authorization']} " * 30}}
        prompt = body["messages"][-1]["content"]
        first = prompt not in self.prompts
        self.prompts += [prompt] if first else []
        if self.closed:
            return 401, echo
        if self.prompts.index(prompt) < 2:
            return (400, 200)[self.prompts.index(prompt)], echo
        if first:
            return 500, echo
        if "[Better Answer]" in str(body["messages"]):
            return 200, completion("Short. [Better Answer] A longer, kinder answer. [End]")
        return 200, completion("Vague. [New Instruction] Say it in ten words. [End] [New Answer] Ten words. [End]")


@dataclass
class Runs:
    folder: Path
    server: Echo
    passed: subprocess.CompletedProcess[str]
    refused: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A whole run, and one that asks about the two unanswered pairs again when the key is refused."""
    folder = tmp_path_factory.mktemp("canary")
    lines = (SEEDS / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "pairs.jsonl").write_text("\n".join(lines[:PAIRS]), encoding="utf-8")
    echo = Echo()
    with ChatServer(answer=echo) as server:
        teacher = {"engine": "openai", "model": "small", "base_url": server.url, "api_key_env": VARIABLE, "attempts": 2}
        profile = small_toy(
            folder,
            sources=[{"name": "mine", "path": "pairs.jsonl"}],
            teachers={"gpt": teacher},
            recipes={"original": {"policy": "original", "teacher": "gpt", "student": "toy"}},
        )
        passed = run(profile, **{VARIABLE: CANARY})
        echo.closed = True
        yield Runs(folder, echo, passed, run(profile, "--job", "instruction_phase", **{VARIABLE: CANARY}))


def test_a_run_with_a_key_passes(runs: Runs) -> None:
    assert runs.passed.returncode == 0, runs.passed.stdout + runs.passed.stderr


def test_a_refused_key_ends_the_run_and_is_named_by_its_variable(runs: Runs) -> None:
    assert runs.refused.returncode == 1
    assert "refused the key in the environment variable CANARY_API_KEY (status 401" in runs.refused.stdout
    assert "Bearer ***" in runs.refused.stdout


def test_no_output_holds_the_key(runs: Runs) -> None:
    shown = [said for result in (runs.passed, runs.refused) for said in (result.stdout, result.stderr)]
    assert not any(PIECE in said for said in shown)


def test_no_file_holds_the_key(runs: Runs) -> None:
    files = [file for file in runs.folder.rglob("*") if file.is_file()]
    kinds = {".safetensors", ".parquet", ".sqlite", ".db", ".out", ".err", ".log", ".json", ".jsonl"}
    assert kinds <= {file.suffix for file in files}  # checkpoint, lake, ledger, event log, compute logs
    assert [file for file in files if holds(file.read_bytes())] == []


def test_no_row_holds_the_key(runs: Runs) -> None:
    """Parquet is compressed: a search through the bytes is not enough."""
    with Lake(runs.folder / "warehouse").connect() as lake:
        rows = {table.name: str(lake.execute(f"from {table.name}").fetchall()) for table in TABLES}
    assert [name for name, text in rows.items() if PIECE in text] == []


def test_the_key_was_sent_and_its_echo_was_kept_without_it(runs: Runs) -> None:
    assert runs.server.headers == {f"Bearer {CANARY}"}
    with Ledger(runs.folder / "warehouse" / "teacher.sqlite") as ledger:
        errors = {row.reply.error for row in ledger.all_since() if row.reply.error}
    assert {error.split(":")[0] for error in errors} == {"status 400", "an error in a 200"}
    assert all("Bearer *** Bearer ***" in error for error in errors)


@pytest.mark.parametrize(
    "content",
    [CANARY.encode(), CANARY.encode("utf-16"), *(base64.b64encode(b"a" * n + CANARY.encode()) for n in range(3))],
)
def test_the_search_finds_what_it_looks_for(content: bytes) -> None:
    assert holds(b"before " + content + b" after")
