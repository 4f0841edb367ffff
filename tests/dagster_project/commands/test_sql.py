"""`make sql`: a table on standard output, clear messages on standard error, never a change."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dagster_project.commands import sql
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import PROFILE_VARIABLE
from tests.support.lakes import append, ids
from tests.support.profiles import quickstart

Ask = Callable[..., tuple[int, str, str]]
PAIRS = "from raw.raw_pairs select pair_id order by all"


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the console on the lake of `tmp_path`: exit status, standard output, standard error."""
    profile = str(quickstart(tmp_path))

    def run(query: str, *options: str) -> tuple[int, str, str]:
        status = sql.main([query, "--profile", profile, *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_query_prints_a_table_and_the_attach_line(written_lake: Lake, ask: Ask) -> None:
    status, out, err = ask(PAIRS)
    assert status == 0
    assert "│ pair_id │" in out
    assert "│ whole   │" in out
    assert f"{written_lake.attach_statement()};" in err


def test_as_of_reads_an_earlier_snapshot(written_lake: Lake, ask: Ask) -> None:
    first = written_lake.snapshot_id()
    append(written_lake, "later")
    status, out, err = ask(PAIRS, "--as-of", str(first))
    assert (status, "whole" in out, "later" in out) == (0, True, False)
    assert f"SNAPSHOT_VERSION {first})" in err
    assert "later" in ask(PAIRS)[1]


def test_an_unknown_snapshot_is_one_line(written_lake: Lake, ask: Ask) -> None:
    status, out, err = ask(PAIRS, "--as-of", "999")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no snapshot 999" in err


@pytest.mark.parametrize(
    "query",
    ["insert into raw.raw_pairs (pair_id) values ('x')", "delete from raw.raw_pairs", "create table raw.t (i int)"],
)
def test_writing_is_refused(written_lake: Lake, ask: Ask, query: str) -> None:
    status, _, err = ask(query)
    assert (status, "read-only" in err) == (1, True)
    assert ids(written_lake) == ["whole"]


def test_wrong_sql_is_one_message_without_a_traceback(written_lake: Lake, ask: Ask) -> None:
    status, out, err = ask("select pair from raw.raw_pairs")
    assert (status, out) == (1, "")
    assert err.startswith('BinderException: Binder Error: Referenced column "pair" not found')
    assert "Traceback" not in err


def test_no_lake_names_make_run(ask: Ask) -> None:
    status, _, err = ask("select 1")
    assert (status, "`make run` creates it" in err) == (1, True)


def test_an_unknown_profile_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert sql.main(["select 1", "--profile", "quickstrat"]) == 1
    assert "did you mean quickstart" in capsys.readouterr().err


def test_the_profile_may_come_from_the_environment(
    written_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, str(quickstart(tmp_path)))
    assert sql.main([PAIRS]) == 0
    assert "whole" in capsys.readouterr().out


def test_many_rows_leave_out_the_middle(written_lake: Lake, ask: Ask) -> None:
    _, out, _ = ask("select i from range(1000) t(i)", "--max-rows", "10")
    assert "1000 rows (10 shown)" in " ".join(out.split())
    assert out.count("\n") < 25


def test_it_answers_while_a_run_is_writing(written_lake: Lake, writer: "subprocess.Popen[str]", ask: Ask) -> None:
    status, out, _ = ask(PAIRS)
    assert writer.poll() is None
    assert (status, "whole" in out, "half" in out) == (0, True, False)
