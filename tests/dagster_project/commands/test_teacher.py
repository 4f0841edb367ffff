"""`make estimate`, `prompt`, `export-replies` and `import-replies`: what people see, and that nobody is asked."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dagster_project.commands import teacher as teacher_command
from dagster_project.profile.load import PROFILE_VARIABLE, load_profile
from dagster_project.profile.schema import Profile
from models_py.sources.read import read_sources
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import Budget, Price
from models_py.teacher.open_teacher import open_teacher
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, PendingPair
from tests.conftest import PROJECT
from tests.support.engines import BETTER, REWRITE, UNUSABLE, Scripted, pair_of, said
from tests.support.profiles import SMALLEST, bundled_text, toy_profile, write_profile
from tests.support.values import known

Say = Callable[..., tuple[int, str, str]]
CAT = ("Describe a cat.", "", "Soft \x1b[31m cat.")
PAIRS = [CAT, ("Describe a dog.", "", "Loyal."), ("Describe an owl.", "A barn owl.", "Wise.")]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the console: exit status, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str, str]:
        status = teacher_command.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def paid(folder: Path, **changes: object) -> Path:
    """A profile with two teachers that would cost money, and a server that is not there."""
    rows = [json.dumps(dict(zip(("instruction", "input", "output"), pair, strict=True))) for pair in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(rows) + "\n", encoding="ascii")
    server = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": None}
    profile = {
        "warehouse": "warehouse",
        "teachers": {
            "gpt": {"engine": "openai", "model": "gpt-4.1-mini", "budget": {"max_usd": 0.001}, **server},
            "own": {"engine": "openai", "model": "own", **server},
        },
        "prices": {"gpt-4.1-mini": {"input": 0.4, "output": 1.6}},
        "recipes": {name: {"policy": "paper", "teacher": name, "student": "toy"} for name in ("gpt", "own")},
    }
    return write_profile(folder, {**SMALLEST, **profile, **changes})


@pytest.fixture
def answered(tmp_path: Path) -> Profile:
    """The toy profile after its first phase of reflection."""
    profile = load_profile(toy_profile(tmp_path))
    pairs = [PendingPair.of(row) for row in read_sources(profile.sources).pairs.to_dicts()]
    with Ledger(profile.ledger_path) as ledger:
        list(reflect_pairs(INSTRUCTION_REFLECTION, pairs, open_teacher(profile.teacher_specs()[0]), ledger))
    return profile


def row(out: str, name: str) -> list[str]:
    """The cells of the table's row of that name."""
    line = next(line for line in out.splitlines() if line.strip().startswith(name))
    return re.split(r"\s{2,}", line.strip())[1:]


# --- make estimate


def test_an_estimate_of_a_recording_counts_and_creates_nothing(say: Say, tmp_path: Path) -> None:
    status, out, _ = say("estimate", "--profile", toy_profile(tmp_path))
    assert (status, row(out, "answered"), row(out, "missing")) == (0, ["0 of 60", "0 of 60"], ["60", "60", "120"])
    assert "cost nothing" in out and "tokens" not in out
    assert not (tmp_path / "warehouse").exists()


def test_after_a_phase_the_next_is_missing(say: Say, answered: Profile) -> None:
    _, out, _ = say("estimate", "--profile", answered.file)
    assert (row(out, "answered"), row(out, "missing")) == (["60 of 60", "0 of 60"], ["0", "60", "60"])


def test_what_costs_money_is_estimated_with_its_range_and_grounds(say: Say, tmp_path: Path) -> None:
    status, out, err = say("estimate", "--profile", paid(tmp_path))
    gpt, own = out.split("\nown ")
    assert (status, err) == (0, "")
    assert row(gpt, "missing") == row(own, "missing") == ["3", "3", "6"]
    cell = r"\$[\d.]+ \(\$[\d.]+ to \$[\d.]+\)"
    assert all(re.fullmatch(cell, money) for money in row(gpt, "cost")) and len(row(gpt, "cost")) == 3
    assert re.search(r"teachers\.gpt\.budget\.max_usd 0\.001 would stop it after about \d+% of that", gpt)
    assert "instruction_reflection: assumed 4.0 (4.5 to 3.0) characters a token, replies of 200 (100 to 400)" in gpt
    assert row(own, "cost") == ["unknown"] * 3
    assert "add prices.own to the profile" in own and "budget" not in own
    assert row(gpt, "time") == row(own, "time") != ["unknown"] * 3


