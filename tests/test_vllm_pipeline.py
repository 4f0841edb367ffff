"""A whole run with a teacher that vLLM serves inside the steps: nothing recorded, nothing over HTTP.

The tiny teacher's text is constrained to a usable form; one pair is too long for it.
"""

import json
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from threading import Event

import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.root import PROJECT_ROOT
from models_py.teacher.engines.openai.chat import OpenAIEngine
from models_py.teacher.request import Sampling
from models_py.teacher.spec import OpenAISettings
from tests.models_py.teacher.engines.vllm.tiny_chat_model import REPLY_PATTERN, tiny_chat_model
from tests.support.engines import request
from tests.support.processes import run
from tests.support.profiles import SEEDS, small_toy
from tests.support.ui import free_port

# What vLLM and what it imports warn of is for them to mend.
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PAIRS = [(f"Name a colour of the {thing}.", "Blue.") for thing in ("sky", "sea", "night", "rain", "ice")]
TOO_LONG = ("Name the sea.", "sea " * 3000)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("run")
    rows = (json.dumps({"instruction": instruction, "output": output}) for instruction, output in [*PAIRS, TOO_LONG])
    (folder / "pairs.jsonl").write_text("\n".join(rows))
    teacher = {
        "engine": "vllm",
        "model": str(tiny_chat_model(folder / "teacher")),
        "engine_args": {"kv_cache_memory_bytes": 128 << 20, "max_num_seqs": 4},
        "sampling": {"max_tokens": 600, "extra_body": {"structured_outputs": {"regex": REPLY_PATTERN}}},
    }
    recipes = {name: {"policy": name, "teacher": "local", "student": "toy"} for name in ("paper", "original")}
    sources = [{"name": "mine", "path": str(folder / "pairs.jsonl")}]
    # Heads of 32 are the smallest that vLLM computes on a CPU: its checkpoint is served below.
    toy = {"vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6, "max_length": 1024}
    students = {
        "toy": {"scratch": {**toy, "texts": [str(SEEDS / "pairs.jsonl")]}},
        "wide": {"scratch": {**toy, "heads": 1}},
    }
    recipes["served"] = {"policy": "original", "teacher": "local", "student": "wide"}
    changes = {"teachers": {"local": teacher}, "students": students, "recipes": recipes, "sources": sources}
    result = run(small_toy(folder, **changes))
    assert result.returncode == 0, result.stdout + result.stderr
    log = folder / "warehouse" / "vllm-local.log"
    assert f"vLLM loads {teacher['model']}; its log is {log}" in result.stdout
    assert "Loading safetensors checkpoint shards" in log.read_text()
    assert "pid=" not in result.stdout + result.stderr  # as every line of vLLM's has
    return Lake(folder / "warehouse")


def test_every_pair_has_a_status_in_both_phases(lake: Lake) -> None:
    for table in ("instruction_reflections", "response_reflections"):
        statuses = lake.read(f"select status, count(distinct pair_id) as n from selection.current_{table} group by 1")
        assert dict(statuses.rows()) == {"ok": len(PAIRS), "failed": 1}, table


def test_the_run_ends_in_a_model_of_the_pairs_that_were_rewritten(lake: Lake) -> None:
    rows = lake.read("select recipe, count(*) as n from training.training_pairs group by 1")
    chosen = dict(
        lake.read("select reason, count(*) from selection.response_choices where student = 'toy' group by 1").rows()
    )
    kept, vetoed = chosen["rewrite_wins"], chosen.get("rewrite_vetoed", 0)  # what a toy thinks of a toy is chance
    assert kept + vetoed == len(PAIRS)
    assert dict(rows.rows()) == {"original": len(PAIRS) + 1, "served": len(PAIRS) + 1, "paper": kept}
    assert lake.scalar("select count(*) from training.student_checkpoints") == 3


def test_the_ledger_has_one_row_a_request_with_its_tokens(lake: Lake) -> None:
    asked = lake.read(
        "select request_id, status from reflection.instruction_reflections "
        "union select request_id, status from reflection.response_reflections"
    )
    with closing(sqlite3.connect(lake.warehouse / "teacher.sqlite")) as ledger:
        rows = ledger.execute(
            "select request_id, error, prompt_tokens, completion_tokens, latency_s, attempts from teacher_replies"
        ).fetchall()
    assert {row[0]: "failed" if row[1] else "ok" for row in rows} == dict(asked.rows())
    for _, error, prompt_tokens, completion_tokens, latency_s, attempts in rows:
        assert attempts == 1
        if error:
            assert "maximum context length is 2048 tokens" in error
            assert (prompt_tokens, completion_tokens) == (None, None)
        else:
            assert prompt_tokens > 100 and completion_tokens > 10 and latency_s > 0


def test_a_checkpoint_is_served_and_the_printed_line_asks_it(lake: Lake) -> None:
    port = free_port()
    command = [sys.executable, "-m", "dagster_project.commands.serve", "served", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--profile", str(lake.warehouse.parent / "mine.yaml")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
    ) as serving:
        try:
            assert serving.stdout is not None
            line = next((one for one in serving.stdout if one.startswith("curl ")), "")
            assert line, (lake.warehouse / "vllm-serve-served.log").read_text()[-3000:]
            _, address, _, header, _, body = shlex.split(line)
            assert address == f"http://127.0.0.1:{port}/v1/chat/completions"
            name, value = header.split(": ")
            asked = urllib.request.Request(address, body.encode(), {name: value})
            with urllib.request.urlopen(asked, timeout=120) as answer:
                choice = json.load(answer)["choices"][0]
            assert choice["finish_reason"] in ("stop", "length")
            engine = OpenAIEngine(
                "served", OpenAISettings(model="served", base_url=f"http://127.0.0.1:{port}/v1", api_key_env=None)
            )
            (reply,) = engine.ask([request("What is the sea?", sampling=Sampling(max_tokens=8))], Event())
            assert (reply.error, reply.completion_tokens is not None) == (None, True)
        finally:
            serving.send_signal(signal.SIGINT)
            assert serving.wait(timeout=60) == 0
    with socket.socket() as after:
        assert after.connect_ex(("127.0.0.1", port)) != 0
