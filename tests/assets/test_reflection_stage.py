"""reflection: each pair is asked about once for good; a failure is asked again and not stored twice."""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.profile.teachers import teachers
from assets.raw.raw_pairs import raw_pairs
from assets.reflection.instruction_reflections import instruction_reflections
from assets.reflection.response_reflections import response_reflections
from assets.reflection.teacher_replies import teacher_replies
from dagster_project.definitions import build_definitions
from dagster_project.jobs import MAIN_JOB
from dagster_project.lakehouse.lake import Commit
from dagster_project.steps import step_progress
from dagster_project.steps.commits import commit_batches
from dagster_project.steps.results import TOLD_KEY
from dagster_project.steps.step_progress import PROGRESS_KEY
from models_py.content import content_id
from models_py.errors import UserError
from models_py.teacher import parser
from models_py.teacher.engines.recorded import RecordedEngine
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import TeacherReply, TeacherRequest
from tests.assets.conftest import BETTER_DOG, CAT, DOG, NEW_CAT, OWL, REPLIES, Flow, Gpt, rewrite, version
from tests.support.engines import NEXT_VERSION, second_parser
from tests.support.servers import ChatServer, completion
from tests.support.values import known

REFLECTIONS = "select pair_id, status, content_id, instruction, output from reflection.instruction_reflections"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The content ids that the teacher is really asked about."""
    asked: list[str] = []
    ask = RecordedEngine.ask

    def watched(self: RecordedEngine, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        requests = list(requests)
        asked.extend(request.content_id for request in requests)
        return ask(self, requests, stop)

    monkeypatch.setattr(RecordedEngine, "ask", watched)
    return asked


def test_every_pair_has_an_outcome(ready: Flow) -> None:
    result = ready.run(instruction_reflections)
    rows = {row[0]: row[1:] for row in ready.lake.read(REFLECTIONS).rows()}
    assert rows == {
        content_id(*CAT): ("ok", content_id(*NEW_CAT), NEW_CAT[0], NEW_CAT[2]),
        content_id(*DOG): (rows[content_id(*DOG)][0], None, None, None),
        content_id(*OWL): ("failed", None, None, None),
    }
    assert rows[content_id(*DOG)][0] in {"refused", "missing_tag"}
    assert (result.metadata["dagster/row_count"], result.metadata["pending_before"]) == (3, 3)
    assert (result.metadata["status/ok"], result.metadata["status/failed"]) == (1, 1)


def test_a_second_run_asks_only_what_failed_and_stores_nothing_twice(ready: Flow, asked: list[str]) -> None:
    first = version(ready.run(instruction_reflections))
    assert sorted(asked) == sorted(content_id(*pair) for pair in (CAT, DOG, OWL))
    asked.clear()
    assert version(ready.run(instruction_reflections)) == first
    assert asked == [content_id(*OWL)]
    assert ready.lake.scalar("select count(*) from reflection.instruction_reflections") == 3


def test_a_reply_that_was_paid_for_is_not_asked_again_when_the_lake_lost_it(ready: Flow, asked: list[str]) -> None:
    """As after a kill between the ledger's commit and the lake's."""
    ready.run(instruction_reflections)
    before = ready.lake.read(REFLECTIONS + " order by all").rows()
    ready.lake.write(
        lambda connection: connection.execute("delete from reflection.instruction_reflections"), Commit("by hand")
    )
    asked.clear()
    ready.run(instruction_reflections)
    assert asked == [content_id(*OWL)]
    assert ready.lake.read(REFLECTIONS + " order by all").rows() == before


def test_another_recording_reflects_anew_and_the_old_rows_stay(ready: Flow) -> None:
    ready.run(instruction_reflections)
    ready.replies({**REPLIES, ("instruction_reflection", OWL): rewrite("Describe an owl at night.", "Silent.")})
    ready.run(teachers)
    ready.run(instruction_reflections)
    current = ready.lake.read("select pair_id, status from selection.current_instruction_reflections").rows()
    assert dict(current)[content_id(*OWL)] == "ok"
    assert ready.lake.scalar("select count(*) from reflection.instruction_reflections") == 6


def test_the_second_reflection_is_of_the_chosen_base(ready: Flow) -> None:
    ready.run(instruction_reflections)
    choice = {
        "teacher": "recorded",
        "student": "toy",
        "pair_id": content_id(*DOG),
        "choice": "original",
        "reason": "no_rewrite",
    }
    names, values = ", ".join(choice), ", ".join(f"'{value}'" for value in choice.values())
    ready.lake.write(
        lambda c: c.execute(f"insert into selection.instruction_choices ({names}) values ({values})"), Commit("by hand")
    )
    ready.run(response_reflections)
    rows = ready.lake.read(
        "select pair_id, base, base_content_id, status, content_id, output from reflection.response_reflections"
    )
    dog = content_id(*DOG)
    assert rows.rows() == [(dog, "original", dog, "ok", content_id(DOG[0], DOG[1], BETTER_DOG), BETTER_DOG)]


def test_the_ledger_is_mirrored_once_with_its_failures(ready: Flow) -> None:
    ready.run(instruction_reflections)
    first = ready.run(teacher_replies)
    ready.run(instruction_reflections)  # asks the owl again
    again = ready.run(teacher_replies)
    assert version(first) == version(again)
    rows = ready.lake.read(
        "select content_id, pair_id, teacher, phase, status, parse_attempt, attempts, cost_usd, error "
        "from reflection.teacher_replies order by status"
    )
    dog, cat, owl = (content_id(*pair) for pair in (DOG, CAT, OWL))
    common = ("recorded", "instruction_reflection")
    assert rows.rows() == [
        (owl, owl, *common, "failed", 0, 1, None, f"no recorded {common[1]} of content_id {owl} in replies.jsonl"),
        (dog, dog, *common, "missing_tag", 0, 1, None, None),
        (cat, cat, *common, "ok", 0, 1, None, None),
    ]
    costs = ready.lake.read("select status, replies from reflection.teacher_costs order by status").rows()
    assert costs == [("missing_tag", 1), ("ok", 1)]


# ── why replies cannot be used ─────────────────────────────────────────────────────────────────────────────────────


ERRORS = "select pair_id, status, error from reflection.teacher_replies where error is not null order by pair_id"


def content_of(pair: tuple[str, str, str]) -> str:
    """By which pairs are asked in order."""
    return content_id(*pair)


def refuses(
    status: int, message: str, *pairs: tuple[str, str, str]
) -> Callable[[dict[str, Any], Any], tuple[int, Any]]:
    """A server that says this of some pairs, of all without any, and answers the others."""

    def answer(body: dict[str, Any], _: object) -> tuple[int, Any]:
        if not pairs or any(pair[0] in str(body["messages"]) for pair in pairs):
            return status, {"error": {"message": message}}
        return 200, completion(rewrite("Describe it.", "Small."))

    return answer


def served(flow: Flow, answer: Callable[[dict[str, Any], Any], tuple[int, Any]], **settings: object) -> dict[str, Any]:
    """Runs the first reflection with that server as the only teacher; what the asset's page shows."""
    with ChatServer(answer=answer) as server:
        teacher = {"engine": "openai", "model": "small", "base_url": server.url, "api_key_env": None, "attempts": 1}
        flow.configure({"teachers": {"gpt": {**teacher, **settings}}})
        flow.run(teachers)
        return dict(flow.run(instruction_reflections).metadata)


