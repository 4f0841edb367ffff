"""The SQL loader: what it reads from the project's files, and what it says of files that break the rules."""

import re
from pathlib import Path

import pytest

from dagster_project.lakehouse.sql_files import (
    SQL_DIR,
    Header,
    column_lineage,
    load_checks,
    load_macros,
    load_models,
    load_pending,
    pending_files,
    pending_reads,
    policies,
)
from dagster_project.lakehouse.tables import TABLES_BY_NAME, grain_text
from models_py.errors import UserError

MODELS = load_models()
NEED_ALL = {"ifd_only", "perplexity", "r_ifd_only", "random_choice", "reflect_both", "reflect_response"}
NEED_ALL |= {"grape", "paper_guarded"}


# ── the project's own files ────────────────────────────────────────────────────────────────────────────────────────


def test_every_file_is_loaded_by_someone() -> None:
    files = [model.file for model in MODELS.values()]
    files += [*load_checks().values(), *load_macros().values(), *pending_files().values()]
    assert {file.path for file in files} == set(SQL_DIR.rglob("*.sql"))


@pytest.mark.parametrize("path", sorted(SQL_DIR.rglob("*.sql")), ids=lambda path: str(path.relative_to(SQL_DIR)))
def test_every_file_begins_with_a_sentence(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("-- ")
    assert len(first) > 30


@pytest.mark.parametrize("name", MODELS)
def test_every_model_states_its_grain_in_columns_it_has(name: str) -> None:
    model = MODELS[name]
    assert set(model.header.grain) <= model.columns.keys()
    assert model.header.grain
    assert model.description.endswith(f"Grain: {grain_text(model.header.grain)}.")


@pytest.mark.parametrize("name", MODELS)
def test_every_column_is_documented(name: str) -> None:
    assert all(len(text) >= 4 for text in MODELS[name].columns.values())


def test_checks_and_pending_queries_read_only_what_exists() -> None:
    for file in (*load_checks().values(), *pending_files().values()):
        assert set(file.depends_on) <= {*TABLES_BY_NAME, *MODELS}


def test_models_come_after_what_they_read() -> None:
    place = {table: i for i, table in enumerate(MODELS)}
    for table, model in MODELS.items():
        assert all(place[read] < place[table] for read in model.depends_on if read in place)


def test_dependencies_are_the_real_tables() -> None:
    assert MODELS["selection.instruction_candidates"].depends_on == (
        "profile.teachers",
        "raw.raw_pairs",
        "selection.current_instruction_reflections",
    )
    assert MODELS["selection.paper"].depends_on == ("selection.response_choices",)
    assert set(MODELS["selection.kept_pairs"].depends_on) == {f"selection.{policy}" for policy in policies()}


def test_column_documentation_is_the_comment_beside_it() -> None:
    columns = MODELS["selection.recycled_pairs"].columns
    assert columns["rank"] == "1 = first of the recipe: highest IFD, or what its policy ranks by"
    assert MODELS["selection.recycled_pairs"].columns["candidate"] == "which of its four texts"
    assert list(MODELS["selection.paper"].columns) == ["teacher", "student", "pair_id", "candidate"]


def test_policies_know_which_reflections_they_need() -> None:
    by_folder = {path.stem for path in SQL_DIR.glob("policies/*.sql")}
    assert policies() == {name: "all" if name in NEED_ALL else "selected" for name in by_folder}
    assert {model.name for model in MODELS.values() if model.is_policy} == by_folder


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
    assert set(column_lineage()[f"selection.{view}"][column]) == sources


def test_lineage_names_only_columns_that_exist() -> None:
    for columns in column_lineage().values():
        for sources in columns.values():
            for table, column in sources:
                if table in TABLES_BY_NAME:
                    assert column in {c.name for c in TABLES_BY_NAME[table].columns}
                else:
                    assert column in MODELS[table].columns


# ── files that break the rules ─────────────────────────────────────────────────────────────────────────────────────

KEPT = ("teacher", "student", "pair_id", "candidate")
GOOD = "-- Every pair.\n-- grain: one row a pair_id\nselect\n    pair_id -- raw pair\nfrom raw.raw_pairs\n"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "checks").mkdir()
    (tmp_path / "good.sql").write_text(GOOD)
    return tmp_path


