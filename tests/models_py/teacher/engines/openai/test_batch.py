import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.engines.openai.batch import OpenAIBatchEngine
from models_py.teacher.engines.openai.batch_files import batch_errors, read_result, result_lines
from models_py.teacher.engines.openai.batch_store import Batches
from models_py.teacher.engines.openai.body import Bodies
from models_py.teacher.engines.openai.server import Broken, Rejected
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Budget, Price, Spent
from models_py.teacher.open_teacher import OpenTeacher
from models_py.teacher.prompt import load_prompts
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest
from models_py.teacher.spec import OpenAIBatchSettings, OpenAISettings, TeacherSpec
from tests.support.batch_server import ENDS, KEY, BatchServer, answered, without_an_answer
from tests.support.engines import request

ROOT = Path(__file__).parents[5]
SEAS = [request(f"Name {number} seas.", identity="gpt") for number in range(7)]
IDS = [one.request_id for one in SEAS]
RIGHT = {one.request_id: one.messages[-1].content[::-1] for one in SEAS}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TESTS", KEY)
    monkeypatch.setattr("models_py.teacher.engines.openai.batch._SETTLE_S", 0.02)
    monkeypatch.setattr("models_py.teacher.engines.openai.pacing._FIRST_BACKOFF_S", 0.01)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as started:
        yield started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "teacher.sqlite"


def teacher(server: BatchServer, path: LedgerPlace | Path, name: str = "gpt", **changes: Any) -> OpenAIBatchEngine:
    values: dict[str, Any] = {"model": "gpt", "poll_s": 0.01, "batch_requests": 3, "attempts": 3} | changes
    settings = OpenAIBatchSettings(base_url=server.url, api_key_env="KEY_OF_THE_TESTS", **values)
    return OpenAIBatchEngine(name, settings, path if isinstance(path, LedgerPlace) else LedgerPlace(path))


def replies(
    asked: OpenAIBatchEngine, path: LedgerPlace | Path, requests: list[TeacherRequest] = SEAS
) -> dict[str, TeacherReply]:
    """The replies by request id; every request has one."""
    with Ledger(path) as ledger:
        found = [reply for _, reply in ask_missing(requests, asked, ledger)]
    assert sorted(reply.request_id for reply in found) == sorted(one.request_id for one in requests)
    return {reply.request_id: reply for reply in found}


def texts(found: dict[str, TeacherReply]) -> dict[str, str | None]:
    return {request_id: reply.reply for request_id, reply in found.items()}


def errors(found: dict[str, TeacherReply]) -> list[str | None]:
    return [found[request_id].error for request_id in IDS]


def stored(path: LedgerPlace | Path, server: BatchServer, name: str = "gpt") -> list[tuple[str | None, int]]:
    with Batches(path, teacher=name, identity="gpt", base_url=server.url) as store:
        return [(batch.batch_id, len(batch.lines)) for batch in store.stored()]


# --- the usual course


@pytest.mark.parametrize("seed", range(3))
def test_every_request_gets_its_reply_over_several_batches(path: Path, seed: int) -> None:
    with BatchServer(seed=seed) as server:
        found = replies(teacher(server, path), path)
        assert texts(found) == RIGHT
        assert [len(lines) for lines in server.uploads] == [3, 3, 1]
        assert [line["custom_id"] for lines in server.uploads for line in lines] == IDS
        assert stored(path, server) == []


def test_a_reply_is_what_the_server_said_and_its_latency_is_unknown(server: BatchServer, path: Path) -> None:
    one = replies(teacher(server, path), path)[IDS[0]]
    usage = '{"prompt_tokens": 100, "completion_tokens": 40}'
    assert (one.finish_reason, one.prompt_tokens, one.completion_tokens, one.usage) == ("stop", 100, 40, usage)
    assert (one.attempts, one.latency_s, one.error) == (1, None, None)


def test_a_line_is_a_chat_completion_request(server: BatchServer, path: Path) -> None:
    one = request("Name a sea \ud800.", identity="gpt", sampling=Sampling(seed=7, extra_body={"user": "me"}))
    replies(teacher(server, path), path, [one])
    line = server.uploads[0][0]
    assert (line["custom_id"], line["method"], line["url"]) == (one.request_id, "POST", "/v1/chat/completions")
    messages = [{"role": message.role, "content": message.content} for message in one.messages]
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 2048, "seed": 7, "user": "me"}
    assert line["body"] == {"model": "gpt", "messages": messages, **sampling}