def test_a_teacher_of_which_nothing_can_be_used_ends_the_run_and_says_why(ready: Flow) -> None:
    with pytest.raises(UserError) as failure:
        served(ready, refuses(500, "upstream 17 is away"))
    said = str(failure.value).splitlines()
    assert re.fullmatch(
        r"teachers\.gpt: http://127\.0\.0\.1:\d+/v1 gave no instruction_reflection that can be used, of 3 pairs\. .*",
        said[0],
    )
    assert said[1] == "  3 failed: status 500: upstream 17 is away"
    assert "Correct teachers.gpt in the profile, or mend the server" in said[2]
    assert ready.lake.read(ERRORS).rows() == sorted(
        (content_id(*pair), "failed", "status 500: upstream 17 is away") for pair in (CAT, DOG, OWL)
    )


def test_one_teacher_of_several_that_gives_nothing_leaves_the_others_usable(ready: Flow) -> None:
    recorded = {"engine": "recorded", "replies": "replies.jsonl"}
    recipe = {"policy": "paper", "student": "toy"}
    good = {"recorded": recorded}, {"good": {**recipe, "teacher": "recorded"}}
    with ChatServer(answer=refuses(500, "upstream 17 is away")) as server:
        away = {"engine": "openai", "model": "small", "base_url": server.url, "api_key_env": None, "attempts": 1}
        bad = {"away": away}, {name: {**recipe, "teacher": "away"} for name in ("bad", "worse")}
        ready.configure({"teachers": bad[0] | good[0], "recipes": bad[1] | good[1]})
        ready.run(teachers)
        with pytest.raises(UserError) as failure:
            ready.run(instruction_reflections)
        calls = len(server.calls)
        ok = "select teacher, count(*) from selection.current_instruction_reflections where status = 'ok' group by all"
        assert ready.lake.read(ok).rows() == [("recorded", 1)]  # published before it was said
        assert str(failure.value).splitlines()[-1] == (
            "To go on with recipes.good, whose replies are kept, take teachers.away, recipes.bad, recipes.worse out of "
            "the profile and run again."
        )
        ready.configure({"teachers": good[0], "recipes": good[1]})
        ready.run(teachers)
        assert ready.run(instruction_reflections).metadata["status/ok"] == 1
        assert len(server.calls) == calls


