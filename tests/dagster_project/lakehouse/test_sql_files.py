"""The SQL loader: what it reads from the project's files, and what it says of files that break the rules."""

from pathlib import Path

import pytest
import sqlglot

from dagster_project.lakehouse.sql_files import (
    SQL_DIR,
    column_lineage,
    load_checks,
    load_macros,
    load_pending,
    load_views,
    policies,
)
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from models_py.errors import UserError

VIEWS = load_views()
NEED_ALL = {"ifd_only", "perplexity", "r_ifd_only", "random_choice", "reflect_both", "reflect_response"}


# ── the project's own files ────────────────────────────────────────────────────────────────────────────────────────


def test_every_file_is_loaded_by_someone() -> None:
    pending = {path.stem for path in SQL_DIR.glob("pending/*.sql")}
    loaded = {*VIEWS, *load_checks(), *load_macros(), *pending}
    assert loaded == {path.stem for path in SQL_DIR.rglob("*.sql")}


@pytest.mark.parametrize("path", sorted(SQL_DIR.rglob("*.sql")), ids=lambda path: str(path.relative_to(SQL_DIR)))
def test_every_file_begins_with_a_sentence(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("-- ")
    assert len(first) > 30


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_states_its_grain_in_columns_it_has(name: str) -> None:
    view = VIEWS[name]
    grain = view.file.header["grain"].removeprefix("one row a ").strip("()").split(", ")
    shorthand = {"pair": "pair_id"}
    assert {shorthand.get(column, column) for column in grain} <= view.columns.keys()
    assert view.description.endswith(f"Grain: {view.file.header['grain']}.")


@pytest.mark.parametrize("name", VIEWS)
def test_every_column_is_documented(name: str) -> None:
    assert all(len(text) >= 4 for text in VIEWS[name].columns.values())


def test_checks_and_pending_queries_read_only_what_exists() -> None:
    known = {*TABLES_BY_NAME, *(view.table for view in VIEWS.values())}
    queries = [check.sql for check in load_checks().values()]
    queries += [load_pending(path.stem) for path in SQL_DIR.glob("pending/*.sql")]
    for sql in queries:
        [statement] = sqlglot.parse(sql, dialect="duckdb")
        tables = {f"{table.db}.{table.name}" for table in statement.find_all(sqlglot.exp.Table) if table.db}
        assert tables <= known


def test_views_come_after_what_they_read() -> None:
    place = {view.table: i for i, view in enumerate(VIEWS.values())}
    for view in VIEWS.values():
        assert all(place[table] < place[view.table] for table in view.depends_on if table in place)


def test_dependencies_are_the_real_tables() -> None:
    assert VIEWS["instruction_candidates"].depends_on == (
        "profile.teachers",
        "raw.raw_pairs",
        "selection.current_instruction_reflections",
    )
    assert VIEWS["paper"].depends_on == ("selection.response_choices",)
    assert set(VIEWS["kept_pairs"].depends_on) == {f"selection.{policy}" for policy in policies()}


def test_column_documentation_is_the_comment_beside_it() -> None:
    assert VIEWS["recycled_pairs"].columns["rank"] == "1 = highest IFD of the recipe"
    assert VIEWS["recycled_pairs"].columns["candidate"] == "which of its four texts"
    assert list(VIEWS["paper"].columns) == ["teacher", "student", "pair_id", "candidate"]


def test_policies_know_which_reflections_they_need() -> None:
    by_folder = {path.stem for path in SQL_DIR.glob("policies/*.sql")}
    assert policies() == {name: "all" if name in NEED_ALL else "selected" for name in by_folder}
    assert {name for name, view in VIEWS.items() if view.is_policy} == by_folder


SCORES, REFLECTIONS = "scoring.instruction_scores", "selection.current_instruction_reflections"


@pytest.mark.parametrize(
    ("view", "column", "sources"),
    [
        (
            "instruction_choices",
            "ifd_original",
            {
                (SCORES, "answer_nll"),
                (SCORES, "answer_nll_given_instruction"),
                (SCORES, "answer_tokens"),
                (SCORES, "status"),
            },
        ),
        ("instruction_choices", "reflection_status", {(REFLECTIONS, "status")}),
        (
            "instruction_candidates",
            "output",
            {("raw.raw_pairs", "output"), (REFLECTIONS, "output")},
        ),
        ("paper", "candidate", {("selection.response_choices", "choice")}),
        ("recycled_pairs", "instruction", {("selection.candidates", "instruction")}),
        (
            "candidate_scores",
            "ppl_answer",
            {
                (f"scoring.{phase}_scores", term)
                for phase in ("instruction", "chosen")
                for term in ("answer_nll", "answer_tokens")
            },
        ),
    ],
)
def test_lineage_says_where_a_column_comes_from(view: str, column: str, sources: set[tuple[str, str]]) -> None:
    assert set(column_lineage()[view][column]) == sources


def test_lineage_names_only_columns_that_exist() -> None:
    for columns in column_lineage().values():
        for sources in columns.values():
            for table, column in sources:
                if table in TABLES_BY_NAME:
                    assert column in {c.name for c in TABLES_BY_NAME[table].columns}
                else:
                    assert column in VIEWS[table.split(".")[1]].columns


# ── files that break the rules ─────────────────────────────────────────────────────────────────────────────────────

GOOD = "-- Every pair.\n-- grain: one row a pair_id\nselect\n    pair_id -- raw pair\nfrom raw.raw_pairs\n"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "checks").mkdir()
    (tmp_path / "good.sql").write_text(GOOD)
    return tmp_path


