"""Benchmarks through the real lm-eval in its own process: which tasks a name means, what is refused, what comes out."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_py.errors import UserError
from models_py.evaluation import lm_eval_process
from models_py.evaluation.benchmark_settings import Benchmarks
from models_py.evaluation.benchmarks import PlannedTask, planned, results
from models_py.progress import Progress
from models_py.student.spec import DEFAULT_REVERSE_PROMPT, ResolvedStudent
from tests.conftest import PROJECT

pytest.importorskip("lm_eval")
# The libraries of lm-eval warn of their own future.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BUNDLED = PROJECT / "seeds" / "evaluation"
TOY = PROJECT / "tests" / "fixtures" / "version_0_1" / "student"
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: items.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 2.5}}
"""


NOBODY = ResolvedStudent("nobody", "/no model", None, "f" * 64, 256, "", "")


def student() -> ResolvedStudent:
    template = (TOY / "chat_template.jinja").read_text()
    return ResolvedStudent("toy", str(TOY), None, "f" * 64, 256, template, DEFAULT_REVERSE_PROMPT.read_text())


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a task of six items."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    items = [{"question": f"Is it {n}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(6)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "mine.yaml").write_text(TASK.format(name="mine"))
    return folder


def plan(folder: Path, *tasks: str, **more: Any) -> list[PlannedTask]:
    return planned(Benchmarks(tasks, include=folder, **more), folder.parent / "lm.log")


def here(folder: Path, *tasks: str, **more: Any) -> list[str]:
    """The ids of tasks, planned and with a model that is not there as good as run in this process, which is quicker."""
    settings = Benchmarks(tasks, include=folder, **more)
    found = lm_eval_process.plan(settings)
    try:
        lm_eval_process.run(settings, NOBODY, found, io.StringIO())
    except UserError as error:
        if not str(error).startswith("students.nobody"):
            raise
    return [task["benchmark_id"] for task in found]


# --- the bundled tasks


def test_the_bundled_tasks_run_on_a_toy(tmp_path: Path) -> None:
    settings = Benchmarks(("everyday_choice", "short_answers"), include=BUNDLED, apply_chat_template=True)
    log, said = tmp_path / "lm.log", list[Progress]()
    tasks = planned(settings, log)
    choice, short = results(settings, student(), tasks, log, said.append)
    assert (choice.task, choice.n, choice.num_fewshot, choice.version) == ("everyday_choice", 66, 0, "1.0")
    assert (short.task, short.n, short.num_fewshot, short.version) == ("short_answers", 48, 5, "1.0")
    assert [metric.metric for metric in choice.metrics] == ["acc", "acc_norm"]
    [exact] = short.metrics
    assert (exact.metric, exact.filter, exact.higher_is_better) == ("exact_match", "stripped", True)
    for result in (choice, short):
        for metric in result.metrics:
            of_items = [item["value"] for item in result.items if item["metric"] == metric.metric]
            assert len(of_items) == result.n and metric.value == pytest.approx(sum(of_items) / result.n)
    assert choice.metrics[0].stderr == pytest.approx(
        (choice.metrics[0].value * (1 - choice.metrics[0].value) / 65) ** 0.5
    )
    assert [progress.done for progress in said] == [0, 1, 1, 2]
    limited = Benchmarks(("everyday_choice",), include=BUNDLED, limit=3)
    [few] = results(limited, student(), planned(limited, log), log)
    assert (few.n, len(few.items)) == (3, 6)


# --- which tasks a name means


def test_groups_and_tags_come_apart_as_lm_eval_takes_them(own: Path) -> None:
    from lm_eval.tasks import TaskManager

    for name in ("one", "two", "three"):
        text = TASK.format(name=name).replace("items.jsonl", str(own / "items.jsonl"))
        (own / f"{name}.yaml").write_text(text + ("tag: pair\n" if name != "one" else "num_fewshot: 0\n"))
    (own / "inner.yaml").write_text(
        "group: inner\ntask: [pair]\nnum_fewshot: 1\nfewshot_split: test\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: false}]\n"
    )
    (own / "outer.yaml").write_text("group: outer\ntask: [{group: inner, num_fewshot: 2}, one]\n")
    (own / "board.yaml").write_text("group: board\ntask: [{task: inner, num_fewshot: 2}, one]\n")
    tasks = plan(own, "outer")
    loaded = TaskManager(include_path=own, include_defaults=False).load(["outer"])["tasks"]
    shots = {name: task.config.num_fewshot for name, task in loaded.items()}
    assert {task.task: task.spec.get("num_fewshot", 0) for task in tasks} == shots == {"one": 0, "two": 2, "three": 2}
    assert {task.task: task.groups for task in tasks} == {
        "one": [],
        "two": [["inner", "acc", None, False]],
        "three": [["inner", "acc", None, False]],
    }
    assert {task.benchmark for task in tasks} == {"outer"}
    found = list(results(Benchmarks(("outer",), include=own), student(), tasks, own.parent / "lm.log"))
    assert {result.task: result.num_fewshot for result in found} == shots
    # Named so, lm-eval 0.4.13 gives both tasks of the tag one name and loses one.
    assert [*TaskManager(include_path=own, include_defaults=False).load(["board"])["tasks"]] == ["inner", "one"]
    assert here(own, "board") == [task.benchmark_id for task in tasks]