def test_what_cannot_be_used_ends_the_next_run_too_and_asks_nobody(ready: Flow, gpt: Gpt) -> None:
    gpt.say = lambda _: completion("No tags.")
    gpt.teaches(ready, parse_attempts=0)
    for _ in range(2):
        with pytest.raises(UserError, match=r"of 3 pairs.*\n  3 missing_tag: .*\nLook at the replies \(make sql Q="):
            ready.run(instruction_reflections)
    assert len(gpt.asked) == 3
    assert ready.lake.scalar("select count(*) from reflection.teacher_replies where pair_id is not null") == 3


def test_what_is_cut_names_the_limit(ready: Flow, gpt: Gpt) -> None:
    gpt.say = lambda _: completion("[New Instruction] Name", finish_reason="length")
    gpt.teaches(ready)
    with pytest.raises(UserError, match=r"3 truncated: .*\nRaise teachers\.gpt\.sampling\.max_tokens \(2,048\)"):
        ready.run(instruction_reflections)


def test_the_page_says_why_some_cannot_be_used(ready: Flow) -> None:
    metadata = served(ready, refuses(413, "too large by 17 tokens", CAT, OWL))
    assert [record.data for record in metadata["why_unusable"].records] == [
        {"teacher": "gpt", "pairs": 2, "status": "failed", "reason": "status 413: too large by 17 tokens"}
    ]
    assert metadata[TOLD_KEY].value == "gpt: 2 failed: status 413: too large by 17 tokens"
    assert not {"why_unusable", TOLD_KEY} & served(ready, refuses(413, "never", ("never", "", ""))).keys()


def test_a_row_that_is_refused_for_its_text_is_not_asked_again(ready: Flow) -> None:
    for _ in range(2):
        metadata = served(ready, refuses(403, "Your input was flagged", DOG))
        assert (metadata["status/ok"], metadata["status/refused"]) == (2, 1)
    ready.run(teacher_replies)
    assert ready.lake.read(ERRORS).rows() == [(content_id(*DOG), "refused", "status 403: Your input was flagged")]
    with Ledger(ready.profile.ledger_path) as ledger:
        assert [row.reply.attempts for row in ledger.all_since()] == [1, 1, 1]


def test_a_reply_takes_the_place_of_the_failure_before_it(ready: Flow) -> None:
    served(ready, refuses(413, "too large", DOG))
    ready.run(teacher_replies)
    assert len(ready.lake.read(ERRORS)) == 1
    served(ready, refuses(413, "otherwise", DOG))
    ready.run(teacher_replies)
    assert [row[2] for row in ready.lake.read(ERRORS).rows()] == ["status 413: otherwise"]
    assert served(ready, refuses(413, "never", ("never", "", "")))["status/ok"] == 3
    ready.run(teacher_replies)
    assert len(ready.lake.read(ERRORS)) == 0
    assert ready.lake.scalar("select count(*) from reflection.teacher_replies") == 3