def test_a_good_file_is_a_view(sql: Path) -> None:
    view = load_views(sql)["good"]
    assert (view.table, view.is_policy, view.is_stored) == ("selection.good", False, False)
    assert (view.columns, view.depends_on) == ({"pair_id": "raw pair"}, ("raw.raw_pairs",))
    assert view.description == "Every pair. Grain: one row a pair_id."


def test_the_header_makes_stored_rows(sql: Path) -> None:
    (sql / "stored.sql").write_text("-- materialized: table\n" + GOOD)
    assert load_views(sql)["stored"].definition == "table selection.stored"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + ";\nselect 1 as one -- one\n", "exactly one SELECT"),
        ("-- Deletes.\ndelete from raw.raw_pairs\n", "exactly one SELECT"),
        (GOOD.split("\n", 2)[2], "begins with no comment"),
        ("-- grain: one row a pair\nselect 1 as one -- one\n", "begins with no comment"),
        ("-- All.\nselect * from raw.raw_pairs -- all\n", "must name every column"),
        ("-- All.\nselect raw_pairs.* from raw.raw_pairs -- all\n", "must name every column"),
        ("-- A sum.\nselect 1 + 1 -- two\n", "must name every column"),
        (
            "-- Two.\nselect\n    pair_id, -- raw pair\n    output,\n    source -- source\nfrom raw.raw_pairs\n",
            "columns output of",
        ),
        ("-- Lost.\nselect a -- a\nfrom raw.no_such_table\n", r"reads raw\.no_such_table, which is neither"),
        ("-- Broken.\nselect from where\n", "not readable as DuckDB SQL"),
        ("-- Itself.\nselect a -- a\nfrom selection.bad\n", "read each other"),
    ],
)
def test_a_file_that_breaks_a_rule_is_named(sql: Path, text: str, message: str) -> None:
    (sql / "bad.sql").write_text(text)
    with pytest.raises(UserError, match=rf"bad\.sql(?s:.*){message}"):
        load_views(sql)


def test_two_files_of_one_name_are_refused(sql: Path) -> None:
    (sql / "policies" / "good.sql").write_text(GOOD)
    with pytest.raises(UserError, match=r"policies/good\.sql: another file .* Rename one"):
        load_views(sql)


def test_a_policys_header_says_what_it_needs(sql: Path) -> None:
    (sql / "policies" / "cheap.sql").write_text(GOOD)
    (sql / "policies" / "dear.sql").write_text("-- Both.\n-- response_reflection: all\n" + GOOD)
    assert policies(sql) == {"cheap": "selected", "dear": "all"}


def test_a_requirement_that_does_not_exist_is_refused(sql: Path) -> None:
    (sql / "policies" / "typo.sql").write_text("-- Both.\n-- response_reflection: al\n" + GOOD)
    with pytest.raises(UserError, match=r"typo\.sql: response_reflection: 'al'.*selected or all"):
        policies(sql)


def _view(name: str, columns: tuple[str, ...]) -> str:
    select = ",\n".join(f"    source as {column} -- told" for column in columns).replace(" -- told,", ", -- told")
    return f"-- {name}.\nselect\n{select}\nfrom raw.raw_pairs\n"


def test_a_new_policy_joins_the_kept_pairs_by_itself(sql: Path) -> None:
    for name in ("kept_pairs.sql", "policies/random_choice.sql"):
        (sql / name).write_text((SQL_DIR / name).read_text())
    kept = ("teacher", "student", "pair_id", "candidate")
    (sql / "policies" / "mine.sql").write_text(_view("Mine", kept))
    (sql / "candidate_scores.sql").write_text(_view("Scores", (*kept, "status")))
    text = load_views(sql)["kept_pairs"].file.sql
    assert "select 'mine' as policy, null::bigint as seed, * from selection.mine" in text
    assert "select 'random_choice' as policy, * from selection.random_choice" in text


def test_a_check_names_its_asset(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text("-- A claim.\nselect 1 as one\n")
    with pytest.raises(UserError, match=r"claim\.sql: names no asset"):
        load_checks(sql)
