"""vLLM itself: loaded once in this process, and once as the server that `openai` asks; each takes half a minute."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from types import GeneratorType
from typing import Any

import psutil
import pytest
from transformers import AutoTokenizer

from models_py.errors import UserError
from models_py.teacher.engines.openai.chat import OpenAIEngine
from models_py.teacher.engines.vllm.offline import VllmEngine
from models_py.teacher.parser import parse_reply
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest
from models_py.teacher.spec import OpenAISettings, VllmSettings
from tests.models_py.teacher.engines.vllm.tiny_chat_model import REPLY_PATTERN, tiny_chat_model
from tests.support.engines import request
from tests.support.ui import free_port
from tests.support.values import as_a, known

# What vLLM and what it imports warn of is for them to mend.
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MAX_LENGTH = 1024  # the model itself has 2048 positions
ENGINE_ARGS = {"kv_cache_memory_bytes": 128 << 20, "max_num_seqs": 4}
SHORT = Sampling(max_tokens=12)
QUESTIONS = [request(f"Name {number} seas.", sampling=SHORT) for number in range(10)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("vllm") / "tiny")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not the model's own, so that it shows which one was used."""
    path = tmp_path_factory.mktemp("template") / "chat.jinja"
    path.write_text(
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|end|>' }}{% endfor %}"
        "{{ '<|assistant|>' if add_generation_prompt else '' }}{{ 'Well, ' if chatty is defined else '' }}"
    )
    return path


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture(scope="module")
def teacher(model: Path, template: Path, environment: dict[str, str], warehouse: Path) -> Iterator[VllmEngine]:
    settings = VllmSettings(model=str(model), chat_template=template, max_length=MAX_LENGTH, engine_args=ENGINE_ARGS)
    with closing(VllmEngine("tiny", settings, warehouse)) as opened:
        yield opened


def ask(teacher: VllmEngine | OpenAIEngine, requests: list[TeacherRequest]) -> list[TeacherReply]:
    """The replies in the order of the requests."""
    replies = {reply.request_id: reply for reply in teacher.ask(requests, Event())}
    assert len(replies) == len(requests)
    return [replies[one.request_id] for one in requests]


@pytest.fixture(scope="module")
def answered(teacher: VllmEngine) -> list[TeacherReply]:
    return ask(teacher, QUESTIONS)


def test_its_log_is_a_file_and_nothing_reaches_the_terminal(
    capfd: pytest.CaptureFixture[str], teacher: VllmEngine, warehouse: Path
) -> None:
    """The first test: here it loads."""
    ask(teacher, QUESTIONS[:1])
    assert "pid=" not in "".join(capfd.readouterr())  # every line of vLLM's names its process
    assert "EngineCore pid=" in (warehouse / "vllm-tiny.log").read_text()


def test_on_a_cpu_the_model_has_all_cores(teacher: VllmEngine) -> None:
    """In one process with the scheduler, for which vLLM would reserve a core otherwise."""
    ask(teacher, QUESTIONS[:1])
    assert [process.name() for process in engine_processes()] == ["VLLM::EngineCore"]
    assert len(engine_processes()[0].cpu_affinity() or []) == len(os.sched_getaffinity(0))


def test_a_reply_that_repeats_itself_is_ended_early(teacher: VllmEngine) -> None:
    sampling = Sampling(max_tokens=900, extra_body={"structured_outputs": {"regex": "(sea and sky for all, ){200}"}})
    one = request("Say it again.", sampling=sampling)
    repeated, other = ask(teacher, [one, QUESTIONS[0]])
    assert repeated.finish_reason == "repetition" and other.finish_reason == "length"
    assert 100 < known(repeated.completion_tokens) < 900
    assert parse_reply(one.phase, repeated.reply, repeated.finish_reason).status == "repetitive"
    assert teacher._llm.llm_engine.get_num_unfinished_requests() == 0


@pytest.fixture(scope="module")
def prompt_tokens(model: Path, template: Path) -> Callable[..., int]:
    """How many tokens a request has when transformers renders it."""
    tokenizer = AutoTokenizer.from_pretrained(model)

    def count(one: TeacherRequest, **arguments: Any) -> int:
        messages = [{"role": message.role, "content": message.content} for message in one.messages]
        text = tokenizer.apply_chat_template(
            messages, chat_template=template.read_text(), add_generation_prompt=True, tokenize=False, **arguments
        )
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return count