def test_a_run_without_credit_keeps_and_shows_what_came(ready: Flow) -> None:
    with pytest.raises(UserError, match="has no credit left"):
        served(ready, refuses(402, "Insufficient credits", max(CAT, DOG, OWL, key=content_of)), concurrency=1)
    rows = ready.lake.read("select pair_id, status from reflection.teacher_replies").rows()
    assert 0 < len(rows) == in_ledger(ready) and {status for _, status in rows} == {"ok"}
    assert {pair for pair, _ in rows} < {content_id(*pair) for pair in (CAT, DOG, OWL)}


def test_nothing_is_scored_when_no_reply_can_be_used(flow: Flow, gpt: Gpt) -> None:
    gpt.say = lambda _: completion("No tags.")
    gpt.teaches(flow, parse_attempts=0)
    job = build_definitions(flow.profile).resolve_job_def(MAIN_JOB)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    keys = set(job.asset_layer.executable_asset_keys) - {
        dg.AssetKey(["profile", "base_students"])
    }  # toy files are no model
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, asset_selection=list(keys), run_config=quiet, raise_on_error=False
        )
        started = {event.step_key for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_START}
    assert "reflection__instruction_reflections" in started
    assert not {step for step in started if str(step).startswith(("scoring", "training"))}


# ── a teacher behind a server ──────────────────────────────────────────────────────────────────────────────────────


def count(flow: Flow, table: str = "reflection.instruction_reflections") -> int:
    return int(str(flow.lake.scalar(f"select count(*) from {table}")))


def in_ledger(flow: Flow) -> int:
    with Ledger(flow.profile.ledger_path) as ledger:
        return len([row for row in ledger.all_since() if row.reply.error is None])


def test_the_mirror_says_who_answered_and_which_try_it_was(ready: Flow, gpt: Gpt) -> None:
    gpt.say = lambda _: completion("Nothing of use." if len(gpt.asked) < 4 else rewrite("Describe it.", "Small."))
    gpt.teaches(ready, parse_attempts=1, concurrency=1)
    ready.run(instruction_reflections)
    ready.run(teacher_replies)
    rows = ready.lake.read(
        "select identity, parse_attempt, status, count(*) from reflection.teacher_replies group by all order by all"
    )
    assert rows.rows() == [("small", 0, "missing_tag", 3), ("small", 1, "ok", 3)]


def test_a_budget_stops_after_committing_what_came(ready: Flow, gpt: Gpt) -> None:
    gpt.teaches(ready, budget={"max_requests": 2})
    said = r"teachers\.gpt\.budget\.max_requests 2 is reached: 2 replies, 300 tokens so far\. .*1 of 3 pairs remain"
    with pytest.raises(UserError, match=said):
        ready.run(instruction_reflections)
    assert (count(ready), in_ledger(ready), len(gpt.asked)) == (2, 2, 2)


def test_a_raised_budget_asks_only_the_rest(ready: Flow, gpt: Gpt) -> None:
    gpt.teaches(ready, budget={"max_requests": 2})
    with pytest.raises(UserError):
        ready.run(instruction_reflections)
    gpt.teaches(ready, budget={"max_requests": 3})
    assert ready.run(instruction_reflections).metadata["status/ok"] == 3
    assert (len(gpt.asked), len(set(gpt.asked))) == (3, 3)


def test_a_budget_in_dollars_says_what_was_spent(ready: Flow, gpt: Gpt) -> None:
    worst_usd = 2.048  # 2,048 completion tokens at 1,000 dollars a million
    gpt.teaches(
        ready, {"prices": {"small": {"input": 0, "output": 1000}}}, budget={"max_usd": worst_usd + 0.04}, concurrency=1
    )
    with pytest.raises(UserError, match=r"max_usd 2\.088 is reached: 1 replies, \$0\.05 so far\. .*2 of 3"):
        ready.run(instruction_reflections)
    assert count(ready) == 1


def test_a_budget_without_any_reply_says_no_more_than_that(ready: Flow, gpt: Gpt) -> None:
    gpt.teaches(ready, budget={"max_tokens": 10})
    said = r"max_tokens 10 is reached: 0 replies\. The next one may take [0-9,]+ tokens, which is more than is left\."
    with pytest.raises(UserError, match=rf"{said} Of this phase 3 of 3 pairs remain"):
        ready.run(instruction_reflections)
    assert gpt.asked == []