def test_an_input_file_has_no_more_bytes_than_servers_take(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_py.teacher.engines.openai.batch_files._INPUT_BYTES", 6000)
    assert texts(replies(teacher(server, path, batch_requests=100), path)) == RIGHT
    sizes = [len(server.files[batch["input_file_id"]]) for batch in server.batches.values()]
    assert len(sizes) > 1
    assert max(sizes) <= 6000


def test_what_the_ledger_knows_is_not_asked_and_nothing_to_ask_needs_no_server(server: BatchServer, path: Path) -> None:
    replies(teacher(server, path), path)
    calls = dict(server.calls)
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert list(teacher(server, path).ask([], Event())) == []
    assert server.calls == calls


def test_progress_is_logged_as_the_server_counts(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("models_py.teacher.engines.openai.batch._LOG_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    replies(teacher(server, path), path)
    assert "teachers.gpt: batch_0 is open, 3 requests" in caplog.messages
    assert "teachers.gpt: 3 batches open, 2 of their 7 requests done" in caplog.messages


# --- going on


CLIENT = """
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from models_py.teacher.engines.openai import batch, pacing
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.spec import OpenAIBatchSettings
from tests.models_py.teacher.engines.openai.test_batch import SEAS
url, path = sys.argv[1], Path(sys.argv[2])
settings = OpenAIBatchSettings(
    model="gpt", base_url=url, api_key_env="KEY_OF_THE_TESTS", poll_s=0.01, batch_requests=3, attempts=3
)
by_id = {one.request_id: one for one in SEAS}
with Ledger(path) as ledger:
    for reply in batch.OpenAIBatchEngine("gpt", settings, LedgerPlace(path)).ask(SEAS, Event()):
        ledger.record(by_id[reply.request_id], reply)
        print(reply.request_id, flush=True)
        sys.stdin.readline()
"""


def killed(server: BatchServer, path: Path, call: str, number: int, reads: int = 0) -> None:
    """A run that is killed while the server is about to answer the `number`-th `call`, or after `reads` replies."""
    command = [sys.executable, "-c", CLIENT, server.url, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    if reads == 0:
        server.before_answer = lambda now: (
            os.kill(process.pid, signal.SIGKILL) if (now, server.calls[now]) == (call, number) else None
        )
        process.stdin.write("\n" * len(SEAS))
        process.stdin.flush()
    for _ in range(reads):
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
    if reads:
        process.stdout.readline()  # one more was recorded, and whoever iterates has not come back
        process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.before_answer = lambda now: None


@pytest.mark.kill
@pytest.mark.parametrize(
    ("call", "number", "reads"),
    [
        ("POST files", 1, 0),  # nothing is open
        ("POST batches", 1, 0),  # the first batch exists, its id is not stored
        ("POST batches", 3, 0),  # the same of the last one
        ("GET batch", 1, 0),  # all are open
        ("GET content", 2, 0),  # the results of the first batch were delivered
        ("", 0, 1),  # in the middle of the first batch's results
        ("", 0, 4),  # in the middle of the second batch's results
    ],
)
def test_a_run_that_was_killed_goes_on_and_creates_no_batch_twice(
    server: BatchServer, path: Path, call: str, number: int, reads: int
) -> None:
    killed(server, path, call, number, reads)
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert sorted(line["custom_id"] for lines in server.uploads for line in lines) == sorted(IDS)
    assert stored(path, server) == []


def test_a_batch_that_was_stored_and_never_created_is_asked_anew(server: BatchServer, place: LedgerPlace) -> None:
    with Batches(place, teacher="gpt", identity="gpt", base_url=server.url) as store:
        store.begin(IDS[:5])
    assert texts(replies(teacher(server, place), place)) == RIGHT
    assert [len(lines) for lines in server.uploads] == [3, 3, 1]
    assert stored(place, server) == []


def test_a_stored_batch_knows_its_lines(place: LedgerPlace) -> None:
    owner = {"teacher": "gpt", "identity": "gpt", "base_url": "http://here"}
    with Batches(place, **owner) as store:
        token = store.begin(IDS[:3]).token
    with Batches(place, **owner) as store:
        (batch,) = store.stored()
    assert (batch.token, batch.batch_id, batch.lines) == (token, None, dict(zip(IDS[:3], (1, 2, 3), strict=True)))


def test_batches_come_in_the_order_in_which_they_were_stored_under_a_clock_set_back(place: LedgerPlace) -> None:
    with Batches(place, teacher="gpt", identity="m", base_url="u") as store:
        tokens = [store.begin([name]).token for name in "abc"]
        for year, token in zip((2036, 2027, 2026), tokens, strict=True):
            store._store.execute("update teacher_batches set created_at = ? where token = ?", [str(year), token])
        store.renew(store.stored()[0])
        assert [list(batch.lines) for batch in store.stored()] == [["a"], ["b"], ["c"]]


def test_a_stop_leaves_open_batches_to_the_next_run(
    server: BatchServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stop = Event()
    server.before_answer = lambda call: stop.set() if call == "GET batch" else None
    assert list(teacher(server, path, poll_s=600.0).ask(SEAS, stop)) == []
    assert "teachers.gpt: stopped; the next run goes on with 3 open batches" in caplog.messages
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert len(server.batches) == 3


@pytest.mark.parametrize("call", ["POST files", "GET batch", "GET content"])
def test_a_stop_does_not_wait_for_a_slow_call(server: BatchServer, path: Path, call: str) -> None:
    stop, answer = Event(), Event()

    def hang(now: str) -> None:
        if now == call:
            stop.set()
            answer.wait(20)

    server.before_answer = hang
    assert list(teacher(server, path).ask(SEAS, stop)) == []
    assert not answer.is_set()
    answer.set()


def test_a_batch_under_creation_when_the_run_stops_is_stored(server: BatchServer, path: Path) -> None:
    stop = Event()
    server.before_answer = lambda call: stop.set() if call == "POST batches" else None
    assert list(teacher(server, path).ask(SEAS, stop)) == []
    assert stored(path, server) == [("batch_0", 3)]


def test_nothing_is_sent_after_a_stop(server: BatchServer, path: Path) -> None:
    stop = Event()
    stop.set()
    assert list(teacher(server, path).ask(SEAS, stop)) == []
    assert not server.calls


def test_what_is_not_asked_for_now_stays_in_its_batch(server: BatchServer, path: Path) -> None:
    stop = Event()
    server.before_answer = lambda call: stop.set() if call == "GET batch" else None
    list(teacher(server, path).ask(SEAS, stop))
    some = SEAS[1:4]
    assert texts(replies(teacher(server, path), path, some)) == {id: RIGHT[id] for id in IDS[1:4]}
    assert stored(path, server) == [("batch_0", 1), ("batch_1", 2), ("batch_2", 1)]
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert (len(server.batches), stored(path, server)) == (3, [])


def test_teachers_and_servers_do_not_share_batches(server: BatchServer, path: Path) -> None:
    stop = Event()
    server.before_answer = lambda call: stop.set() if call == "GET batch" else None
    list(teacher(server, path).ask(SEAS[:2], stop))
    assert texts(replies(teacher(server, path, "other"), path, SEAS[:2])) == {id: RIGHT[id] for id in IDS[:2]}
    assert [batch["metadata"]["teacher"] for batch in server.batches.values()] == ["gpt", "other"]
    with BatchServer() as second:
        assert stored(path, second) == []
    assert stored(path, server) == [("batch_0", 2)]


# --- what goes wrong with a batch


def test_what_an_expired_batch_did_not_come_to_is_asked_again(server: BatchServer, path: Path) -> None:
    server.outcomes = ["expired"]
    first = replies(teacher(server, path, batch_requests=7), path)
    assert errors(first)[:3] == [None] * 3
    assert errors(first)[3:] == ["batch_0 expired before there was a line about this request"] * 4
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT
    assert [len(lines) for lines in server.uploads] == [7, 4]


def test_what_a_cancelled_batch_did_not_come_to_is_asked_again(server: BatchServer, path: Path) -> None:
    server.outcomes = ["completed", "cancelled"]
    first = replies(teacher(server, path), path)
    assert [one.error for one in first.values() if one.error] == [
        "batch_1 cancelled before there was a line about this request"
    ] * 2
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_a_failed_batch_names_the_rows_and_why(server: BatchServer, path: Path) -> None:
    server.outcomes = ["completed", "failed"]
    server.errors = [
        {"code": "too_long", "message": "a file too long", "line": None},
        {"code": "bad_line", "message": "no model", "line": 2},
    ]
    first = replies(teacher(server, path), path)
    why = "batch_1 failed: too_long: a file too long"
    assert errors(first)[3:6] == [why, f"{why}; line 2, this request: bad_line: no model", why]
    assert errors(first)[:3] + errors(first)[6:] == [None] * 4
    assert stored(path, server) == []


@pytest.mark.parametrize(("room", "seed"), [(3, 0), (3, 1), (4, 2), (6, 3)])
def test_batches_that_find_too_much_enqueued_are_created_again_one_by_one(path: Path, room: int, seed: int) -> None:
    with BatchServer(seed=seed) as server:
        server.room = room
        assert texts(replies(teacher(server, path), path)) == RIGHT
        assert server.calls["POST files"] == 3
        assert len({batch["metadata"]["reflection_token"] for batch in server.batches.values()}) == len(server.batches)
        assert stored(path, server) == []


def test_a_batch_that_waits_for_room_does_not_wait_for_all_others(path: Path) -> None:
    with BatchServer(seed=4) as server:
        server.room = 4
        open_then: list[list[str]] = []
        server.before_answer = lambda call: open_then.append(
            [name for name, batch in server.batches.items() if batch["status"] not in ENDS]
        )
        assert texts(replies(teacher(server, path, batch_requests=2), path)) == RIGHT
        assert ["batch_1", "batch_4"] in open_then


@pytest.mark.kill
def test_a_run_that_was_killed_while_batches_wait_for_room_goes_on(server: BatchServer, path: Path) -> None:
    server.room = 3
    killed(server, path, "POST batches", 4)
    assert texts(replies(teacher(server, path), path)) == RIGHT
    outcomes = zip(server.uploads, server.batches.values(), strict=True)
    worked_off = [line["custom_id"] for lines, batch in outcomes for line in lines if batch["output_file_id"]]
    assert sorted(worked_off) == sorted(IDS)


def test_a_batch_that_alone_is_too_much_fails_with_a_remedy(server: BatchServer, path: Path) -> None:
    server.room = 5
    found = replies(teacher(server, path, batch_requests=6), path)
    reason = "Lower batch_requests. batch_2 failed: token_limit_exceeded: Enqueued token limit reached"
    assert errors(found) == [reason] * 6 + [None]


def test_one_lines_trouble_is_its_own(server: BatchServer, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def line(asked: dict[str, Any]) -> dict[str, Any] | bytes:
        number = IDS.index(asked["custom_id"])
        stranger = answered(asked) | {"custom_id": "stranger"}
        wrong = answered(asked)
        wrong["response"]["body"] = {"choices": []}
        special: dict[int, dict[str, Any] | bytes] = {
            1: answered(asked, 400),
            2: answered(asked, 503),
            3: without_an_answer(asked),
        }
        return (special | {4: stranger, 5: b'{"custom_id": "\xff', 6: wrong}).get(number) or answered(asked)

    server.line = line
    found = replies(teacher(server, path, batch_requests=7), path)
    missing = "batch_0 completed without a line about this request"
    assert found[IDS[0]].reply == RIGHT[IDS[0]]
    assert errors(found) == [
        None,
        "status 400: bad: refused with 400",
        "status 503: bad: refused with 503",
        "batch_expired: not in time",
        missing,
        missing,
        'a body without choices[0].message: {"choices": []}',
    ]
    assert "1 lines that cannot be read, 1 of unknown requests" in caplog.text


def test_the_first_of_two_lines_about_a_request_counts(server: BatchServer, path: Path) -> None:
    server.line = lambda asked: json.dumps(answered(asked)).encode() + b"\n\n" + json.dumps(answered(asked)).encode()
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_a_batch_the_server_does_not_know_any_more_is_asked_anew_by_the_next_run(
    server: BatchServer, path: Path
) -> None:
    with Batches(path, teacher="gpt", identity="gpt", base_url=server.url) as store:
        store.created(store.begin(IDS[:3]), "batch_of_last_year")
    found = replies(teacher(server, path), path)
    assert set(errors(found)[:3]) == {"batch_of_last_year is gone: status 404: no such batch"}
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_a_batch_that_nobody_could_look_for_at_first_is_found_or_not_later(server: BatchServer, path: Path) -> None:
    with Batches(path, teacher="gpt", identity="gpt", base_url=server.url) as store:
        lost, real = store.begin(IDS[:3]), store.begin(IDS[3:5])
    server.faults["GET batches"] = [500] * 6
    line = json.dumps({"custom_id": IDS[3], "body": {"messages": [{"content": SEAS[3].messages[-1].content}]}})
    server.files["file-x"] = line.encode()
    server.create({"input_file_id": "file-x", "metadata": {"reflection_token": real.token}})
    found = replies(teacher(server, path), path)
    assert set(errors(found)[:3]) == {f"batch {lost.token[:8]} was never created"}
    assert errors(found)[3:] == [None, "batch_0 completed without a line about this request", None, None]


def test_a_batch_that_is_not_there_at_first_sight_is_looked_at_twice(server: BatchServer, path: Path) -> None:
    server.faults["GET batch"] = [404]
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_results_the_server_no_longer_has_are_a_reason(server: BatchServer, path: Path) -> None:
    def forget(call: str) -> None:
        if call == "GET batch":
            server.files.pop("file-1", None)

    server.before_answer = forget
    found = replies(teacher(server, path, batch_requests=7), path)
    assert set(errors(found)) == {"output_file_id of batch_0 cannot be read: status 404: no such file"}


def results_of(lines: int) -> int:
    """Bytes of the first lines of the result file of all seas, all of the same length."""
    return lines * (len(json.dumps(answered(line_of(SEAS[0])))) + 1)


def line_of(one: TeacherRequest) -> dict[str, Any]:
    return {"custom_id": one.request_id, "body": {"messages": [{"content": one.messages[-1].content}]}}


@pytest.mark.parametrize("cut", [results_of(3), results_of(3) + 50, 0])
def test_results_that_arrive_cut_are_looked_at_again(server: BatchServer, path: Path, cut: int) -> None:
    server.cuts = [cut]
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT
    assert (len(server.batches), server.calls["GET content"], stored(path, server)) == (1, 2, [])


def test_a_line_that_is_cut_is_seen_without_the_servers_counts(server: BatchServer, path: Path) -> None:
    def forget(call: str) -> None:
        for batch in server.batches.values():
            batch.pop("request_counts", None)

    server.before_answer, server.cuts = forget, [results_of(6) + 50]
    server.outcomes = ["completed"]
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT


def test_results_that_stay_short_are_told_and_asked_anew_by_the_next_run(server: BatchServer, path: Path) -> None:
    server.cuts = [results_of(3)] * 4
    found = replies(teacher(server, path, batch_requests=7), path)
    reason = "batch_0 completed without a line about this request; its result files hold 3 of the 7 lines it counts"
    assert sorted(map(str, errors(found))) == ["None"] * 3 + [reason] * 4
    assert (server.calls["GET content"], stored(path, server)) == (4, [])
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT


def test_a_run_that_stops_before_cut_results_are_whole_leaves_them_to_the_next(server: BatchServer, path: Path) -> None:
    stop, asked = Event(), teacher(server, path, batch_requests=7)
    server.cuts = [results_of(3)]
    server.before_answer = lambda call: stop.set() if call == "GET content" else None
    with Ledger(path) as ledger:
        for reply in asked.ask(SEAS, stop):
            ledger.record(next(one for one in SEAS if one.request_id == reply.request_id), reply)
    assert stored(path, server) == [("batch_0", 7)]
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT
    assert len(server.batches) == 1


# --- what goes wrong with a call


@pytest.mark.parametrize("call", ["POST files", "POST batches", "GET batches", "GET batch", "GET content"])
def test_every_call_is_tried_again(server: BatchServer, path: Path, call: str) -> None:
    server.faults[call] = [429, 500, 429, 429, 503]
    if call == "GET batches":  # which is looked at when it is unknown whether a batch was created
        server.lost["POST batches"] = 1
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert len(server.batches) == 3
    assert server.faults[call] == []


def test_a_batch_whose_creation_was_answered_by_silence_is_found_on_the_second_page(
    server: BatchServer, path: Path
) -> None:
    def others_create_too(call: str) -> None:
        for name in ("theirs_1", "theirs_2") if call == "POST batches" else ():
            server.batches[name] = {**server.batches["batch_0"], "id": name, "metadata": None}

    server.lost["POST batches"] = 1
    server.before_answer = others_create_too
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT
    assert list(server.batches) == ["batch_0", "theirs_1", "theirs_2"]
    assert server.calls["GET batches"] == 2


def test_a_server_that_creates_nothing_leaves_the_requests_to_the_next_run(server: BatchServer, path: Path) -> None:
    server.faults["POST batches"] = [500] * 3
    found = replies(teacher(server, path), path)
    reason = "the batch was not created: status 500: fault 500"
    assert errors(found) == [reason] * 3 + [None] * 4
    assert stored(path, server) == [(None, 3)]  # perhaps it was created: the next run looks
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert sorted(len(lines) for lines in server.uploads) == [1, 3, 3]


def test_one_refused_batch_fails_its_rows(server: BatchServer, path: Path) -> None:
    server.faults["POST files"] = [413]
    found = replies(teacher(server, path), path)
    reason = "the batch was refused: status 413: fault 413"
    assert errors(found) == [reason] * 3 + [None] * 4


def test_a_server_that_takes_no_batch_at_all_is_an_error_for_people(server: BatchServer, path: Path) -> None:
    server.faults["POST batches"] = [404] * 3
    with pytest.raises(UserError, match=r"teachers\.gpt: http.* takes no batch \(status 404.*`engine: openai`"):
        replies(teacher(server, path), path)
    assert stored(path, server) == []


def test_a_wrong_key_names_its_variable_and_open_batches_stay(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.before_answer = lambda call: setattr(server, "key", "other") if server.calls["GET batch"] == 1 else None
    with pytest.raises(UserError, match="KEY_OF_THE_TESTS"):
        replies(teacher(server, path), path)
    server.before_answer = lambda call: None
    monkeypatch.setenv("KEY_OF_THE_TESTS", "other")
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert len(server.batches) == 3


def test_a_batch_out_of_sight_is_left_to_the_next_run(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_py.teacher.engines.openai.batch._GIVE_UP_S", 0.1)
    server.faults["GET content"] = [500] * 1000
    found = replies(teacher(server, path, batch_requests=7), path)
    assert str(found[IDS[0]].error).startswith("batch_0 stays open, out of sight: output_file_id: status 500")
    server.faults.clear()
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert len(server.batches) == 1


def test_failures_to_look_at_a_batch_do_not_add_up(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=itertools.count(step=1000).__next__)
    monkeypatch.setattr("models_py.teacher.engines.openai.batch.time", clock)
    server.faults["GET batch"] = [500, 500, 500, 200, 500, 500, 500, 200]
    assert texts(replies(teacher(server, path, batch_requests=7), path)) == RIGHT


def test_the_key_is_nowhere_in_the_file(server: BatchServer, path: Path) -> None:
    server.line = lambda asked: without_an_answer(asked, code=f"Bearer {KEY}")
    found = replies(teacher(server, path), path)
    assert set(errors(found)) == {"Bearer ***: not in time"}
    assert not [file.name for file in path.parent.iterdir() if KEY.encode() in file.read_bytes()]


# --- money


def test_a_batch_costs_half(server: BatchServer, path: Path) -> None:
    spec = TeacherSpec("gpt", teacher(server, path).settings, Price(2.0, 4.0, cached_input=1.0))
    assert spec.charged == Price(1.0, 2.0, cached_input=0.5)
    assert TeacherSpec("gpt", OpenAISettings(model="gpt"), Price(2.0, 4.0)).charged == Price(2.0, 4.0)
    account = OpenTeacher(spec, teacher(server, path), load_prompts("gpt")).account(Spent())
    with Ledger(path) as ledger:
        costs = [reply.cost_usd for _, reply in ask_missing(SEAS, teacher(server, path), ledger, account)]
    assert costs == [pytest.approx((100 * 1.0 + 40 * 2.0) / 1e6)] * 7


def test_a_budget_ends_what_is_put_into_batches(server: BatchServer, path: Path) -> None:
    settings = teacher(server, path, budget=Budget(max_requests=4)).settings
    open_teacher = OpenTeacher(TeacherSpec("gpt", settings), teacher(server, path), load_prompts("gpt"))
    account = open_teacher.account(Spent())
    with Ledger(path) as ledger:
        found = list(ask_missing(SEAS, open_teacher.engine, ledger, account))
    assert (len(found), account.reached) == (4, "budget.max_requests 4")
    assert [len(lines) for lines in server.uploads] == [3, 1]


# --- lines


def test_lines_that_cannot_be_read_are_none_and_blank_ones_nothing() -> None:
    file = [b'{"custom_id": "a", "x": 1}\n', b"\n", b"[]\n", b'{"custom_id": 7}\n', b"[" * 100_000, b"\xff\n", b"{"]
    assert list(result_lines(file)) == [("a", {"custom_id": "a", "x": 1}), None, None, None, None, None]


@pytest.mark.parametrize("row", [{}, {"response": None}, {"response": {"body": None}}, {"response": []}])
def test_a_line_without_a_body_is_an_error(row: dict[str, Any]) -> None:
    assert read_result(row, (), str) == Broken("status None: null")


@pytest.mark.parametrize("state", [{}, {"errors": None}, {"errors": {"data": None}}, {"errors": ["x"]}])
def test_a_failure_without_errors_has_none(state: dict[str, Any]) -> None:
    assert batch_errors(state) == []


def test_two_threads_of_one_process_can_ask(server: BatchServer, tmp_path: Path) -> None:
    found: list[dict[str, TeacherReply]] = []
    paths = [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    threads = [threading.Thread(target=lambda p=path: found.append(replies(teacher(server, p), p))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts(one) for one in found] == [RIGHT, RIGHT]


# --- as other servers write it


@pytest.mark.parametrize("status", ["COMPLETED", "Completed", "SUCCESS", "succeeded", "JOB_STATE_SUCCEEDED"])
def test_a_status_is_read_in_any_spelling(
    server: BatchServer, path: Path, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.batch_server.ENDS", (*ENDS, status))
    monkeypatch.setattr(server, "outcomes", [status] * 3)
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_a_status_that_nobody_knows_is_told_after_a_while_and_looked_at_again(
    server: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_py.teacher.engines.openai.batch._GIVE_UP_S", 0.05)
    server.outcomes = ["resting", "completed", "completed"]
    found = replies(teacher(server, path), path)
    told = "batch_0 stays open, out of sight: its status 'resting' is not known here"
    assert errors(found) == [told] * 3 + [None] * 4
    assert stored(path, server) == [("batch_0", 3)]


@pytest.mark.parametrize("said", [{"code": None, "message": None}, {"code": None}, {}, None, ""])
def test_an_error_without_a_word_beside_a_good_reply_is_none(server: BatchServer, path: Path, said: object) -> None:
    server.line = lambda line: {**answered(line), "error": said}
    assert texts(replies(teacher(server, path), path)) == RIGHT


def test_a_body_that_is_json_in_a_text_is_read(server: BatchServer, path: Path) -> None:
    def line(asked: dict[str, Any]) -> dict[str, Any]:
        good = answered(asked)
        return {**good, "response": {**good["response"], "body": json.dumps(good["response"]["body"])}}

    server.line = line
    assert texts(replies(teacher(server, path), path)) == RIGHT


@pytest.mark.parametrize(
    ("message", "is_raised", "finish_reason"),
    [
        ("Your input was flagged", False, "content_filter"),
        ("max_tokens is too large", False, None),
        ("max_tokens is too large", True, "length"),
        ("maximum context length", True, "length"),
        ("No such file", False, None),
    ],
)
def test_a_line_that_is_rejected_for_good_says_so(message: str, is_raised: bool, finish_reason: str | None) -> None:
    row = {"response": {"status_code": 400, "body": {"error": {"message": message}}}, "error": None}
    read = read_result(row, (), str)
    assert isinstance(read, Rejected)
    sampling = Sampling(max_tokens=4096 if is_raised else 2048)
    found = Bodies("gpt", OpenAIBatchSettings(model="gpt")).rejected_reply(request(sampling=sampling), read)
    assert (found.reply, found.error, found.finish_reason) == (None, f"status 400: {message}", finish_reason)


# --- fields that the server refuses


AGAIN = [request(f"Name {number} seas.", identity="gpt", sampling=Sampling(0.3, seed=1)) for number in range(7)]
WARM = {one.request_id: one.messages[-1].content[::-1] for one in AGAIN}
REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "openai": (400, {"error": {"message": "Unsupported parameter: 'seed' is not supported", "param": "seed"}}),
    "a type and a code": (400, {"error": {"message": "Unknown name seed", "type": "bad", "code": "unsupported_value"}}),
    "pydantic": (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
    "inside a 200": (200, {"error": {"code": 400, "message": "property 'seed' is unsupported"}}),
}


def refusing(status: int, error: dict[str, Any], *names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Lines of a server that takes no request with one of these fields, and says it of the first one it sees."""

    def line(asked: dict[str, Any]) -> dict[str, Any]:
        name = next((name for name in names if name in asked["body"]), None)
        said = json.loads(json.dumps(error).replace("seed", str(name)))
        return (
            answered(asked)
            if name is None
            else answered(asked, status) | {"response": {"status_code": status, "body": said}}
        )

    return line


def fields_sent(server: BatchServer) -> list[set[str]]:
    """Of each batch, what its requests have beside model and messages."""
    return [set(lines[0]["body"]) - {"model", "messages"} for lines in server.uploads]


@pytest.mark.parametrize(("status", "error"), REFUSALS.values(), ids=REFUSALS)
def test_a_second_try_goes_without_a_field_that_is_refused(
    server: BatchServer, path: Path, status: int, error: dict[str, Any]
) -> None:
    server.line = refusing(status, error, "seed")
    asked = teacher(server, path)
    assert texts(replies(asked, path, AGAIN)) == WARM
    limits = {"top_p", "max_tokens", "temperature"}
    sent = fields_sent(server)
    assert sent[:3] == [limits | {"seed"}] * 3
    assert sent[3:] == [limits] * len(sent[3:])
    assert sorted(line["custom_id"] for lines in server.uploads[3:] for line in lines) == sorted(WARM)
    assert stored(path, server) == []
    later = [request(f"Name {number} bays.", identity="gpt", sampling=Sampling(0.3, seed=1)) for number in range(2)]
    replies(asked, path, later)
    assert fields_sent(server)[-1] == limits


def test_a_second_try_goes_without_each_of_two_fields_that_are_refused(server: BatchServer, path: Path) -> None:
    server.line = refusing(*REFUSALS["openai"], "temperature", "seed")
    assert texts(replies(teacher(server, path, batch_requests=7), path, AGAIN)) == WARM
    both = {"top_p", "max_tokens", "temperature", "seed"}
    assert fields_sent(server) == [both, both - {"temperature"}, both - {"temperature", "seed"}]


def test_a_batch_that_fails_as_a_whole_for_a_field_of_second_tries_is_asked_without(
    server: BatchServer, path: Path
) -> None:
    server.outcomes = ["failed"]
    server.errors = [{"code": "unsupported_parameter", "message": "seed is unsupported", "param": "seed", "line": 2}]
    assert texts(replies(teacher(server, path, batch_requests=7), path, AGAIN)) == WARM
    assert [("seed" in sent) for sent in fields_sent(server)] == [True, False]


def test_a_field_that_is_refused_although_it_was_not_sent_fails_its_row(server: BatchServer, path: Path) -> None:
    def line(asked: dict[str, Any]) -> dict[str, Any]:
        return refusing(*REFUSALS["openai"], "seed")(asked | {"body": asked["body"] | {"seed": 1}})

    server.line = line
    found = replies(teacher(server, path, batch_requests=7), path, AGAIN)
    assert {reply.error for reply in found.values()} == {"status 400: Unsupported parameter: 'seed' is not supported"}
    assert len(server.batches) == 2


@pytest.mark.parametrize("whole", [False, True])
def test_a_field_of_the_profile_that_is_refused_stops_the_run_and_names_its_key(
    server: BatchServer, path: Path, whole: bool
) -> None:
    def line(asked: dict[str, Any]) -> dict[str, Any]:
        return (refusing(*REFUSALS["openai"], "top_p") if asked["custom_id"] == IDS[1] else answered)(asked)

    if whole:
        server.outcomes = ["completed", "failed"]
        server.errors = [{"code": "invalid", "message": "top_p is not supported", "param": "top_p", "line": 1}]
    else:
        server.line = line
    told = r"does not take top_p as it is sent .* teachers.gpt.sampling.extra_body: \{top_p: null\}"
    with Ledger(path) as ledger:
        with pytest.raises(UserError, match=told):
            list(ask_missing(SEAS, teacher(server, path), ledger))
        kept = {row.reply.request_id for row in ledger.all_since() if row.reply.error is None}
    assert kept >= ({*IDS[:3]} if whole else {IDS[0], IDS[2]})
    server.line = answered
    assert texts(replies(teacher(server, path), path)) == RIGHT
    assert stored(path, server) == []


def test_a_key_in_a_result_file_is_cut_out(server: BatchServer, path: Path) -> None:
    def line(asked: dict[str, Any]) -> dict[str, Any]:
        good = answered(asked)
        good["response"]["body"]["choices"][0]["message"]["content"] = f"Key: {KEY}"
        return good

    server.line = line
    assert set(texts(replies(teacher(server, path), path)).values()) == {"Key: ***"}
    assert KEY.encode() not in path.read_bytes()
