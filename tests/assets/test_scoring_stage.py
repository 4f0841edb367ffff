"""scoring: what is pending is scored once, in commits; nothing pending loads no model; a failure keeps its reason."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.raw.raw_pairs import raw_pairs
from assets.reflection.instruction_reflections import instruction_reflections
from assets.scoring import score_pending
from assets.scoring.instruction_scores import instruction_scores
from dagster_project.lakehouse.lake import Commit
from dagster_project.steps.commits import commit_batches
from models_py.content import content_id
from models_py.errors import UserError
from models_py.student import loading, scorer
from models_py.student.scorer import ScoreRequest, ScoreRow
from tests.assets.conftest import CAT, DOG, NEW_CAT, OWL, Flow, version
from tests.support.lakes import snapshots

Score = Callable[[ScoreRequest], ScoreRow]


def sound(request: ScoreRequest) -> ScoreRow:
    return ScoreRow(request.content_id, 6.0, 3.0, 2, None, None, None, False, "ok", None)


def not_finite(request: ScoreRequest) -> ScoreRow:
    return ScoreRow(request.content_id, None, None, None, None, None, None, False, "not_finite", "answer: NaN")


class FakeScorer:
    """Answers from `score` and remembers what was asked; stands for torch, which these tests are not about."""

    score_one: Score = staticmethod(sound)
    asked: list[ScoreRequest]
    loaded: int
    tokens_scored = 7
    path = "packs"
    paths_left: tuple[str, ...] = ()

    def __init__(self, model: object, chat: object) -> None:
        type(self).loaded += 1

    def score(self, requests: Iterable[ScoreRequest], on_progress: Any, total: int) -> Iterator[ScoreRow]:
        for request in requests:
            type(self).asked.append(request)
            yield type(self).score_one(request)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeScorer]:
    FakeScorer.asked, FakeScorer.loaded, FakeScorer.score_one = [], 0, staticmethod(sound)
    FakeScorer.paths_left = ()
    monkeypatch.setattr(scorer, "Scorer", FakeScorer)
    monkeypatch.setattr(loading, "load_model", lambda student: None)
    monkeypatch.setattr(loading, "load_chat", lambda student: None)
    return FakeScorer


@pytest.fixture(scope="module")
def start(new_flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    flow = new_flow.copy(tmp_path_factory.mktemp("start"))
    list(flow.run(raw_pairs))
    for asset in (recipes, students, teachers, instruction_reflections):
        flow.run(asset)
    return flow


@pytest.fixture
def ready(start: Flow, tmp_path: Path, fake: type[FakeScorer]) -> Flow:
    return start.copy(tmp_path)


FOUR = sorted(content_id(*pair) for pair in (CAT, DOG, OWL, NEW_CAT))


def test_every_text_is_scored_for_its_ifd_terms(ready: Flow, fake: type[FakeScorer]) -> None:
    result = ready.run(instruction_scores)
    assert sorted(request.content_id for request in fake.asked) == FOUR
    assert all(request.answer_terms and not request.instruction_terms for request in fake.asked)
    assert NEW_CAT in {(request.instruction, request.input, request.output) for request in fake.asked}
    assert (result.metadata["dagster/row_count"], result.metadata["status/ok"]) == (4, 4)
    ifd = ready.lake.scalar(
        "select selection.ppl_ratio(answer_nll_given_instruction, answer_nll, answer_tokens) "
        "from scoring.instruction_scores"
    )
    assert ifd == pytest.approx(0.22313016014842982)


def test_a_faster_path_that_is_not_taken_is_told_with_the_reason(ready: Flow, fake: type[FakeScorer]) -> None:
    fake.paths_left = ("scoring does not use packs for Mamba: it has no attention",)
    metadata = ready.run(instruction_scores).metadata
    assert metadata["toy/path"] == "packs"
    assert metadata["toy/paths_left"] == metadata["told"] == fake.paths_left[0]
    assert "told" not in ready.run(instruction_scores).metadata


def test_what_max_length_left_out_is_told(ready: Flow, fake: type[FakeScorer]) -> None:
    cut: dict[str, dict[str, Any]] = {
        FOUR[0]: {"truncated": True},
        FOUR[1]: {"truncated": True, "history_truncated": True},
    }
    fake.score_one = staticmethod(lambda request: replace(sound(request), **cut.get(request.content_id, {})))
    told = (
        "2 of 4 texts are scored without their end (max_length)\n"
        "1 of 4 texts are scored without the oldest turns before them (max_length)"
    )
    assert ready.run(instruction_scores).metadata["told"] == told
    assert ready.run(instruction_scores).metadata["told"] == told  # nothing was scored: it is still so
    ready.lake.write(lambda lake: lake.execute("delete from raw.raw_pairs"), Commit("the sources have none of it now"))
    assert "told" not in ready.run(instruction_scores).metadata


def test_what_does_not_fit_into_memory_is_told_and_stays_pending(ready: Flow, fake: type[FakeScorer]) -> None:
    fake.score_one = staticmethod(
        lambda request: replace(sound(request), status="out_of_memory") if request.output == OWL[2] else sound(request)
    )
    for asked in (4, 1):
        fake.asked = []
        metadata = ready.run(instruction_scores).metadata
        assert len(fake.asked) == asked and metadata["status/ok"] == metadata["dagster/row_count"] == 3
        assert metadata["told"].startswith("1 texts do not fit into memory. Free memory, ")
    fake.score_one = staticmethod(sound)
    metadata = ready.run(instruction_scores).metadata
    assert metadata["status/ok"] == 4 and "told" not in metadata


def test_nothing_pending_loads_no_model(ready: Flow, fake: type[FakeScorer]) -> None:
    first = version(ready.run(instruction_scores))
    snapshot = ready.lake.snapshot_id()
    assert version(ready.run(instruction_scores)) == first
    assert (fake.loaded, ready.lake.snapshot_id()) == (1, snapshot)


def test_a_failed_score_is_null_with_its_reason(ready: Flow, fake: type[FakeScorer]) -> None:
    fake.score_one = staticmethod(
        lambda request: not_finite(request) if request.content_id == FOUR[0] else sound(request)
    )
    result = ready.run(instruction_scores)
    row = ready.lake.read(
        "select answer_nll, status, reason from scoring.instruction_scores where content_id = ?", [FOUR[0]]
    )
    assert row.rows() == [(None, "not_finite", "answer: NaN")]
    assert result.metadata["status/not_finite"] == 1


def test_scores_that_all_failed_are_stored_too(ready: Flow, fake: type[FakeScorer]) -> None:
    fake.score_one = staticmethod(not_finite)
    ready.run(instruction_scores)
    assert ready.lake.scalar("select count(*) from scoring.instruction_scores where answer_nll is null") == 4


def test_a_crash_keeps_what_was_committed_and_the_next_run_does_the_rest(
    ready: Flow, fake: type[FakeScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_pending, "commit_batches", lambda rows: commit_batches(rows, rows=1))

    def crash(request: ScoreRequest) -> ScoreRow:
        if len(fake.asked) == 3:
            raise MemoryError
        return sound(request)

    before = snapshots(ready.lake)
    fake.score_one = staticmethod(crash)
    with pytest.raises(MemoryError):
        ready.run(instruction_scores)
    assert snapshots(ready.lake) == before + 2
    fake.asked, fake.score_one = [], staticmethod(sound)
    ready.run(instruction_scores)
    assert len(fake.asked) == 2
    assert (
        ready.lake.read("select content_id from scoring.instruction_scores order by 1")["content_id"].to_list() == FOUR
    )


def test_another_student_scores_anew_and_the_old_rows_stop_counting(ready: Flow, fake: type[FakeScorer]) -> None:
    ready.run(instruction_scores)
    (ready.folder / "student" / "model.safetensors").write_text("other weights")
    ready.run(students)
    assert ready.run(instruction_scores).metadata["dagster/row_count"] == 4
    assert (fake.loaded, ready.lake.scalar("select count(*) from scoring.instruction_scores")) == (2, 8)


def test_a_student_that_changed_since_it_was_found_scores_nothing(ready: Flow, fake: type[FakeScorer]) -> None:
    (ready.folder / "student" / "model.safetensors").write_text("other weights")
    with pytest.raises(UserError, match=r"students\.toy: its weights.* have changed since profile/students found them"):
        ready.run(instruction_scores)
    assert (fake.loaded, ready.lake.scalar("select count(*) from scoring.instruction_scores")) == (0, 0)


def test_a_student_that_changes_while_it_is_loaded_scores_nothing(
    ready: Flow, fake: type[FakeScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = ready.folder / "student" / "model.safetensors"
    monkeypatch.setattr(loading, "load_model", lambda student: weights.write_text("[]"))
    with pytest.raises(UserError, match="have changed since"):
        ready.run(instruction_scores)
    assert ready.lake.scalar("select count(*) from scoring.instruction_scores") == 0