def test_second_tries_do_not_hide_that_the_budget_left_pairs_unasked(ready: Flow, gpt: Gpt) -> None:
    """The long pair does not fit the budget, a second try of the short one would."""
    short = ("Describe a cat.", "", "Soft.")
    longs = (("Describe an owl.", "", "Wise. " * 20_000 + str(number)) for number in range(100))
    ready.pairs(short, next(long for long in longs if content_id(*long) > content_id(*short)))
    list(ready.run(raw_pairs))
    gpt.say = lambda _: completion("Nothing of use.")
    gpt.teaches(ready, budget={"max_tokens": 20_000})
    with pytest.raises(UserError, match=r"max_tokens 20,000 is reached"):
        ready.run(instruction_reflections)
    assert len(gpt.asked) == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts are ignored in what a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_keeps_what_is_under_way_and_asks_none_of_it_again(
    ready: Flow, gpt: Gpt, interruptible: None
) -> None:
    all_under_way = threading.Barrier(3)

    def interrupting(_: str) -> dict[str, Any]:
        if all_under_way.wait(timeout=10) == 0:
            signal.pthread_kill(known(threading.main_thread().ident), signal.SIGINT)
        time.sleep(0.1)  # the interrupt comes before any reply
        return completion(rewrite("Describe it.", "Small."))

    gpt.say = interrupting
    gpt.teaches(ready)
    with pytest.raises(KeyboardInterrupt):
        ready.run(instruction_reflections)
    assert (count(ready), in_ledger(ready)) == (0, 3)
    assert ready.run(instruction_reflections).metadata["status/ok"] == 3
    assert len(gpt.asked) == 3