def test_every_request_is_answered_with_what_it_took(
    answered: list[TeacherReply], prompt_tokens: Callable[..., int]
) -> None:
    for one, reply in zip(QUESTIONS, answered, strict=True):
        assert reply.error is None and reply.reply
        assert reply.prompt_tokens == prompt_tokens(one)
        assert (reply.completion_tokens, reply.finish_reason, reply.attempts) == (12, "length", 1)
        assert known(reply.latency_s) > 0
        assert json.loads(known(reply.usage))["completion_tokens"] == 12
    assert len({reply.reply for reply in answered}) > 1


def test_at_temperature_0_the_same_is_answered_again_from_the_prefix_cache(
    teacher: VllmEngine, answered: list[TeacherReply]
) -> None:
    again = ask(teacher, QUESTIONS[:3])
    assert [reply.reply for reply in again] == [reply.reply for reply in answered[:3]]
    assert all(json.loads(known(reply.usage))["prompt_tokens_details"]["cached_tokens"] > 0 for reply in again)


def test_a_prompt_too_long_is_a_reply_that_says_so_and_the_others_go_on(teacher: VllmEngine) -> None:
    long = request("sea " * MAX_LENGTH, sampling=SHORT)
    first, failed, last = ask(teacher, [QUESTIONS[0], long, QUESTIONS[1]])
    assert first.reply and last.reply
    assert failed.reply is None
    assert "maximum context length is 1024 tokens" in known(failed.error)


def test_a_limit_that_does_not_fit_is_cut_to_what_fits(teacher: VllmEngine) -> None:
    sampling = Sampling(max_tokens=10 * MAX_LENGTH, extra_body={"ignore_eos": True})
    (reply,) = ask(teacher, [request("sea " * 200, sampling=sampling)])
    assert known(reply.prompt_tokens) > MAX_LENGTH // 2
    assert known(reply.prompt_tokens) + known(reply.completion_tokens) == MAX_LENGTH
    assert reply.finish_reason == "length"


def test_replies_come_as_they_finish(teacher: VllmEngine) -> None:
    endless = Sampling(max_tokens=400, extra_body={"ignore_eos": True})
    requests = [request("First, slow.", sampling=endless), request("Second, fast.", sampling=SHORT)]
    order = [reply.request_id for reply in teacher.ask(requests, Event())]
    assert order == [requests[1].request_id, requests[0].request_id]


def test_a_seed_decides_what_is_drawn(teacher: VllmEngine) -> None:
    warm = [Sampling(temperature=1.0, top_p=0.9, max_tokens=12, seed=seed) for seed in (1, 2)]
    first, other = ask(teacher, [request(sampling=sampling) for sampling in warm])
    (again,) = ask(teacher, [request(sampling=warm[0])])
    assert first.reply == again.reply != other.reply


def test_extra_body_takes_what_vllms_server_takes(teacher: VllmEngine) -> None:
    sampling = Sampling(max_tokens=400, extra_body={"structured_outputs": {"regex": REPLY_PATTERN}})
    one = request(sampling=sampling)
    (reply,) = ask(teacher, [one])
    assert reply.finish_reason == "stop"
    assert parse_reply(one.phase, reply.reply, reply.finish_reason).status == "ok"


def test_arguments_reach_the_chat_template(teacher: VllmEngine, prompt_tokens: Callable[..., int]) -> None:
    sampling = Sampling(max_tokens=1, extra_body={"chat_template_kwargs": {"chatty": True}})
    (reply,) = ask(teacher, [request(sampling=sampling)])
    assert reply.prompt_tokens == prompt_tokens(request(), chatty=True) > prompt_tokens(request())


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"top_kk": 3}, "top_kk"),
        ({"top_k": "many"}, "top_k"),
        ({"n": 2}, r"\.n:"),
        ({"min_p": 7}, "min_p"),
    ],
)
def test_what_vllm_does_not_know_is_told(teacher: VllmEngine, extra: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=rf"^teachers\.tiny\.sampling\.extra_body.*{complaint}"):
        ask(teacher, [request(sampling=Sampling(extra_body=extra))])


def test_stopped_it_leaves_what_has_not_finished_and_can_be_asked_again(teacher: VllmEngine) -> None:
    stop, taken = Event(), list[TeacherRequest]()
    endless = Sampling(max_tokens=400, extra_body={"ignore_eos": True})
    requests = [QUESTIONS[0], *(request(f"Write on, {number}.", sampling=endless) for number in range(20))]
    replies = []

    def watched() -> Iterator[TeacherRequest]:
        for one in requests:
            taken.append(one)
            yield one

    for reply in teacher.ask(watched(), stop):
        replies.append(reply)
        stop.set()
    assert [reply.request_id for reply in replies] == [QUESTIONS[0].request_id]
    assert len(taken) == 2 * ENGINE_ARGS["max_num_seqs"]
    assert teacher._llm.llm_engine.get_num_unfinished_requests() == 0
    assert ask(teacher, QUESTIONS[:1])[0].reply