def test_the_boards_are_known_by_name_with_their_shots(tmp_path: Path) -> None:
    tasks = {task.task: task for task in planned(Benchmarks(("openllm", "leaderboard")), tmp_path / "lm.log")}
    assert {
        name: tasks[name].spec.get("num_fewshot")
        for name in ("arc_challenge", "hellaswag", "truthfulqa_mc2", "mmlu_anatomy", "winogrande", "gsm8k")
    } == {
        "arc_challenge": 25,
        "hellaswag": 10,
        "truthfulqa_mc2": 0,
        "mmlu_anatomy": 5,
        "winogrande": 5,
        "gsm8k": 5,
    }
    assert sum(name.startswith("mmlu_") for name in tasks) == 57
    assert ["mmlu", "acc", None, True] in tasks["mmlu_anatomy"].groups
    assert {"leaderboard_ifeval", "leaderboard_mmlu_pro", "leaderboard_bbh_snarks"} <= tasks.keys()
    assert {task.benchmark for task in tasks.values()} == {"openllm", "leaderboard"}


def test_a_task_keeps_its_id_until_something_that_decides_changes(own: Path, tmp_path: Path) -> None:
    first = here(own, "mine")
    moved = shutil.copytree(own, tmp_path / "elsewhere")
    assert here(moved, "mine") == first == here(own, "mine", batch_size=1)
    others = [here(own, "mine", **one) for one in ({"limit": 1}, {"num_fewshot": 1}, {"apply_chat_template": True})]
    (own / "items.jsonl").write_text('{"question": "?", "choices": ["a", "b"], "answer": 0}\n')
    others.append(here(own, "mine"))
    (own / "utils.py").write_text("one = 1\n")
    others.append(here(own, "mine"))
    (own / "mine.yaml").write_text(TASK.format(name="mine").replace("question}}", "question}}?"))
    others.append(here(own, "mine"))
    assert len({one for [one] in [first, *others]}) == 7


# --- what is refused, before a model is loaded


def test_an_unknown_task_is_refused_with_the_nearest(own: Path) -> None:
    with pytest.raises(UserError, match=r"tasks: 'hellaswga' is no task, group or tag .*did you mean hellaswag\?"):
        here(own, "mine", "hellaswga")


def break_it(folder: Path, how: str) -> None:
    file = folder / "mine.yaml"
    match how:
        case "yaml":
            file.write_text("task: [")
        case "data":
            (folder / "items.jsonl").unlink()
        case "none":
            file.unlink()
        case "folder":
            shutil.rmtree(folder)
        case "json":
            (folder / "items.jsonl").write_text("{broken\n")
        case "empty":
            (folder / "items.jsonl").write_text("")
        case "unsafe":
            file.write_text(file.read_text() + "unsafe_code: true\n")
        case "hub":
            file.write_text("task: mine\ndataset_path: nobody/nothing\ntest_split: test\noutput_type: generate_until\n")


SAID = {
    "yaml": r"mine\.yaml is no task file",
    "data": r"mine\.yaml: dataset_kwargs\.data_files: there is no items\.jsonl in ",
    "none": r"holds no task file",
    "json": r"tasks: mine cannot be made ready .* mend the task's file or its data",
    "empty": r"tasks: mine (cannot be made ready|has no items)",
    "unsafe": r"tasks: mine runs code that the model wrote",
    "folder": r"include: .*tasks is no folder",
    "hub": r"mine cannot be made ready .*its data, nobody/nothing, lie on the hub: run it once with a network",
}


@pytest.mark.parametrize("how", ["yaml", "data", "none", "json", "empty", "unsafe"])
def test_what_cannot_be_run_is_said_before_a_model_is_loaded(own: Path, how: str) -> None:
    break_it(own, how)
    with pytest.raises(UserError, match=SAID[how]):
        here(own, "mine")


@pytest.mark.parametrize("how", ["folder", "hub"])
def test_so_is_what_the_process_says(own: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    break_it(own, how)
    with pytest.raises(UserError, match=SAID[how]):
        list(results(Benchmarks(("mine",), include=own), NOBODY, plan(own, "mine"), own.parent / "lm.log"))


def test_two_ways_to_do_one_task_are_refused(own: Path) -> None:
    (own / "board.yaml").write_text("group: board\ntask: [{task: mine, num_fewshot: 3}]\n")
    with pytest.raises(UserError, match=r"mine and board both have mine, each in its own way"):
        here(own, "mine", "board")


def test_without_lm_eval_the_remedy_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="make setup WITH=evaluation"):
        plan(own, "mine")


def test_a_process_that_dies_is_told_with_its_last_words(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = own.parent / "python"
    broken.write_text("#!/bin/sh\necho 'the last words' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(UserError, match=r"(?s)ended with status 3; .*lm\.log says why:\nthe last words"):
        plan(own, "mine")


@pytest.mark.kill
def test_the_process_ends_with_whoever_started_it(own: Path) -> None:
    code = (
        "import sys, pathlib; from models_py.evaluation.benchmarks import planned; "
        "from models_py.evaluation.benchmark_settings import Benchmarks; "
        f"planned(Benchmarks(('openllm',)), pathlib.Path({str(own / 'log')!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    children: list[psutil.Process] = []
    while not children:
        time.sleep(0.1)
        children = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(children, timeout=20)[1] == []
