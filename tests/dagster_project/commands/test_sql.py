"""`make sql`: a table on standard output, clear messages on standard error, never a change."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.commands import sql
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import PROFILE_VARIABLE
from tests.conftest import PROJECT
from tests.support.lakes import append, ids
from tests.support.profiles import toy_profile

Ask = Callable[..., tuple[int, str, str]]
PAIRS = "from raw.raw_pairs select pair_id order by all"


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the console on the lake of `tmp_path`: exit status, standard output, standard error."""
    profile = str(toy_profile(tmp_path))

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


def test_a_query_may_be_written_in_a_file(
    written_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, profile = tmp_path / "mine.sql", ["--profile", str(toy_profile(tmp_path))]
    file.write_text(f"\ufeff-- what there is\n{PAIRS}\n", encoding="utf-8")
    assert sql.main(["--file", str(file), *profile]) == 0
    assert "│ whole   │" in capsys.readouterr().out
    file.write_bytes(b"select '\xff'")
    for wrong, why in ((file, "it is no UTF-8 text"), (tmp_path / "none.sql", "No such file or directory")):
        assert sql.main(["--file", str(wrong), *profile]) == 1
        assert capsys.readouterr().err == f"FILE={wrong}: no query can be read there ({why}).\n"


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
    monkeypatch.setenv(PROFILE_VARIABLE, str(toy_profile(tmp_path)))
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


def test_many_columns_are_shown_line_by_line(written_lake: Lake, ask: Ask) -> None:
    _, out, _ = ask("select *, 'twenty more letters' as text from raw.raw_pairs")
    assert "── row 1 ──" in out
    assert "pair_id          whole\n" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "│ pair_id" in ask("from raw.raw_pairs", "--format", "table")[1]
    assert "── row 1 ──" in ask("select 1", "--format", "line")[1]


def test_the_width_is_that_of_the_terminal(written_lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "select pair_id, repeat('word ', 30) as text from raw.raw_pairs"
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        out = ask(query)[1]
        assert max(map(len, out.splitlines())) <= width
        assert "1 row; … is cut: FORMAT=line shows all of it" in out


def test_text_does_not_act_on_the_terminal(written_lake: Lake, ask: Ask) -> None:
    query = "select chr(27) || '[31mred' || chr(8238) || 'x' || chr(7) || chr(10) || 'y' as text"
    for format in ("table", "line"):
        _, out, _ = ask(query, "--format", format)
        assert "␛[31mred\\u202ex␇" in out
        assert not {"\x1b", "\u202e", "\x07"} & {*out}
    _, _, err = ask(f"select cast(({query}) as int)")
    assert "\x1b" not in err


VALUES = """
select * from (values
    (1, 'a "quoted", text', true, 0.5::double, date '2026-01-02', ['x', null], {'k': 1}, 1.50::decimal(9, 2)),
    (2, '', false, 'nan'::double, null, [], null, null),
    (3, null, null, null, date '1999-12-31', null, {'k': null}, -2),
    (4, E'two\\nlines ünï 日本 \\\\', true, 1e300, null, null, null, 0)
) as t(n, text, flag, ratio, day, items, inner_, money)
"""


def test_a_file_holds_all_rows_in_their_types(written_lake: Lake, ask: Ask, tmp_path: Path) -> None:
    expected = pl.DataFrame(
        {
            "n": [1, 2, 3, 4],
            "text": ['a "quoted", text', "", None, "two\nlines ünï 日本 \\"],
            "flag": [True, False, None, True],
            "ratio": [0.5, float("nan"), None, 1e300],
            "money": ["1.50", None, "-2.00", "0.00"],
        },
        schema_overrides={"n": pl.Int32},
    )
    for name, read in {"rows.csv": "read_csv('{}', allow_quoted_nulls = false)", "rows.parquet": "'{}'"}.items():
        file = tmp_path / name
        status, out, err = ask(VALUES, "--out", str(file))
        assert (status, out) == (0, "")
        assert f"4 rows in {file}\n" in err
        columns = "n::int as n, text, flag::bool as flag, ratio, money::decimal(9, 2)::varchar as money"
        assert duckdb.sql(f"select {columns} from {read.format(file)}").pl().equals(expected), name
    assert duckdb.sql(f"select items, inner_, day from '{tmp_path / 'rows.parquet'}' where n = 1").fetchall() == [
        (["x", None], {"k": 1}, datetime.date(2026, 1, 2))
    ]


def test_json_is_an_array_or_lines(written_lake: Lake, ask: Ask, tmp_path: Path) -> None:
    first = {"n": 1, "text": 'a "quoted", text', "flag": True, "ratio": 0.5, "day": "2026-01-02"}
    first |= {"items": ["x", None], "inner_": {"k": 1}, "money": 1.5}
    status, out, err = ask(VALUES, "--format", "json")
    assert status == 0
    rows = json.loads(out)
    assert (rows[0], len(rows), rows[1]["ratio"]) == (first, 4, None)
    assert "1 NaN or infinite numbers are null" in err
    _, out, _ = ask(VALUES, "--format", "JSONL")
    assert [json.loads(line) for line in out.splitlines()] == rows
    file = tmp_path / "rows.json"
    ask(VALUES, "--out", str(file))
    assert json.loads(file.read_text(encoding="utf-8")) == rows
    assert json.loads(ask("select 1 as i where false", "--format", "json")[1]) == []


def test_what_is_printed_as_data_is_whole(written_lake: Lake, ask: Ask) -> None:
    _, out, _ = ask("select md5(i::varchar) as id from range(1000) t(i)", "--format", "csv")
    lines = out.splitlines()
    assert (lines[0], len(lines), len(lines[1])) == ("id", 1001, 32)
    _, out, _ = ask("select md5('x') as id, repeat('long ', 200) as text", "--format", "line")
    assert "9dd4e461268c8034f5c8564e155c67a6" in out
    assert out.count("long") == 200
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "xml"], "FORMAT is 'xml'; there are csv, json, jsonl, parquet, and table and line"),
        (["--format", "parquet"], "FORMAT=parquet needs a file: OUT=rows.parquet."),
        (["--out", "rows.txt"], "FORMAT is 'txt'; there are csv, json, jsonl, parquet for the file rows.txt"),
        (["--out", "rows", "--format", "table"], "FORMAT is 'table'"),
        (["--out", "nowhere/rows.csv"], "OUT=nowhere/rows.csv: there is no folder nowhere."),
    ],
)
def test_what_cannot_be_written_is_told(written_lake: Lake, ask: Ask, options: list[str], said: str) -> None:
    status, out, err = ask("select 1", *options)
    assert (status, out) == (1, "")
    assert said in err