def test_a_lake_that_fails_waits_for_what_is_under_way(ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError("disk full")

    all_under_way = threading.Barrier(3)

    def one_first(_: str) -> dict[str, Any]:
        if all_under_way.wait(timeout=10):
            time.sleep(0.3)
        return completion(rewrite("Describe it.", "Small."))

    gpt.say = one_first
    gpt.teaches(ready)
    monkeypatch.setattr(ready.lake, "append", fails)
    monkeypatch.setattr("assets.reflection.reflect_pending.commit_batches", partial(commit_batches, rows=1))
    with pytest.raises(OSError) as failure:  # kept: its traceback holds on to the step's generators
        ready.run(instruction_reflections)
    assert (str(failure.value), in_ledger(ready)) == ("disk full", 3)
    assert "teacher" not in {thread.name for thread in threading.enumerate()}


def test_progress_says_how_far_how_fast_and_what_it_cost(
    ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_progress, "EVERY_S", 0.0)
    gpt.teaches(ready, {"prices": {"small": {"input": 400, "output": 1600}}})  # 12 cents a reply
    resources = {"lake": ready.lake, "profile": ready.profile}
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([instruction_reflections], instance=instance, resources=resources)
    observed = [
        event.asset_observation_data.asset_observation.metadata
        for event in run.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
    ]
    said = r"instruction_reflection by gpt: 3/3 replies, [\d.,]+/s, ETA 0:00, \$0\.36 so far"
    assert (len(observed), bool(re.fullmatch(said, str(observed[-1][PROGRESS_KEY].value)))) == (3, True)
    assert (observed[-1]["done"].value, observed[-1]["total"].value) == (3, 3)


# ── a parser that reads replies differently ────────────────────────────────────────────────────────────────────────

REPLY_COLUMNS = "request_id, teacher, identity, phase, content_id, parse_attempt, reply, finish_reason, attempts"
BOTH = (
    "select reflections.status, replies.status from selection.current_instruction_reflections as reflections "
    "inner join reflection.teacher_replies as replies using (request_id) order by all"
)


def says(prompt: str) -> dict[str, Any]:
    """Of the cat all can be used, of the dog what the next parser reads, of the owl nothing."""
    if "cat" in prompt:
        return completion(rewrite(NEW_CAT[0], NEW_CAT[2]))
    text = rewrite("Describe a dog at night.", "Awake.").replace("[End]", "[Fin]") if "dog" in prompt else "No."
    return completion(text, finish_reason="abort")


def never(prompt: str) -> dict[str, Any]:
    raise AssertionError(prompt)


def replies_by_id(flow: Flow) -> dict[str, tuple[Any, ...]]:
    rows = flow.lake.read(f"select {REPLY_COLUMNS}, status from reflection.teacher_replies").rows()
    return {row[0]: row for row in rows}


def test_another_parser_reads_replies_again_and_asks_nobody(
    ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt.say = says
    gpt.teaches(ready, parse_attempts=1)
    ready.run(instruction_reflections)
    ready.run(teacher_replies)
    before = replies_by_id(ready)
    statuses = "select pair_id, status, output from selection.current_instruction_reflections order by all"
    old = {row[0]: row[1:] for row in ready.lake.read(statuses).rows()}
    assert {status for status, _ in old.values()} == {"ok", "missing_tag"} and len(before) == len(gpt.asked) == 5

    second_parser(monkeypatch)
    gpt.say = never
    for asset in (teachers, instruction_reflections, teacher_replies):
        ready.run(asset)
    assert len(gpt.asked) == 5
    new = {row[0]: row[1:] for row in ready.lake.read(statuses).rows()}
    assert new == {**old, content_id(*DOG): ("ok", "Awake.")}
    after = replies_by_id(ready)
    assert {i: row[:-1] for i, row in after.items()} == {i: row[:-1] for i, row in before.items()}
    assert {row[4] for i, row in after.items() if row != before[i]} == {content_id(*DOG)}
    assert ready.lake.read(BOTH).rows() == [("missing_tag", "missing_tag"), ("ok", "ok"), ("ok", "ok")]
    costs = ready.lake.read("select status, replies from reflection.teacher_costs order by status").rows()
    assert costs == [("missing_tag", 2), ("ok", 3)]


def test_replies_are_read_again_once_and_appended_to_otherwise(
    ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt.say = says
    gpt.teaches(ready, parse_attempts=0)
    ready.run(instruction_reflections)
    first = ready.run(teacher_replies)
    assert version(ready.run(teacher_replies)) == version(first)
    before = ready.lake.snapshot_id()
    second_parser(monkeypatch)
    again = ready.run(teacher_replies)
    assert (ready.lake.snapshot_id(), version(again) == version(first)) == (before + 1, False)
    assert version(ready.run(teacher_replies)) == version(again)
    assert ready.lake.snapshot_id() == before + 1
    versions = "select distinct parser_version from reflection.teacher_replies"
    assert ready.lake.read(versions).rows() == [(NEXT_VERSION,)]


def test_plain_replies_are_read_again_by_their_own_version(
    ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt.say = lambda _: completion("<answer>Dark</answer>, mostly.")
    gpt.teaches(ready, prompts={"variant": "plain"})
    monkeypatch.setattr(parser, "PLAIN_VERSION", "1")
    ready.run(instruction_reflections)
    ready.run(teacher_replies)
    monkeypatch.undo()
    gpt.say = never
    for asset in (teachers, instruction_reflections, teacher_replies):
        ready.run(asset)
    outputs = "select distinct status, output from selection.current_instruction_reflections"
    assert ready.lake.read(outputs).rows() == [("ok", "<answer>Dark</answer>, mostly.")]
    versions = "select distinct parser_version from reflection.teacher_replies"
    assert ready.lake.read(versions).rows() == [(parser.version_of("new_answer"),)]
    before = ready.lake.snapshot_id()
    ready.run(teacher_replies)
    assert ready.lake.snapshot_id() == before


def test_replies_of_a_lake_from_before_parsers_counted_are_of_the_first(
    ready: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "PARSER_VERSION", parser.FIRST_VERSION)
    gpt.say = says
    gpt.teaches(ready, parse_attempts=0)
    ready.run(instruction_reflections)
    expected, rows = ready.run(teacher_replies), replies_by_id(ready)

    def as_before(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("update reflection.teacher_replies set parser_version = null")
        connection.execute("update reflection.teacher_replies set status = null where status = 'ok'")

    ready.lake.write(as_before, Commit("by hand"))
    assert version(ready.run(teacher_replies)) == version(expected)
    assert replies_by_id(ready) == rows
    versions = "select status, parser_version from reflection.teacher_replies order by all"
    assert ready.lake.read(versions).rows() == [("missing_tag", None), ("missing_tag", None), ("ok", "1")]
