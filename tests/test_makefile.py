"""A query reaches the program as it is written after `make sql`, its options too."""

import os
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.support.makefile import Make


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return Make(tmp_path, os.environ)


QUERIES = [
    "select $1",
    "select $$it's$$, '$HOME', \"a b\"",
    "select `date` # $(shell touch owned) \\ \\n %",
    "select 1 -- a comment\n, '${Q}'",
    "-- a comment first\nselect 1",
    "from t where x = '$(Q)' and y = 'ünïcødé 日本 $ä'",
    "--max-rows",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_passed_as_it_is_written(make: Make, query: str) -> None:
    sql = ["dagster_project.commands.sql", "--", query]
    assert make("sql", f"Q={query}") == (sql, "")
    assert make("sql", Q=query) == (sql, "")
    assert not (PROJECT / "owned").exists()


def test_without_a_query_it_is_the_summary(make: Make) -> None:
    assert make("sql")[0][-1] == "select * from selection.selection_summary"


def test_a_query_may_be_in_a_file(make: Make) -> None:
    assert make("sql", "FILE=it's mine.sql", "FORMAT=csv")[0][1:] == ["--format", "csv", "--file", "it's mine.sql"]


def test_options_of_a_query_are_passed_as_they_are_written(make: Make) -> None:
    arguments, profile = make("sql", "Q=x", "AS_OF=$3; ls", "PROFILE=a b.yaml")
    assert arguments == ["dagster_project.commands.sql", "--as-of", "$3; ls", "--", "x"]
    assert profile == "a b.yaml"
    arguments, _ = make("sql", "Q=x", "FORMAT=csv", "OUT=$it's here.csv")
    assert arguments[1:] == ["--format", "csv", "--out", "$it's here.csv", "--", "x"]


def test_what_python_compiles_it_keeps_whatever_a_container_says(make: Make) -> None:
    told = """#!/bin/sh\nprintf '%s\\0' -m "[$PYTHONDONTWRITEBYTECODE]" ''\n"""
    (make.programs / "python").write_text(told)
    assert make("sql", "Q=x", PYTHONDONTWRITEBYTECODE="1")[0] == ["[]", ""]


def test_the_ui_is_told_its_port_and_its_further_names(make: Make) -> None:
    assert make("ui")[0] == ["dagster_project.commands.ui", "--allow-host"]
    arguments, _ = make("ui", "PORT=3001", "ALLOW_HOST=lake.example studio")
    assert arguments[1:] == ["--port", "3001", "--allow-host", "lake.example", "studio"]


def test_what_is_served_and_where_is_passed_on(make: Make) -> None:
    assert make("serve")[0] == ["dagster_project.commands.serve"]
    assert make("serve", "RECIPE=it's", "PORT=8001")[0][1:] == ["it's", "--port", "8001"]


def test_what_is_exported_and_where_is_passed_on(make: Make) -> None:
    assert make("export")[0] == ["dagster_project.commands.export"]
    arguments, _ = make("export", "RECIPE=paper", "FORMAT=preference", "OUT=$it's here", "FILES=jsonl", "CANDIDATES=1")
    assert arguments[1:] == [
        *("paper", "--format", "preference", "--files", "jsonl", "--candidates", "--out", "$it's here")
    ]


def test_nothing_is_uploaded_or_public_but_for_a_1(make: Make) -> None:
    of = ("push", "RECIPE=paper", "REPO=me/pairs")
    assert make(*of)[0][1:] == make(*of, "CONFIRM=0", "PUBLIC=no")[0][1:] == ["paper", "--repo", "me/pairs"]
    assert make(*of, "CONFIRM=1", "PUBLIC=1")[0][1:] == ["paper", "--repo", "me/pairs", "--confirm", "--public"]


def test_whose_answers_are_exported_and_where_is_passed_on(make: Make) -> None:
    assert make("export-answers")[0] == ["dagster_project.commands.export_answers"]
    arguments, _ = make("export-answers", "MODEL=toy (base)", "OUT=$it's here", "FORMAT=mt_bench", "SET=mine")
    assert arguments[1:] == ["toy (base)", "--out", "$it's here", "--format", "mt_bench", "--set", "mine"]


def test_a_misspelt_setting_is_told(make: Make) -> None:
    make("run", "PROFLE=mine", "OPENAI_API_KEY=k")
    assert "OPENAI_API_KEY PROFLE: no setting of this project" in " ".join(make.said.split())
    assert " PROFILE " in make.said
    make("run", "PROFILE=mine", Q="select 1", WORKERS="3", FILE="of the environment")
    assert make.said == ""