def test_a_good_file_is_a_view(sql: Path) -> None:
    model = load_models(sql)["selection.good"]
    assert (model.table, model.is_policy, model.materialized) == ("selection.good", False, "view")
    assert (model.columns, model.depends_on) == ({"pair_id": "raw pair"}, ("raw.raw_pairs",))
    assert model.description == "Every pair. Grain: one row a pair_id."
    assert model.header == Header(grain=("pair_id",))


def test_the_header_makes_stored_rows(sql: Path) -> None:
    (sql / "stored.sql").write_text("-- materialized: table\n" + GOOD)
    assert load_models(sql)["selection.stored"].definition == "table selection.stored"


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
        ("-- Broken.\nselect from where\n", "not readable as DuckDB SQL: Expected table name, at `where` of"),
        ("-- Open.\nselect 'a as a -- a\nfrom raw.raw_pairs\n", "SQL: a quoted text or a comment is not closed"),
        ("-- Itself.\nselect a -- a\nfrom selection.bad\n", "read each other"),
    ],
)
def test_a_file_that_breaks_a_rule_is_named(sql: Path, text: str, message: str) -> None:
    (sql / "bad.sql").write_text(text)
    with pytest.raises(UserError, match=rf"bad\.sql(?s:.*){message}"):
        load_models(sql)


def test_what_is_no_sql_is_told_by_its_line_in_plain_words(sql: Path) -> None:
    (sql / "bad.sql").write_text("-- Cut.\nselect\n    tudent = source -- who\n    wher pairs.source <> 'a' from x\n")
    with pytest.raises(UserError) as told:
        load_models(sql)
    assert str(told.value) == (
        f"{sql}/bad.sql:4: not readable as DuckDB SQL: Invalid expression / Unexpected token, at `pairs` of "
        "`wher pairs.source <> 'a' from x`."
    )


def test_a_template_that_names_nothing_is_told(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text("-- One.\n-- asset: raw/raw_pairs\nselect 1 as one from {{ tabel }}\n")
    with pytest.raises(UserError, match=r"claim\.sql: not readable as a template: 'tabel' is undef.*: table, name\."):
        load_checks(sql)


def test_two_files_of_one_name_are_refused(sql: Path) -> None:
    (sql / "policies" / "good.sql").write_text(GOOD)
    with pytest.raises(UserError, match=r"policies/good\.sql: another file .* Rename one"):
        load_models(sql)


def test_a_policys_header_says_what_it_needs(sql: Path) -> None:
    (sql / "policies" / "cheap.sql").write_text(_view("Cheap", KEPT))
    (sql / "policies" / "dear.sql").write_text("-- Both.\n-- response_reflection: all\n" + _view("Dear", KEPT))
    assert policies(sql) == {"cheap": "selected", "dear": "all"}


def test_a_policy_selects_what_every_policy_does(sql: Path) -> None:
    said = (
        "; a policy selects teacher, student, pair_id and candidate, where it is random also seed, where it orders its "
        "rows itself also rank_by."
    )
    columns = {"foo": (*KEPT[:3], "foo"), "less": ("teacher", "pair_id"), "more": (*KEPT, "ranks"), "fine": KEPT}
    told = {"foo": "selects no `candidate`", "less": "selects no `student`, no `candidate`"}
    told |= {"more": "selects `ranks`, which selection.kept_pairs adds itself"}
    for name, selected in columns.items():
        (sql / "policies" / "mine.sql").write_text(_view(name, selected))
        if name in told:
            with pytest.raises(UserError, match=re.escape(f"policies/mine.sql: {told[name]}{said}")):
                load_models.__wrapped__(sql)
    assert "selection.mine" in load_models(sql)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("blocked: true", "'blocked' is not a key of a header (did you mean blocking?)"),
        ("materialised: table", "'materialised' is not a key of a header (did you mean materialized?)"),
        (
            "response-reflection: all",
            "'response-reflection' is not a key of a header (did you mean response_reflection?)",
        ),
        ("xyz: 1", "'xyz' is not a key of a header; there are: grain, materialized, response_reflection, asset"),
        ("blocking: yes", "'yes' is not a value of this key; there are: true, false"),
        ("blocking:", "'' is not a value of this key; there are: true, false"),
        ("severity: warning", "'warning' is not a value of this key (did you mean warn?); there are: error, warn"),
        ("materialized: tables", "'tables' is not a value of this key (did you mean table?); there are: view, table"),
        ("response_reflection : al", "'al' is not a value of this key (did you mean all?); there are: selected, all"),
        ("asset: raw/raw_pairs, raw/quarantined_rows", "write `assets:` for more than one"),
        ("grain: one pair", "'one pair' is not a grain: write `one row a column`"),
    ],
)
def test_a_header_that_says_nothing_known_is_refused(sql: Path, line: str, message: str) -> None:
    (sql / "policies" / "typo.sql").write_text(f"-- Both.\n-- {line}\n{GOOD.split(chr(10), 2)[2]}")
    with pytest.raises(UserError, match=rf"typo\.sql:2: `{line}`: (?s:.*){re.escape(message)}"):
        load_models(sql)