def test_a_caller_that_leaves_takes_its_requests_along(teacher: VllmEngine) -> None:
    with closing(as_a(GeneratorType, teacher.ask(QUESTIONS, Event()))) as replies:
        next(replies)
    assert teacher._llm.llm_engine.get_num_unfinished_requests() == 0


def test_loading_leaves_the_environment_as_it_was(answered: list[TeacherReply], environment: dict[str, str]) -> None:
    assert dict(os.environ) | {"PYTEST_CURRENT_TEST": ""} == environment | {"PYTEST_CURRENT_TEST": ""}


def engine_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("VLLM")]


def test_closed_it_leaves_no_process(teacher: VllmEngine, answered: list[TeacherReply]) -> None:
    assert engine_processes() != []
    teacher.close()
    assert engine_processes() == []


@pytest.mark.kill
def test_an_engine_that_is_killed_is_told_and_leaves_no_process(teacher: VllmEngine) -> None:
    """On the shared engine, closed before and now loaded again."""
    endless = Sampling(max_tokens=400, extra_body={"ignore_eos": True})
    replies = teacher.ask([QUESTIONS[0], request("Write on.", sampling=endless)], Event())
    assert next(replies).reply
    processes = engine_processes()
    next(process for process in processes if "Engine" in process.name()).kill()
    with pytest.raises(UserError, match=r"^teachers\.tiny\.model: vLLM broke down .*killed"):
        next(replies)
    assert psutil.wait_procs(processes, timeout=20)[1] == []


def test_a_model_that_does_not_load_is_told_in_one_line(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    teacher = VllmEngine("tiny", VllmSettings(model=str(model), engine_args={"kv_cache_memory_bytes": 1000}), tmp_path)
    log = rf"{tmp_path}/vllm-tiny\.log"
    with pytest.raises(
        UserError,
        match=rf"^teachers\.tiny\.model: vLLM cannot load .*ValueError: No available memory.*\); its log is {log}$",
    ):
        ask(teacher, QUESTIONS[:1])
    assert "pid=" not in "".join(capfd.readouterr())
    assert engine_processes() == []


@pytest.fixture(scope="module")
def address(model: Path, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of vLLM on the loopback interface, with the same model and template."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model), "--served-model-name", "tiny", "--enforce-eager", "--max-num-seqs", "4"]
    command += ["--kv-cache-memory-bytes", str(128 << 20), "--chat-template", str(template)]
    command += ["--max-model-len", str(MAX_LENGTH)]
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with log.open("w") as file:
        server = psutil.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        family = [server, *server.children(recursive=True)]
        server.terminate()
        for left in psutil.wait_procs(family, timeout=20)[1]:
            left.kill()


def _wait_for(address: str, server: psutil.Popen, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(log.read_text()[-3000:])


def test_vllms_server_answers_the_same(answered: list[TeacherReply], address: str) -> None:
    served = OpenAIEngine("served", OpenAISettings(model="tiny", base_url=address, api_key_env=None))
    for here, there in zip(answered, ask(served, QUESTIONS), strict=True):
        assert there.error is None
        assert (there.reply, there.finish_reason) == (here.reply, here.finish_reason)
        assert (there.prompt_tokens, there.completion_tokens) == (here.prompt_tokens, here.completion_tokens)


def test_vllms_server_rejects_a_prompt_too_long_once(address: str) -> None:
    served = OpenAIEngine("served", OpenAISettings(model="tiny", base_url=address, api_key_env=None))
    (reply,) = ask(served, [request("sea " * MAX_LENGTH, sampling=SHORT)])
    assert reply.attempts == 1
    assert "status 400" in known(reply.error)


@pytest.mark.parametrize("engine_args", [{"no_such_argument": 1}, {"quantization": "no_such"}])
def test_an_argument_that_vllm_does_not_take_is_told(model: Path, engine_args: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^teachers\.tiny\.model: vLLM cannot load .*no_such"):
        ask(VllmEngine("tiny", VllmSettings(model=str(model), engine_args=engine_args)), QUESTIONS[:1])


def test_nothing_is_loaded_for_no_request(tmp_path: Path) -> None:
    assert list(VllmEngine("tiny", VllmSettings(model=str(tmp_path))).ask([], Event())) == []
