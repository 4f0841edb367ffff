"""What the documents show can be done: commands, queries, profiles, links. One list of what they show serves all.

Here are the checks that need no finished run: that targets and their variables are there, that links lead somewhere,
that profiles are accepted, that every query is answered on a lake of everything that a short run has not (a second
student, failed scores, copies, verdicts). tests/test_quickstart.py asks the same of a lake that was really run, and
runs the commands.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.locked import check
from dagster_project.lakehouse.sql_files import SQL_DIR, load_models
from dagster_project.profile.load import load_profile
from models_py.content import canonical_json
from models_py.errors import UserError
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.conftest import PROJECT
from tests.sql.story import Story, Text, freeze
from tests.support.documents import DOCUMENTS, Entry, Shown, commands, cookbook, programs, queries, settings
from tests.support.profiles import SMALLEST, write_profile

MAKEFILE = (PROJECT / "Makefile").read_text("utf-8")
RECIPES = dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE))
LISTS = dict(re.findall(r"^([A-Z]+) :?= (.*)$", MAKEFILE, re.MULTILINE))
OF_ALL = {"PROFILE", "PYTHON"}  # said to every target


def variables_of(target: str) -> set[str]:
    text = RECIPES[target]
    while found := set(re.findall(r"\$\((\w+)\)", text)) & LISTS.keys():
        for name in found:
            text = text.replace(f"$({name})", LISTS[name])
    return set(re.findall(r"\$[($]*(?:if \$\(|filter 1,\$\()?([A-Z_]+)", text)) | OF_ALL


# ── commands, links, profiles ──────────────────────────────────────────────────────────────────────────────────────


def test_every_command_is_a_target_that_reads_the_variables_it_is_given() -> None:
    shown = commands()
    assert len(shown) > 100
    for command in shown:
        assert command.target in RECIPES, f"{command}: make {command.target}"
        unknown = command.variables.keys() - variables_of(command.target)
        assert not unknown, f"{command}: make {command.target} reads no {', '.join(unknown)}"


def test_a_command_that_is_wrong_is_found() -> None:
    assert {"Q", "AS_OF", "FORMAT", "OUT", "PROFILE"} <= variables_of("sql")
    assert {"RECIPE", "FORMAT", "FILES", "CANDIDATES", "REPO", "CONFIRM", "PUBLIC"} <= variables_of("push")
    assert "ROW" not in variables_of("sql") and "ARGS" in variables_of("test") and "WITH" in variables_of("setup")


def test_every_target_and_every_variable_that_people_set_is_shown() -> None:
    shown = commands()
    assert RECIPES.keys() - {command.target for command in shown} == {"help", "clean"}
    text = "".join(file.read_text("utf-8") for file in DOCUMENTS)
    variables = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)
    assert [name for name in variables if f"{name}=" not in text] == ["PYTHON"]


def test_what_tests_are_named_is_there() -> None:
    paths = [path for one in commands() for path in re.findall(r"tests/\S+", one.variables.get("ARGS", ""))]
    assert paths
    assert [path for path in paths if not (PROJECT / path).exists()] == []


def test_programs_are_there_and_know_their_options() -> None:
    shown = programs()
    assert shown
    for program in shown:
        _, file, *arguments = program.text.split("#")[0].split()
        text = (PROJECT / file).read_text("utf-8")
        assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in text] == [], program


def anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(PROJECT)))
def test_links_lead_somewhere(file: Path) -> None:
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", file.read_text("utf-8")):
        there = (file.parent / link).resolve() if link else file
        assert there.exists(), f"{file}: {link}"
        assert not anchor or anchor in anchors(there), f"{file}: {link}#{anchor}"


# Names that the documents' profiles use without making them.
USED: Mapping[str, Mapping[str, Any]] = {
    "teachers": {name: {"engine": "recorded", "replies": "r.jsonl"} for name in ("tape", "recorded", "gpt")},
    "students": {name: {"scratch": {}} for name in ("toy", "small")},
}


@pytest.mark.parametrize("shown", settings(), ids=str)
def test_a_profile_is_accepted_as_it_is_shown(shown: Shown, tmp_path: Path) -> None:
    said = yaml.safe_load(shown.text)
    complaints = []
    for profile in (said, {"teachers": said}, {"evaluation": said}):
        whole: dict[str, Any] = {**SMALLEST, **USED, **profile}
        for key, names in USED.items():
            whole[key] = {**names, **whole[key]}
        try:
            load_profile(write_profile(tmp_path, whole))
            return
        except UserError as error:
            complaints.append(str(error))
    pytest.fail("\n".join(complaints))


def test_the_policy_of_the_how_to_is_one(tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "how-tos.md").read_text("utf-8").split("## Your own policy")[1]
    (block,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    copied = shutil.copytree(SQL_DIR, tmp_path / "sql")
    (copied / "policies" / "calm.sql").write_text(block)
    model = load_models(copied)["selection.calm"]
    assert model.is_policy
    assert [*model.columns] == ["teacher", "student", "pair_id", "candidate", "rank_by"]
    assert "selection.calm" in load_models(copied)["selection.kept_pairs"].depends_on


# ── queries ────────────────────────────────────────────────────────────────────────────────────────────────────────

# What a run of the bundled pairs without evaluation and cleaning has no rows of.
NOT_IN_A_SHORT_RUN = {12, 13, 16, 18, 19, 24, 25}


def test_the_cookbook_has_25_questions_that_can_be_pasted_between_quotes() -> None:
    assert [entry.number for entry in cookbook()] == [*range(1, 26)]
    assert [entry.number for entry in cookbook() if re.search(r"[\"$`!]", entry.text)] == []


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A lake of everything that is asked for and happens in no short run, as a query of `make sql` sees it."""
    lake = Lake(tmp_path_factory.mktemp("everything"))
    story = Story(lake)
    story.recipe("paper", "paper")
    story.recipe("original", "original", student="other")
    story.pair("a", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.6, r_ifd=0.9), both=Text(ifd=0.7, r_ifd=0.3))
    story.pair("b", Text(ifd=0.4, r_ifd=0.4), Text(ifd=0.3), response=Text(r_ifd=0.6))
    story.pair("c", Text(ifd=None, status="prompt_too_long"), "refused")
    _add_another_student(story)
    story.add("reflection.teacher_replies", request_id="r", teacher="gpt", status="failed", error="no such host")
    near = {"cluster_size": 2, "similarity": 0.9, "shared_text": "x"}
    story.add("raw.near_duplicates", pair_id="b", linked_to="a", representative_id="a", place=2, **near)
    story.add("selection.contaminated_texts", content_id="a-both", evaluation="gsm8k", item_row=1, share_covered=1.0)
    _add_verdicts(story)
    freeze(story.tell(), "v")
    with lake.locked() as connection:
        yield connection


