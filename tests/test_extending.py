"""The lists of docs/extending.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.support.profiles import SMALLEST, write_profile

TEXT = (PROJECT / "docs" / "extending.md").read_text("utf-8")
PATH = re.compile(r"[\w<>.-]+(?:/[\w<>.-]+)+|[A-Z]+\.md")


def files_of(section: str, **names: str) -> set[str]:
    """The files of the section's table, `<name>` replaced."""
    body = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = set(re.findall(r"^\| `([^`]+)`", body, re.MULTILINE))
    for kind, name in names.items():
        found = {file.replace(f"<{kind}>", name) for file in found}
    return found


@dataclass
class Copy:
    """The project without its tests, profiles and documents; remembers which files were touched."""

    folder: Path
    touched: set[str] = field(default_factory=set)

    def add(self, file: str, text: str) -> None:
        self.touched.add(file)
        assert not (self.folder / file).exists()
        (self.folder / file).write_text(text, "utf-8")

    def edit(self, file: str, before: str, after: str) -> None:
        self.touched.add(file)
        text = (self.folder / file).read_text("utf-8")
        assert text.count(before) == 1, f"{file} holds {before!r} {text.count(before)} times"
        (self.folder / file).write_text(text.replace(before, after), "utf-8")

    def profile(self, **parts: object) -> None:
        """mine.yaml with one pair."""
        (self.folder / "pairs.jsonl").write_text('{"instruction": "Name a river.", "output": "The Rhine."}\n', "utf-8")
        write_profile(self.folder, {**SMALLEST, **parts})

    def run(self, code: str) -> list[str]:
        """The lines that `code` prints, run in the copy."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "160"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for name in ("assets", "dagster_project", "models_py", "sql"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "sql").mkdir(parents=True)
    for name in ("tests/__init__.py", "tests/sql/__init__.py", "tests/sql/story.py"):
        shutil.copy(PROJECT / name, tmp_path / name)
    return Copy(tmp_path)


def test_every_path_is_there() -> None:
    for path in {path.removesuffix(".") for path in PATH.findall(TEXT)} - {"<group>/<name>"}:
        assert list(PROJECT.glob(re.sub(r"<\w+>", "*", path))), path


def test_an_engine(copy: Copy) -> None:
    spec = "models_py/teacher/spec.py"
    copy.edit(spec, "OpenAIBatchSettings | VllmSettings\n", "OpenAIBatchSettings | VllmSettings | EchoSettings\n")
    copy.edit(spec, "\nEngineSettings = ", f"\n{ECHO_SETTINGS}\n\nEngineSettings = ")
    copy.add("models_py/teacher/engines/echo.py", ECHO_ENGINE)
    assert copy.touched == files_of("An engine", engine="echo")

    copy.profile(teachers={"tape": {"engine": "echo", "prefix": "Indeed. ", "sampling": {"seed": 3}}})
    said = copy.run(ASK_ECHO)
    assert said[0].startswith("echo:Indeed. Indeed.") and "Name a river." in said[0]
    assert "tape  echo, echo:Indeed., 5 at once" in said
    assert said[-1].strip() == "It only says what it hears."

    copy.profile(teachers={"tape": {"engine": "eco"}}, warehose="x")
    assert "teachers.tape.engine: 'eco' is not an engine (did you mean echo?)" in "".join(copy.run(COMPLAIN))


ECHO_SETTINGS = '''
@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSettings(TeacherSettings):
    """Says what it hears."""

    engine: Literal["echo"] = "echo"
    prefix: str

    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        from models_py.teacher.engines.echo import EchoEngine

        return EchoEngine(self)

    @property
    def is_free(self) -> bool:
        return True

    @property
    def calls_at_once(self) -> int:
        return 5

    @property
    def when_answered(self) -> str:
        return "It only says what it hears."
'''
ECHO_ENGINE = """
from models_py.teacher.engines.base import Engine
from models_py.teacher.request import TeacherReply


class EchoEngine(Engine):
    def __init__(self, settings):
        self.settings = settings

    @property
    def identity(self):
        return f"echo:{self.settings.prefix.strip()}"

    def ask(self, requests, stop):
        for request in requests:
            yield TeacherReply(request.request_id, reply=self.settings.prefix + request.messages[-1].content)
"""
ASK_ECHO = """
from threading import Event
from dagster_project.commands.teacher import main
from dagster_project.profile.load import load_profile
from models_py.teacher.open_teacher import open_teacher
from models_py.teacher.request import PendingPair

(spec,) = load_profile("mine.yaml").teacher_specs()
teacher = open_teacher(spec)
request = teacher.request("response_reflection", PendingPair("id", "Name a river.", "", "The Rhine."))
(reply,) = teacher.engine.ask([request], Event())
print(request.identity, " ".join(reply.reply.split()))
main(["estimate", "--profile", "mine.yaml"])
"""
COMPLAIN = """
from dagster_project.profile.load import load_profile
from models_py.errors import UserError

try:
    load_profile("mine.yaml")
except UserError as error:
    print(error)
