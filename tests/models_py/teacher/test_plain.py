"""Plain words, for small models: one text a request, two requests in the first phase."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_py.content import content_id
from models_py.errors import UserError
from models_py.teacher import parser
from models_py.teacher.estimate import estimate
from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher, Try, open_teacher
from models_py.teacher.parser import ParsedReply, parse_reply
from models_py.teacher.prompt import load_prompts
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.replies_file import export_replies
from models_py.teacher.request import (
    BETTER_ANSWER,
    INSTRUCTION_REFLECTION,
    NEW_ANSWER,
    NEW_INSTRUCTION,
    RESPONSE_REFLECTION,
    Sampling,
    TeacherReply,
    TeacherRequest,
)
from models_py.teacher.spec import OpenAISettings, PromptSettings, RecordedSettings, TeacherSpec
from tests.support.engines import REWRITE, Say, Scripted, asked, pair_of, said

PLAIN = PromptSettings(variant="plain")
PAIRS = [pair_of("Name a sea.", "In Europe."), pair_of("Name a river.", output="Rhine.")]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "teacher.sqlite") as opened:
        yield opened


def plain(say: Say, **settings: Any) -> OpenTeacher:
    engine = Scripted(say)
    spec = TeacherSpec("small", OpenAISettings(model="m", prompts=PLAIN, **settings))
    return OpenTeacher(spec, engine, load_prompts("small", PLAIN))


def speaks(request: TeacherRequest) -> TeacherReply:
    lines = request.messages[-1].content.splitlines()
    if request.phase == NEW_INSTRUCTION:
        return said(request, f"Harder: {lines[2]}")
    return said(request, f"Answer to <{lines[0]}>" if request.phase == NEW_ANSWER else "Better.")


def test_each_request_shows_what_it_is_about_and_no_tag() -> None:
    teacher = plain(speaks)
    shown = {name: teacher.request(name, PAIRS[0]).messages for name in (NEW_INSTRUCTION, NEW_ANSWER, BETTER_ANSWER)}
    assert {one.role for messages in shown.values() for one in messages} == {"user"}
    for messages in shown.values():
        assert "Name a sea." in messages[0].content and "[" not in messages[0].content
        assert "Baltic." not in messages[0].content
    assert "In Europe." in shown[NEW_INSTRUCTION][0].content and "In Europe." in shown[BETTER_ANSWER][0].content
    assert shown[NEW_ANSWER][0].content == "Name a sea."


def test_the_first_phase_is_a_new_instruction_and_then_its_answer(ledger: Ledger) -> None:
    teacher = plain(speaks)
    outcomes = {one.pair.pair_id: one for one in reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger)}
    assert [one.phase for one in asked(teacher)] == [NEW_INSTRUCTION] * 2 + [NEW_ANSWER] * 2
    for pair in PAIRS:
        one = outcomes[pair.pair_id]
        assert one.pair is pair and one.status == "ok" and one.critique is None
        assert one.instruction == f"Harder: {pair.instruction}"
        assert one.output == f"Answer to <Harder: {pair.instruction}>"
        assert one.content_id == content_id(one.instruction, "", one.output)
        assert one.request_id in {request.request_id for request in asked(teacher)[2:]}


def test_the_second_phase_is_one_request(ledger: Ledger) -> None:
    teacher = plain(speaks)
    (one, _) = reflect_pairs(RESPONSE_REFLECTION, PAIRS, teacher, ledger)
    assert [one.phase for one in asked(teacher)] == [BETTER_ANSWER] * 2
    assert (one.status, one.instruction, one.output) == ("ok", None, "Better.")
    assert one.content_id == content_id(one.pair.instruction, one.pair.input, "Better.")


def test_a_pair_without_a_new_instruction_is_asked_for_no_answer(ledger: Ledger) -> None:
    teacher = plain(lambda one: said(one, " ") if "river" in one.messages[0].content else speaks(one), parse_attempts=1)
    outcomes = {one.pair.pair_id: one.status for one in reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger)}
    assert outcomes == {PAIRS[0].pair_id: "ok", PAIRS[1].pair_id: "empty"}
    asked_of_river = [one for one in asked(teacher) if "river" in one.messages[0].content]
    assert [(one.phase, one.parse_attempt) for one in asked_of_river] == [(NEW_INSTRUCTION, 0), (NEW_INSTRUCTION, 1)]


def test_an_answer_that_cannot_be_used_is_asked_again_and_then_is_the_pairs_status(ledger: Ledger) -> None:
    def say(one: TeacherRequest) -> TeacherReply:
        if one.phase == NEW_ANSWER and "sea" in one.messages[0].content:
            return said(one, "Be kind to others. Be honest with others. " * 40, "length")
        return said(one, " ") if one.phase == NEW_ANSWER and not one.parse_attempt else speaks(one)

    teacher = plain(say, parse_attempts=1)
    outcomes = {one.pair.pair_id: one for one in reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger)}
    sea, river = (outcomes[pair.pair_id] for pair in PAIRS)
    assert (sea.status, sea.instruction, sea.output, sea.content_id) == ("repetitive", None, None, None)
    assert (river.status, river.instruction) == ("ok", "Harder: Name a river.")
    assert {one.sampling.max_tokens for one in asked(teacher) if one.phase == NEW_ANSWER} == {512}


def test_what_the_ledger_holds_is_not_asked_again_wherever_a_run_ended(ledger: Ledger) -> None:
    first = plain(speaks)
    assert isinstance(first.engine, Scripted)
    first.engine.stop_after = 3  # both new instructions and one answer
    assert len(list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, first, ledger))) == 1
    again = plain(speaks)
    outcomes = list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, again, ledger))
    assert [one.status for one in outcomes] == ["ok", "ok"]
    assert [one.phase for one in asked(again)] == [NEW_ANSWER]


def test_limits_are_short_and_no_higher_than_the_profile_says() -> None:
    teacher, frugal = plain(speaks), plain(speaks, sampling=Sampling(max_tokens=100))
    limits = [teacher.sampling(FIRST_TRY, name).max_tokens for name in (NEW_INSTRUCTION, NEW_ANSWER, BETTER_ANSWER)]
    assert limits == [192, 512, 512]
    assert frugal.sampling(FIRST_TRY, NEW_ANSWER).max_tokens == 100
    assert teacher.sampling(Try(1, raised=True), NEW_ANSWER).max_tokens == 1024


@pytest.mark.parametrize(
    ("reply", "finish", "status", "text"),
    [
        ("Name three seas.", "stop", "ok", "Name three seas."),
        ("\n Two lines,\nkept.\n", "stop", "ok", "Two lines,\nkept."),
        ("<think>Which?</think>\nThe Baltic.", "stop", "ok", "The Baltic."),
        ("The Baltic.<|im_end|>", "stop", "ok", "The Baltic."),
        ("Use [New Answer] and [End] as tags.", "stop", "ok", "Use [New Answer] and [End] as tags."),
        ("I'm sorry that I broke your vase. I will buy you another one.", "stop", "ok", None),
        ("I'm sorry, but I can't help with that.", "stop", "refused", None),
        ("The Baltic is", "length", "truncated", None),
        ("The Baltic.", "repetition", "repetitive", None),
        ("", "stop", "empty", None),
        ("<think>Which?", "length", "truncated", None),
        ("...", "stop", "placeholder", None),
        ("N/A", "stop", "placeholder", None),
        ("?", "content_filter", "refused", None),
    ],
)
@pytest.mark.parametrize("request_name", [NEW_INSTRUCTION, NEW_ANSWER, BETTER_ANSWER])
def test_the_whole_reply_is_the_text(request_name: str, reply: str, finish: str, status: str, text: str | None) -> None:
    parsed = parse_reply(request_name, reply, finish)
    assert parsed.status == status
    if status == "ok":
        found = parsed.instruction if request_name == NEW_INSTRUCTION else parsed.output
        assert found == (text or reply)
        assert (parsed.output if request_name == NEW_INSTRUCTION else parsed.instruction) is None


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<answer>42</answer>", "42"),
        ("<|begin_of_box|>42<|end_of_box|>\n", "42"),
        ("<s> 42</s>", "42"),
        ("<s>[INST] 42</s><s>[INST] And then?", "42"),
        ("<s>42</s><|im_end|>", "42"),
        *(
            (whole, whole)
            for whole in (
                "<answer>42</answer>, because 6 x 7 = 42.",
                "<output>Hello</output> is HTML's element for results.",
                "<output>1</output>\n<output>2</output>",
                "<output> is an element of HTML.",
                "<answer>12345678",
                "<s>Old price</s> New price: 5 EUR",
                "<s>Po</s> <b>Rhine</b></s>",
            )
        ),
    ],
)
def test_what_does_not_surround_the_whole_reply_is_part_of_it(reply: str, text: str) -> None:
    assert parse_reply(NEW_ANSWER, reply, "stop") == ParsedReply("ok", output=text)


def test_none_is_no_instruction_but_may_be_an_answer() -> None:
    assert parse_reply(NEW_INSTRUCTION, "None", "stop").status == "placeholder"
    assert parse_reply(NEW_ANSWER, "None", "stop").output == "None"


def test_an_estimate_counts_both_requests_of_the_first_phase(ledger: Ledger) -> None:
    teacher = plain(speaks)
    found = estimate(teacher, PAIRS, ledger, bases=1)
    first, second = found.phases
    assert (first.wanted, first.missing, second.wanted, second.missing) == (2, 2, 2, 2)
    assert (first.low.requests, second.low.requests) == (4, 2)
    assert isinstance(teacher.engine, Scripted)
    teacher.engine.stop_after = 3
    list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger))
    first = estimate(plain(speaks), PAIRS, ledger, bases=1).phases[0]
    assert (first.missing, first.low.requests) == (1, 1)


def test_an_export_is_a_recorded_teacher_with_the_same_words(ledger: Ledger, tmp_path: Path) -> None:
    teacher = plain(speaks)
    asked_for = list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger))
    assert export_replies(ledger, tmp_path / "replies.jsonl", teacher) == 4
    settings = RecordedSettings(replies=tmp_path / "replies.jsonl", prompts=PLAIN)
    recorded = open_teacher(TeacherSpec("tape", settings))
    recorded.engine.check_knows([pair.content_id for pair in PAIRS])
    with Ledger(tmp_path / "other.sqlite") as other:
        replayed = list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, recorded, other))
    assert {one.output for one in replayed} == {one.output for one in asked_for}


def test_another_second_prompt_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ instruction }} Be brief.")
    own = PromptSettings(variant="plain", new_answer=tmp_path / "mine.jinja")
    teachers = [open_teacher(TeacherSpec("s", OpenAISettings(model="m", prompts=one))) for one in (PLAIN, own)]
    assert len({teacher.prompt_version(INSTRUCTION_REFLECTION) for teacher in teachers}) == 2
    assert len({teacher.prompt_version(RESPONSE_REFLECTION) for teacher in teachers}) == 1


@pytest.mark.parametrize("phase", [INSTRUCTION_REFLECTION, RESPONSE_REFLECTION])
def test_another_reading_of_plain_replies_is_another_version_of_them_alone(
    phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OpenAISettings(model="m", prompts=PLAIN), OpenAISettings(model="m")
    both = [open_teacher(TeacherSpec("s", one)) for one in settings]
    before = [teacher.prompt_version(phase) for teacher in both]
    monkeypatch.setattr(parser, "PLAIN_VERSION", "another")
    after = [teacher.prompt_version(phase) for teacher in both]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"variant": "plain", "instruction_reflection": Path("a")},
            "^instruction_reflection: is no request of variant",
        ),
        (
            {"new_answer": Path("a")},
            "^new_answer: is no request of variant record_first, which asks for instruction_ref",
        ),
    ],
)
def test_a_file_that_no_request_would_use_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        PromptSettings(**settings)


def test_tagged_words_are_asked_for_as_before(ledger: Ledger) -> None:
    engine = Scripted(lambda one: said(one, REWRITE))
    teacher = OpenTeacher(TeacherSpec("gpt", OpenAISettings(model="m")), engine, load_prompts("gpt"))
    assert [one.status for one in reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger)] == ["ok", "ok"]
    assert {one.phase for one in engine.asked} == {INSTRUCTION_REFLECTION}