def test_a_key_stands_once(sql: Path) -> None:
    (sql / "twice.sql").write_text("-- grain: one row a source\n" + GOOD)
    with pytest.raises(UserError, match=r"twice\.sql:3: .*an earlier line says grain too"):
        load_models(sql)


def test_other_lines_with_colons_are_prose(sql: Path) -> None:
    prose = "-- Ablation: of all.\n-- order of cuts: policy, rank.\n-- https://arxiv.org/abs/2402.10110\n"
    (sql / "prose.sql").write_text(prose + GOOD)
    description = load_models(sql)["selection.prose"].description
    assert description.startswith("Ablation: of all. order of cuts: policy, rank. https://arxiv.org/abs/2402.10110 ")


def test_a_grain_names_columns_of_the_last_select(sql: Path) -> None:
    (sql / "odd.sql").write_text(GOOD.replace("a pair_id", "a (pair_id, sorce)"))
    with pytest.raises(UserError, match=r"odd\.sql: grain: 'sorce' is not a column of the last SELECT"):
        load_models(sql)


def test_a_folder_is_a_schema(sql: Path) -> None:
    (sql / "evaluation").mkdir()
    (sql / "evaluation" / "wins.sql").write_text(GOOD)
    assert load_models(sql)["evaluation.wins"].schema == "evaluation"
    (sql / "evaluations").mkdir()
    (sql / "evaluations" / "losses.sql").write_text(GOOD)
    with pytest.raises(
        UserError, match=r"evaluations: 'evaluations' is not a schema of the lake \(did you mean evaluation\?"
    ):
        load_models.__wrapped__(sql)


# ── what a file reads and means ────────────────────────────────────────────────────────────────────────────────────


def test_pending_work_knows_its_tables_and_macros() -> None:
    file = load_pending("scoring.chosen_scores")
    assert file.macros == ("base_of_twin", "lower_wins", "ppl_ratio", "twin_of_base")
    assert set(file.depends_on) == {
        "profile.recipes",
        "scoring.chosen_scores",
        "scoring.instruction_scores",
        "selection.instruction_terms",
        "selection.pairings",
        "selection.response_candidates",
    }


def test_what_is_built_on_the_own_table_counts_as_what_it_reads(sql: Path) -> None:
    own, recipes = "reflection.instruction_reflections", "profile.recipes"
    (sql / "newest.sql").write_text(GOOD.replace("raw.raw_pairs", f"{own} inner join profile.teachers using (teacher)"))
    (sql / "told.sql").write_text(GOOD.replace("raw.raw_pairs", f"selection.newest cross join {recipes}"))
    (sql / "pending").mkdir()
    (sql / "pending" / "instruction_reflections.sql").write_text(
        f"-- Left.\nselect * from selection.good natural anti join selection.told natural anti join {own}"
    )
    assert pending_reads(own, sql) == (recipes, "profile.teachers", "selection.good")


def test_macros_are_found_through_macros(sql: Path) -> None:
    (sql / "macros").mkdir()
    for name, body in {"inner": "x + 1", "outer": "selection.inner(x) * 2", "unused": "x"}.items():
        macro = f"-- What it is for.\ncreate or replace macro selection.{name}(x) as {body}"
        (sql / "macros" / f"{name}.sql").write_text(macro)
    (sql / "calls.sql").write_text(GOOD.replace("pair_id --", "selection.outer(1) as pair_id --"))
    (sql / "typo.sql").write_text(GOOD.replace("pair_id --", "selection.oter(1) as pair_id --"))
    calls, typo = (load_models(sql)[f"selection.{name}"].file for name in ("calls", "typo"))
    assert calls.macros == ("inner", "outer")
    assert "selection . inner ( x ) as x + 1" in calls.meaning
    with pytest.raises(UserError, match=r"typo\.sql: 'oter' is not a macro of selection \(did you mean outer\?"):
        assert typo.macros