def test_what_another_warehouse_has_is_not_missing(say: Say, tmp_path: Path) -> None:
    """Of the donor both phases of the cat are known, the first of the dog, and replies to what is not asked here."""
    profile = load_profile(paid(tmp_path))
    gpt, own = (open_teacher(spec) for spec in profile.teacher_specs())
    cat, dog = (pair_of(*pair) for pair in PAIRS[:2])
    with Ledger(profile.ledger_path) as ledger:
        for teacher, phase, pairs in (
            (gpt, INSTRUCTION_REFLECTION, [cat, dog]),
            (gpt, RESPONSE_REFLECTION, [cat]),
            (own, INSTRUCTION_REFLECTION, [pair_of("Describe a cow.", "", "Large.")]),
        ):
            reply = REWRITE if phase == INSTRUCTION_REFLECTION else BETTER
            engine = Scripted(partial(said, text=reply), teacher.engine.identity)
            list(reflect_pairs(phase, pairs, replace(teacher, engine=engine), ledger))
    before = {path: path.stat().st_mtime_ns for path in profile.warehouse.rglob("*")}
    (tmp_path / "other").mkdir()
    reusing = paid(tmp_path / "other", reuse=[str(profile.warehouse)])
    status, out, _ = say("estimate", "--profile", reusing)
    of_gpt, of_own = out.split("\nown ")
    assert (status, row(of_gpt, "answered"), row(of_gpt, "missing")) == (0, ["2 of 3", "1 of 3"], ["1", "2", "3"])
    assert (row(of_own, "answered"), "Paid so far: 3 replies" in of_gpt) == (["0 of 3", "0 of 3"], True)
    assert f"replies of {profile.warehouse} count as answered" in out
    assert before == {path: path.stat().st_mtime_ns for path in profile.warehouse.rglob("*")}
    assert not (tmp_path / "other" / "warehouse").exists()


def test_too_many_bad_rows_stop_an_estimate_as_they_stop_a_run(say: Say, tmp_path: Path) -> None:
    file = paid(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("{\n", encoding="utf-8")
    status, out, err = say("estimate", "--profile", file)
    assert (status, out, "1 of 1 rows cannot be used" in err) == (1, "", True)


def test_a_key_that_is_not_set_does_not_matter(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    teachers = {name: {"engine": "openai", "model": name} for name in ("gpt", "own")}
    assert say("estimate", "--profile", paid(tmp_path, teachers=teachers))[0] == 0


# --- make prompt


def pair_ids(file: Path) -> list[str]:
    return read_sources(load_profile(file).sources).pairs["pair_id"].to_list()


def test_a_prompt_is_shown_for_every_teacher_and_phase(say: Say, tmp_path: Path) -> None:
    file = paid(tmp_path)
    owl = pair_ids(file)[2]
    status, out, _ = say("prompt", owl[:12], "--profile", file)
    assert (status, f"pair {owl}" in out) == (0, True)
    assert re.findall(r"^(\w+)  (\w+_reflection) ─", out, re.MULTILINE) == [
        (teacher, phase) for teacher in ("gpt", "own") for phase in ("instruction_reflection", "response_reflection")
    ]
    assert out.count("<input>\nA barn owl.\n</input>") == out.count("not in the ledger") == 4
    assert out.count("shown for the original pair") == 2
    assert not (tmp_path / "warehouse").exists()


def test_a_prompt_has_the_request_id_that_a_run_uses(say: Say, answered: Profile) -> None:
    with Ledger(answered.ledger_path) as ledger:
        known = next(ledger.all_since())
    _, out, _ = say("prompt", known.content_id, "--profile", answered.file)
    assert f"request {known.reply.request_id}, about " in out
    assert "the ledger has its reply (ok)" in out and "not in the ledger" in out


def test_a_prompt_says_which_try_counts(say: Say, tmp_path: Path) -> None:
    profile = load_profile(paid(tmp_path))
    teacher = open_teacher(profile.teacher_specs()[1])
    engine = Scripted(lambda one: said(one, REWRITE if one.parse_attempt else UNUSABLE), teacher.engine.identity)
    with Ledger(profile.ledger_path) as ledger:
        list(reflect_pairs(INSTRUCTION_REFLECTION, [pair_of(*CAT)], replace(teacher, engine=engine), ledger))
    _, out, _ = say("prompt", pair_of(*CAT).pair_id, "--teacher", "own", "--profile", profile.file)
    assert "the ledger has its reply (missing_tag); of 2 tries the last counts (ok)" in out


def test_control_characters_of_a_pair_are_shown_not_obeyed(say: Say, tmp_path: Path) -> None:
    file = paid(tmp_path)
    _, out, _ = say("prompt", pair_ids(file)[0], "--teacher", "own", "--profile", file)
    assert "Soft ␛[31m cat." in out and "\x1b[31m" not in out
    assert "gpt  " not in out


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ("", "PAIR is missing"),
        ("xyz", "PAIR=xyz: no pair of the sources begins so"),
        ("e", "pairs begin so; give more"),
    ],
)
def test_a_pair_that_is_not_one_is_refused_with_some_that_are(
    say: Say, tmp_path: Path, pair: str, complaint: str
) -> None:
    status, out, err = say("prompt", pair, "--profile", toy_profile(tmp_path))
    assert (status, out, complaint in err) == (1, "", True)
    assert 2 <= len(re.findall(r"^  [0-9a-f]{16}  \w", err, re.MULTILINE)) <= 5


# --- make export-replies, make import-replies