def _add_another_student(story: Story) -> None:
    """It sees in every answer of the second phase the opposite of what the first one does."""
    story.student("other")
    for table in ("instruction_scores", "response_scores", "chosen_scores"):
        for row in [*story.rows[f"scoring.{table}"]]:
            other = {**row, "student": "other", "student_fingerprint": "fp-other"}
            if table == "response_scores" and row["content_id"] in ("a-both", "b-response"):
                other["instruction_nll_given_answer"] = 10.0 - row["instruction_nll_given_answer"] - 0.5
            story.rows[f"scoring.{table}"].append(other)


def _add_verdicts(story: Story) -> None:
    """The checkpoint of `paper` loses against its base, on one instruction."""
    paper = checkpoint_id("paper", "v", "fp-toy", TrainingSettings())
    trained = {"checkpoint_id": paper, "data_version": "v", "path": "p", "manifest": "{}"}
    story.add("training.student_checkpoints", recipe="paper", **trained)
    made = canonical_json(TrainingSettings().hashed).decode()
    story.add("profile.training_settings", recipe="paper", training_seed=0, settings=made)
    asked = {"generation": "g", "instruction_id": "i"}
    story.add("evaluation.instructions", instruction_set="set", instruction="Name a sea.", **asked)
    for model, answer in ((paper, "No."), ("fp-toy", "The Baltic.")):
        story.add("evaluation.answers", model=model, answer=answer, status="ok", **asked)
    story.add("evaluation.judges", judge="gpt", prompt_version="v1")
    story.add("evaluation.opponents", model=paper, opponent="fp-toy", why="base")
    for one, two, score in ((paper, "fp-toy", 3.0), ("fp-toy", paper, 8.0)):
        scores = {"score_1": score, "score_2": 11.0 - score, "status": "ok"}
        story.add("evaluation.verdicts", judge="gpt", prompt_version="v1", model_1=one, model_2=two, **asked, **scores)
    rate = {"judge": "gpt", "model": paper, "opponent": "fp-toy", "instruction_set": "set", "losses": 1}
    story.add("evaluation.win_rates", **rate)


@pytest.mark.parametrize("entry", cookbook(), ids=lambda entry: str(entry.number))
def test_an_answer_of_the_cookbook_has_the_columns_it_names(
    everything: duckdb.DuckDBPyConnection, entry: Entry
) -> None:
    check(everything, entry.text)
    answer = everything.execute(entry.text)
    assert [name for name, *_ in answer.description or []] == entry.columns
    rows = answer.fetchall()
    assert rows or entry.number not in NOT_IN_A_SHORT_RUN


def test_every_query_of_the_documents_is_answered(everything: duckdb.DuckDBPyConnection) -> None:
    shown = queries()
    assert len(shown) > 40
    for query in shown:
        check(everything, query.text)
        everything.execute(query.text).fetchall()