"""


def test_a_source_format(copy: Copy) -> None:
    formats = "models_py/sources/formats.py"
    copy.edit(formats, "FORMATS = {\n", 'FORMATS = {\n    "tabs": Format((".tab",), read_tabs),\n')
    copy.edit(formats, "import Row\n", "import Row\nfrom models_py.sources.tabs_rows import read_tabs\n")
    copy.add("models_py/sources/tabs_rows.py", READ_TABS)
    assert copy.touched == files_of("A source format", format="tabs")

    (copy.folder / "pairs.tab").write_text("Name a river.\tThe Rhine.\nbroken\n", "utf-8")
    (copy.folder / "others.txt").write_text("Name a sea.\tThe Baltic.\n", "utf-8")
    copy.profile(
        sources=[{"name": "told", "path": "pairs.tab"}, {"name": "said", "path": "others.txt", "format": "tabs"}]
    )
    assert copy.run(READ) == ["[('Name a river.', 'The Rhine.'), ('Name a sea.', 'The Baltic.')]", "['1 field']"]


READ_TABS = """
from models_py.sources.row import Row


def read_tabs(path, wanted):
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        cells = dict(zip(("instruction", "output"), line.split("\\t")))
        yield Row(number, None, cells, line, None if len(cells) == 2 else f"{len(cells)} field")
"""
READ = """
from dagster_project.profile.load import load_profile
from models_py.sources.read import read_sources

read = read_sources(load_profile("mine.yaml").sources)
print(read.pairs.select("instruction", "output").rows())
print(read.quarantined["reason"].to_list())
"""


@pytest.mark.slow
def test_a_policy_a_score_and_a_check(copy: Copy) -> None:
    copy.add("sql/policies/backwards.sql", BACKWARDS)
    column = "terms.answer_nll / ln(2) / terms.answer_tokens as answer_bits, -- bits a token of y"
    copy.edit("sql/candidate_scores.sql", "    terms.status, --", f"    {column}\n    terms.status, --")
    copy.add("sql/checks/nobody_refuses.sql", NOBODY_REFUSES)
    policy, check = files_of("A policy", policy="backwards"), files_of("A check", claim="nobody_refuses")
    assert copy.touched == policy | check | files_of("A score")

    assert copy.run(TELL) == [
        "True",
        "[('a', 'original'), ('b', 'original')]",
        "[(7.54,), (8.21,)]",
        "False 1",
    ]


BACKWARDS = """\
-- Of the four texts the one that is rewritten least.
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate from selection.candidate_scores where status = 'ok'
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    scores.candidate -- original
from scores
where scores.candidate = 'original'
"""
NOBODY_REFUSES = """\
-- No teacher refuses.
-- asset: reflection/instruction_reflections
select pair_id from reflection.instruction_reflections where status = 'refused'
"""
TELL = """
from pathlib import Path
from dagster_project.checks import claims, evaluate
from dagster_project.lakehouse.lake import Lake
from tests.sql.story import Story, Text

lake = Lake(Path("house"))
lake.prepare()
[claim] = [claim for claim in claims() if claim.name == "nobody_refuses"]
with lake.recalling() as recall:
    print(evaluate(claim, recall).passed)
story = Story(lake)
story.pair("a", Text(ifd=0.5), Text(ifd=0.9, r_ifd=0.9), both=Text(r_ifd=0.1))
story.pair("b", Text(ifd=0.5), "refused", response=Text(r_ifd=0.1))
story.recipe("first", "backwards")
story.tell()
print(lake.read("select pair_id, candidate from selection.recycled_pairs order by 1").rows())
print(lake.read("select round(answer_bits, 2) from selection.candidate_scores where pair_id = 'b' order by 1").rows())
with lake.recalling() as recall:
    result = evaluate(claim, recall)
print(result.passed, result.metadata["violations"].value)
"""


def test_a_policy_with_a_wrong_column_stops_check_and_run_by_its_name(copy: Copy) -> None:
    copy.add("sql/policies/wrong.sql", BACKWARDS.replace("select teacher, student", "select techer, student"))
    copy.profile()
    complaint = 'sql/policies/wrong.sql:4: Referenced column "techer" not found in FROM clause! Candidate bindings: "'
    said = [line for line in copy.run(CHECK) if line.startswith(complaint)]
    assert len(said) == 3, said


def test_a_check_with_a_wrong_header_stops_check_and_run_by_its_name(copy: Copy) -> None:
    text = NOBODY_REFUSES.replace("reflections\nselect", "reflections\n-- severity: blockk\nselect")
    copy.add("sql/checks/nobody_refuses.sql", text)
    copy.profile()
    complaint = "sql/checks/nobody_refuses.sql:3: `severity: blockk`: 'blockk' is not a value of this key; there are"
    said = [line for line in copy.run(CHECK) if line.startswith(complaint)]
    assert len(said) == 3, said


CHECK = """
from pathlib import Path
from dagster_project.commands.check import check_before_run, findings
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import load_profile
from models_py.errors import UserError

for found in findings("mine.yaml"):
    if found.told.startswith("sql"):
        print(found.told)
for prepare in (lambda: check_before_run(load_profile("mine.yaml")), Lake(Path("house")).prepare):
    try:
        prepare()
    except UserError as error:
        print(error)
"""