def test_replies_travel_from_one_warehouse_to_another(say: Say, answered: Profile, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, file = toy_profile(tmp_path / "other"), tmp_path / "out.jsonl"
    assert say("export", file, "--profile", answered.file)[1].endswith(
        "60 replies, all that recorded would be answered now.\n"
    )
    assert "60 new replies; 0 were there already" in say("import", file, "--profile", other)[1]
    assert "0 new replies; 60 were there already" in say("import", file, "--profile", other)[1]
    assert row(say("estimate", "--profile", other)[1], "missing") == ["0", "60", "60"]


def test_an_export_needs_a_ledger_a_file_and_one_teacher(say: Say, tmp_path: Path) -> None:
    file = paid(tmp_path)
    assert "there is no ledger yet; `make run` creates it" in say("export", "out.jsonl", "--profile", file)[2]
    with Ledger(load_profile(file).ledger_path):
        pass
    assert "FILE is missing: make export-replies FILE=" in say("export", "", "--profile", file)[2]
    assert "TEACHER is missing: name one of gpt, own" in say("export", "out.jsonl", "--profile", file)[2]
    assert "TEACHER=gtp: no such teacher" in say("export", "out.jsonl", "--teacher", "gtp", "--profile", file)[2]
    assert say("export", tmp_path / "all.jsonl", "--all", "--profile", file)[0] == 0
    assert (tmp_path / "all.jsonl").read_bytes() == b""


def test_a_wrong_file_is_one_message(say: Say, tmp_path: Path) -> None:
    file = toy_profile(tmp_path)
    assert say("import", "", "--profile", file) == (
        1,
        "",
        "Error FILE is missing: make import-replies FILE=replies.jsonl\n",
    )
    status, _, err = say("import", PROJECT / "seeds" / "teacher_replies.jsonl", "--profile", file)
    assert (status, "teacher_replies.jsonl:1: request_id is missing" in err) == (1, True)


# --- the targets


def would_run(target: str, *variables: str) -> str:
    """The command line of a target, as the shell would get it."""
    make = ["make", "--dry-run", "--no-print-directory", target, *variables]
    done = subprocess.run(make, cwd=PROJECT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("target", "variables", "command"),
    [
        ("estimate", (), "estimate"),
        ("prompt", ("PAIR=3fa9",), 'prompt "$PAIR"'),
        ("prompt", ("PAIR=3fa9", "TEACHER=gpt"), 'prompt "$PAIR" --teacher "$TEACHER"'),
        ("export-replies", ("FILE=a b.jsonl",), 'export "$FILE"'),
        ("export-replies", ("FILE=a", "TEACHER=gpt"), 'export "$FILE" --teacher "$TEACHER"'),
        ("export-replies", ("FILE=a", "ALL=1"), 'export "$FILE" --all'),
        ("import-replies", ("FILE=a",), 'import "$FILE"'),
    ],
)
def test_a_target_runs_the_console(target: str, variables: tuple[str, ...], command: str) -> None:
    assert would_run(target, *variables) == f".venv/bin/python -m dagster_project.commands.teacher {command}"


@pytest.mark.slow
def test_make_passes_a_name_with_spaces_and_quotes(tmp_path: Path) -> None:
    file = tmp_path / 'it\'s "mine" $HOME.jsonl'
    file.write_text("{\n", encoding="utf-8")
    make = [
        "make",
        "SETUP=true",
        "import-replies",
        f"FILE={str(file).replace('$', '$$')}",
        f"PROFILE={toy_profile(tmp_path)}",
    ]
    done = subprocess.run(make, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{file}:1: not a JSON object" in done.stderr


def test_make_help_names_every_target_on_a_line() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    told = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in told.splitlines()} == targets
    assert targets >= {"estimate", "prompt", "export-replies", "import-replies"}
    assert targets == set(known(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))[1].split())


def test_the_profile_may_come_from_the_environment(
    say: Say, answered: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, str(answered.file))
    assert row(say("estimate")[1], "missing") == ["0", "60", "60"]


@pytest.mark.parametrize("command", ["estimate", "prompt", "export", "import"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        teacher_command.main([command, "--help"])
    assert "--profile" in capsys.readouterr().out


# --- the profile that explains the keys


def test_the_teachers_that_the_quickstart_shows_as_comments_are_accepted(tmp_path: Path) -> None:
    text = bundled_text("quickstart")
    before, teachers, after = re.split(r"(?=^teachers:)|(?=^# selected:)", text, flags=re.MULTILINE)
    shown = re.sub(r"^( *)# ( *[a-z][\w.-]*:)", r"\1\2", teachers, flags=re.MULTILINE)
    profile = load_profile(write_profile(tmp_path, before + shown + after))
    specs = {spec.name: spec for spec in profile.teacher_specs()}
    engines = {name: spec.settings.engine for name, spec in specs.items()}
    assert engines == {"recorded": "recorded", "gpt": "openai", "patient": "openai_batch", "local": "vllm"}
    assert specs["recorded"].settings.prompts.variant == "criteria_first"
    assert specs["gpt"].price == Price(0.4, 1.6, 0.1) and specs["local"].price is None
    assert specs["gpt"].settings.budget == specs["patient"].settings.budget == Budget(max_usd=5)