def test_a_file_of_the_warehouse_is_never_written(written_lake: Lake, ask: Ask) -> None:
    for name in ("teacher.csv", "data/../catalog.csv"):
        status, _, err = ask("select 1", "--out", str(written_lake.warehouse / name))
        assert (status, "lies in the warehouse" in err) == (1, True)


def test_a_failed_query_leaves_the_file_as_it_was(written_lake: Lake, ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("before")
    assert ask("select cast('x' || i as int) from range(3) t(i)", "--out", str(file))[0] == 1
    assert (file.read_text(), [one.name for one in tmp_path.glob(".rows*")]) == ("before", [])
    for format in ("json", "jsonl"):
        assert "Two columns are called a" in ask("select 1 as a, 2 as a", "--format", format)[2]


def test_files_and_functions_are_refused_in_one_sentence(written_lake: Lake, ask: Ask) -> None:
    for query in ("from '/etc/x.csv'", "from read_csv('/etc/passwd')", "attach 'x.db'", "copy (select 1) to 'x'"):
        status, out, err = ask(query)
        assert (status, out, err.startswith("make sql is read-only and ")) == (1, "", True)


def test_it_stops_when_its_reader_has_seen_enough(written_lake: Lake, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagster_project.commands.sql", "--profile", str(toy_profile(tmp_path))]
    with subprocess.Popen(
        [*command, "--format", "csv", "from range(1000000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
