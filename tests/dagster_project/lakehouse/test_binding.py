"""Files of sql/ that DuckDB does not understand are told by file and line, without a lake."""

from pathlib import Path

import pytest

from dagster_project.lakehouse.binding import problems
from dagster_project.lakehouse.sql_files import load_checks, pending_files

GOOD = "-- Every pair.\nselect\n    pair_id -- raw pair\nfrom raw.raw_pairs\n"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    for name in ("policies", "checks", "pending"):
        (tmp_path / name).mkdir()
    (tmp_path / "good.sql").write_text(GOOD)
    return tmp_path


def test_the_files_of_the_project_are_sound() -> None:
    assert problems() == ()


def test_each_wrong_file_is_told_and_not_what_reads_it(sql: Path) -> None:
    (sql / "wrong.sql").write_text(GOOD.replace("pair_id --", "pair_idd as pair_id --"))
    (sql / "stored.sql").write_text("-- materialized: table\n" + GOOD.replace("pair_id --", "pair_id + true as a --"))
    (sql / "above.sql").write_text(GOOD.replace("raw.raw_pairs", "selection.wrong"))
    stored, wrong = sorted(problems(sql))
    assert wrong.startswith(
        f'{sql}/wrong.sql:3: Referenced column "pair_idd" not found in FROM clause! Candidate bindings: "pair_id"'
    )
    assert wrong.endswith("; correct the file")
    assert stored.startswith(f"{sql}/stored.sql:4: No function matches the given name and argument types '+(VARCHAR, ")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("read_csv('/etc/passwd', header = false)", 'Cannot access file "/etc/passwd"'),
        ("read_text('/etc/passwd')", 'Cannot access file "/etc/passwd"'),
        ("'/etc/passwd.csv'", 'Cannot access file "/etc/passwd.csv"'),
        ("read_blob('https://example.com/x')", 'Cannot access file "https://example.com/x"'),
    ],
)
def test_what_opens_files_is_refused(sql: Path, read: str, said: str) -> None:
    (sql / "outside.sql").write_text(f"-- Outside.\nselect\n    1 as a -- one\nfrom {read}\n")
    (told,) = problems(sql)
    assert told.startswith(f"{sql}/outside.sql") and f": opens a file or a server ({said}); what is under sql/" in told


def test_a_macro_is_bound_where_it_is_called(sql: Path) -> None:
    (sql / "macros").mkdir()
    (sql / "macros" / "twice.sql").write_text("-- Twice.\ncreate or replace macro selection.twice(x) as x * 2\n")
    (sql / "broken.sql").write_text(GOOD.replace("pair_id --", "selection.twice(source, 1) as pair_id --"))
    (told,) = problems(sql)
    assert told.startswith(f"{sql}/broken.sql:3: Macro twice() does not support the supplied arguments")


POLICY = """-- Some.
select
    source as teacher, -- teacher
    source as student, -- student
    pair_id, -- raw pair
    1.5::decimal(3, 1) as note, -- nobody reads it
    {candidate} as candidate, -- kept text
    {seed} as seed, -- recipe seed
    {rank_by} as rank_by -- order
from raw.raw_pairs
"""


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("candidate", "1", "selects `candidate` as INTEGER, not as VARCHAR"),
        ("rank_by", "source", "selects `rank_by` as VARCHAR, not as a number"),
        ("seed", "1.5::double", "selects `seed` as DOUBLE, not as a whole number"),
        ("rank_by", "1.5::decimal(9, 2)", None),
        ("seed", "1::hugeint", None),
        ("rank_by", "null", None),
    ],
)
def test_a_policys_columns_are_what_is_done_with_them(sql: Path, column: str, value: str, said: str | None) -> None:
    columns = {"candidate": "'original'", "seed": "1", "rank_by": "1"} | {column: value}
    (sql / "policies" / "mine.sql").write_text(POLICY.format(**columns))
    expected = () if said is None else (f"{sql}/policies/mine.sql: {said}; correct the file",)
    assert problems(sql) == expected


CLAIM = "-- A claim.\n-- assets: raw/raw_pairs, selection/good\nselect pair_id from {{ table }}\n"


def test_checks_and_pending_work_are_bound_too(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text(CLAIM)
    (sql / "pending" / "chosen_scores.sql").write_text("-- Left.\nselect pair_id from selection.good\n")
    assert problems.__wrapped__(sql) == ()
    (sql / "checks" / "claim.sql").write_text(CLAIM.replace("select pair_id", "select pair_idd"))
    (sql / "checks" / "gone.sql").write_text("-- Gone.\n-- asset: raw/raw_pairs\ndelete from raw.raw_pairs\n")
    (sql / "pending" / "chosen_scores.sql").write_text("-- Left.\nselect pair_id from selection.god\n")
    load_checks.cache_clear()
    pending_files.cache_clear()
    claim, gone, pending = problems.__wrapped__(sql)
    assert claim.startswith(f'{sql}/checks/claim.sql: Referenced column "pair_idd" not found')
    assert gone.startswith(f"{sql}/checks/gone.sql: must hold exactly one SELECT")
    assert pending.startswith(f"{sql}/pending/chosen_scores.sql:2: Table with name god does not exist! Did you mean")


def test_a_check_of_a_wrong_model_is_not_looked_at(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text(CLAIM)
    (sql / "good.sql").write_text(GOOD.replace("pair_id --", "pair_idd as pair_id --"))
    (told,) = problems(sql)
    assert told.startswith(f"{sql}/good.sql:3: ")
