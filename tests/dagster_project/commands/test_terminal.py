"""Whatever the terminal's encoding, commands end as they should and what can be said is said."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dagster_project.commands import sql, trace
from dagster_project.lakehouse.lake import Lake
from tests.conftest import PROJECT
from tests.support.profiles import SMALLEST, write_profile

SAY = """
import sys
from rich.console import Console
from dagster_project.commands.terminal import any_encoding, second_stdout

any_encoding()
print("pairs → 60 ████ ünï 日本 \\udcff", "and on")
print("Fehler → hier", file=sys.stderr)
Console(file=second_stdout(), soft_wrap=True).print("Rows → [bold]60[/] █ €")
"""


@pytest.mark.parametrize(
    ("variables", "arrow"),
    [
        ({}, "→"),
        ({"PYTHONIOENCODING": "ascii"}, "?"),
        ({"PYTHONIOENCODING": "latin-1"}, "?"),
        ({"PYTHONIOENCODING": "cp1252"}, "?"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "?"),
        ({"LANG": "C"}, "→"),
    ],
    ids=["utf-8", "ascii", "latin-1", "cp1252", "no coercion", "LANG=C"],
)
def test_no_character_ends_a_command(variables: dict[str, str], arrow: str, tmp_path: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    (tmp_path / "say.py").write_text(SAY, encoding="utf-8")
    said = subprocess.run(
        [sys.executable, tmp_path / "say.py"],
        env=plain | {"PYTHONPATH": str(PROJECT)} | variables,
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    out, err = said.stdout.decode(encoding, "replace"), said.stderr.decode(encoding, "replace")
    assert f"pairs {arrow} 60" in out and "and on" in out and f"Rows {arrow} 60" in out
    assert f"Fehler {arrow} hier" in err


def test_a_query_and_a_complaint_are_shown_in_ascii(lake: Lake, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, {**SMALLEST, "warehouse": str(lake.warehouse)})

    def sql(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "dagster_project.commands.sql", "--profile", str(profile), *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=False)

    shown = sql("select '日本 →' as said")
    assert (shown.returncode, b"?? ?" in shown.stdout) == (0, True), shown.stderr
    refused = sql("select 1 as 日本, nothing_here")
    assert refused.returncode == 1 and b"nothing_here" in refused.stderr and b"Traceback" not in refused.stderr


GO_ON = """
import os, sys
from rich.console import Console
from dagster_project.commands.terminal import second_stdout

console = Console(file=second_stdout())
os.read(0, 1)
for _ in range(3):
    console.print("nobody reads this")
print("went on", file=sys.stderr)
"""


def test_a_reader_who_has_left_ends_nothing() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [sys.executable, "-c", GO_ON],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b".")
        process.stdin.close()
        assert process.stderr.read() == b"went on\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (trace.main, ["--file", "f", "--row", "abc"], "make trace: ROW=abc: a whole number is wanted\n"),
        (sql.main, ["--as-of", "1.5", "x"], "make sql: AS_OF=1.5: a whole number is wanted\n"),
        (sql.main, ["--file"], "make sql: FILE: expected one argument\n"),
    ],
)
def test_a_wrong_argument_is_told_by_its_name_in_make(
    command: Callable[[list[str]], int], options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err == said