def test_macros_come_after_what_they_call() -> None:
    names = list(load_macros())
    assert names.index("twin_of_base") < names.index("base_of_twin")


def test_a_macro_is_called_like_its_file(sql: Path) -> None:
    (sql / "macros").mkdir()
    (sql / "macros" / "mine.sql").write_text("-- Mine.\ncreate or replace macro selection.yours(x) as x")
    with pytest.raises(UserError, match=r"mine\.sql: the statement must begin with .*selection\.mine\("):
        load_macros(sql)


def test_the_meaning_forgets_comments_and_layout_and_nothing_else(sql: Path) -> None:
    texts = {
        "good": GOOD,
        "told": GOOD.replace("raw pair", "something else").replace("Every", "Each").replace("\n    ", "  /* here */ "),
        "other": GOOD.replace("raw.raw_pairs", "raw.raw_pairs where pair_id = '--no  comment'"),
    }
    for name, text in texts.items():
        (sql / f"{name}.sql").write_text(text)
    good, told, other = (load_models(sql)[f"selection.{name}"].file.meaning for name in texts)
    assert good == told == "select pair_id from raw . raw_pairs"
    assert other == good + " where pair_id = '--no  comment'"


def _view(name: str, columns: tuple[str, ...]) -> str:
    select = ",\n".join(f"    source as {column} -- told" for column in columns).replace(" -- told,", ", -- told")
    return f"-- {name}.\nselect\n{select}\nfrom raw.raw_pairs\n"


def test_a_new_policy_joins_the_kept_pairs_by_itself(sql: Path) -> None:
    for name in ("kept_pairs.sql", "policies/random_choice.sql", "policies/longest.sql"):
        (sql / name).write_text((SQL_DIR / name).read_text())
    (sql / "policies" / "mine.sql").write_text(_view("Mine", KEPT))
    (sql / "candidate_scores.sql").write_text(_view("Scores", (*KEPT, "answer_tokens", "status")))
    text = load_models(sql)["selection.kept_pairs"].file.sql
    unseeded, unranked = "null::bigint as seed, ", "null::double as rank_by, "
    assert f"select 'mine' as policy, {unseeded}{unranked}False as ranks, * from selection.mine" in text
    assert f"select 'random_choice' as policy, {unranked}False as ranks, * from selection.random_choice" in text
    assert f"select 'longest' as policy, {unseeded}True as ranks, * from selection.longest" in text


def test_a_check_names_an_asset_that_exists(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text("-- A claim.\n-- asset: raw/raw_pair\nselect 1 as one\n")
    message = r"claim\.sql: asset: 'raw/raw_pair' is neither a table .* nor a model \(did you mean raw/raw_pairs\?"
    with pytest.raises(UserError, match=message):
        load_checks(sql)


def test_a_claim_over_several_assets_is_made_of_each(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text(
        "-- A claim.\n-- assets: raw/raw_pairs, selection/good\nselect '{{ name }}' as name from {{ table }}\n"
    )
    checks = load_checks(sql)
    assert list(checks) == [("raw.raw_pairs", "claim"), ("selection.good", "claim")]
    assert checks["selection.good", "claim"].meaning == "select 'good' as name from selection . good"


def test_pending_work_is_called_like_its_table(sql: Path) -> None:
    (sql / "pending").mkdir()
    (sql / "pending" / "chosen_score.sql").write_text("-- Left.\nselect 1 as one\n")
    with pytest.raises(
        UserError, match=r"chosen_score\.sql: 'chosen_score' is not a table of the lake \(did you mean chosen_scores\?"
    ):
        pending_files(sql)


def test_a_check_names_its_asset(sql: Path) -> None:
    (sql / "checks" / "claim.sql").write_text("-- A claim.\nselect 1 as one\n")
    with pytest.raises(UserError, match=r"claim\.sql: names no asset"):
        load_checks(sql)
