"""evaluation.verdicts and win_rates: a judge behind a real server compares answers, in both orders and once."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation.annotations import annotations
from assets.evaluation.judges import judges
from assets.evaluation.opponents import opponents
from assets.evaluation.verdicts import verdicts
from assets.evaluation.win_rates import win_rates
from assets.reflection.mirror_replies import mirror_replies
from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from tests.assets.conftest import version
from tests.support.lakes import snapshots
from tests.support.servers import ChatServer, completion
from tests.support.trained import INSTRUCTION_SET, Trained, answer_by_hand

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
DIFFERING = 4  # pairs of answers of a checkpoint and its base


class Judge:
    """Says what `say` makes of both answers; `asked` holds them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.say: Callable[[str, str], str] = lambda one, two: f"{6 + (one > two)} {6 + (two > one)}\nThat is why."
        self.url = ""

    def __call__(self, body: dict[str, Any], _: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][-1]["content"]
        one, two = (prompt.split(f"<answer_{side}>\n", 1)[1].split(f"\n</answer_{side}>", 1)[0] for side in (1, 2))
        self.asked.append((one, two))
        return 200, completion(self.say(one, two))

    def settings(self, **changes: object) -> dict[str, Any]:
        return {"engine": "openai", "model": "small", "base_url": self.url, "api_key_env": None, **changes}


@pytest.fixture
def judge() -> Iterator[Judge]:
    judge = Judge()
    with ChatServer(answer=judge) as server:
        judge.url = server.url
        yield judge


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`half`, `paper` and their base have answered three instructions."""
    trained = Trained(tmp_path_factory.mktemp("trained") / "mine")
    answer_by_hand(trained)
    return trained


@pytest.fixture
def trained(answered: Trained, tmp_path: Path) -> Trained:
    trained = answered.copy(tmp_path / "mine")
    trained.configure(**INSTRUCTION_SET)
    return trained


def judged_by(trained: Trained, judge: Judge, settings: Mapping[str, Any] | None = None, **evaluation: object) -> Any:
    """Have it judge, and the result of evaluation.verdicts."""
    trained.configure(**{**INSTRUCTION_SET, "judges": {"gpt": judge.settings(**(settings or {}))}, **evaluation})
    for asset in (judges, opponents):
        trained.run(asset)
    return trained.run(verdicts)


def rates(trained: Trained, columns: str = "model_name, opponent_name, wins, ties, losses") -> list[tuple[Any, ...]]:
    trained.run(annotations)
    trained.run(win_rates)
    return trained.lake.read(f"select {columns} from evaluation.win_rates order by all").rows()


def test_each_checkpoint_meets_its_base_in_both_orders_and_nobody_is_asked_twice(
    trained: Trained, judge: Judge
) -> None:
    result = judged_by(trained, judge)
    differing = DIFFERING
    assert differing > 0
    rows = trained.lake.read("select * from evaluation.verdicts")
    assert rows.height == 2 * DIFFERING
    assert len(judge.asked) == len({*judge.asked}) == 6  # equal texts once, whoever wrote them
    assert {(two, one) for one, two in judge.asked} == {*judge.asked}
    assert {*rows["status"]} == {"ok"}
    assert all(row["score_1"] in (6.0, 7.0) and row["reply"].endswith("That is why.") for row in rows.to_dicts())
    asked, before = len(judge.asked), snapshots(trained.lake)
    assert version(trained.run(verdicts)) == version(result)
    assert (len(judge.asked), snapshots(trained.lake)) == (asked, before)
    # The judge prefers the greater text: that is no matter of order, so there is no tie but of the same answers.
    for name, _, wins, ties, losses, first_share, unjudged in rates(
        trained, "model_name, opponent_name, wins, ties, losses, first_position_share, unjudged"
    ):
        assert name in ("half", "paper")
        assert (wins, ties, losses, unjudged, first_share) == (0, 1, 2, 0, 0.5)  # `half Sea` < `paper Sea` < `toy Sea`


def test_win_rates_against_the_base_are_a_metric_of_the_comparison(trained: Trained, judge: Judge) -> None:
    judged_by(trained, judge)
    won = dict(rates(trained, "model_name, win_rate"))
    metric = (
        "select metric, name, sum(value) / sum(weight) from evaluation.metric_rows join evaluation.models using (model)"
    )
    rows = trained.lake.read(f"{metric} group by all order by name").rows()
    assert [(name, rate) for _, name, rate in rows] == [*sorted(won.items()), ("toy (base)", 0.5)]
    assert {one for one, _, _ in rows} == {"win rate on set, gpt"}


def test_a_judge_that_likes_what_comes_first_ties_everything_and_is_found_out(trained: Trained, judge: Judge) -> None:
    judge.say = lambda one, two: "9 5"
    judged_by(trained, judge)
    for wins, ties, losses, share, rate, paper, p in rates(
        trained, "wins, ties, losses, first_position_share, win_rate, paper_rate, sign_test_p"
    ):
        assert (wins, ties, losses) == (0, 3, 0), "two by order, one of the same answers"
        assert (share, rate, paper, p) == (1.0, 0.5, 1.0, None)


def test_an_unreadable_verdict_is_asked_again_then_counted_with_its_reason(trained: Trained, judge: Judge) -> None:
    tries: dict[tuple[str, str], int] = {}

    def say(one: str, two: str) -> str:
        tries[one, two] = tries.get((one, two), 0) + 1
        if one > two:
            return "Hard to say."
        return "Well, both are fine." if tries[one, two] == 1 else "5 8"

    judge.say = say
    result = judged_by(trained, judge, {"parse_attempts": 1})
    assert {*tries.values()} == {2}
    statuses = dict(trained.lake.read("select status, count(*) from evaluation.verdicts group by all").rows())
    assert statuses["ok"] == statuses["unreadable"] == DIFFERING
    told = result.metadata["told"].splitlines()
    assert told == [
        f"gpt: {statuses['unreadable']:,} verdicts cannot be read: no line holds two scores: 'Hard to say.'"
    ]
    wins_and_ties = rates(trained, "wins, losses, unreadable, ties = identical")
    assert all((wins, losses) == (0, 0) and same for wins, losses, _, same in wins_and_ties)
    assert sum(unreadable for _, _, unreadable, _ in wins_and_ties) == statuses["unreadable"]


def test_a_judge_of_whom_nothing_can_be_read_ends_the_step(trained: Trained, judge: Judge) -> None:
    judge.say = lambda one, two: "I am sorry, I cannot."
    with pytest.raises(UserError, match=r"evaluation\.judges\.gpt: .* gave no verdict that can be read(.|\n)*declines"):
        judged_by(trained, judge, {"parse_attempts": 0})


def test_the_budget_is_the_judges_own_and_the_next_run_goes_on(trained: Trained, judge: Judge) -> None:
    with pytest.raises(UserError, match=r"evaluation\.judges\.gpt\.budget\.max_requests 1 is reached: 1 replies"):
        judged_by(trained, judge, {"budget": {"max_requests": 1}, "concurrency": 1})
    assert trained.lake.scalar("select count(*) from evaluation.verdicts") in (1, 2)  # equal texts of two checkpoints
    judged_by(trained, judge)
    assert trained.lake.scalar("select count(*) from evaluation.verdicts") == 2 * DIFFERING
    assert len(judge.asked) == len({*judge.asked})


def test_what_the_server_refuses_is_asked_again_by_the_next_run(trained: Trained, judge: Judge) -> None:
    judge.say = lambda one, two: "8 7"
    answer = judge.__call__
    broken = {"on": True}

    def failing(body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if broken["on"] and len(judge.asked) >= 1:
            return 400, {"error": {"message": "this text is too blue"}}
        return answer(body, headers)

    with ChatServer(answer=failing) as server:
        judge.url = server.url
        judged_by(trained, judge, {"concurrency": 1})
        failed = "select count(*) from evaluation.verdicts where status = 'failed'"
        count = trained.lake.scalar(failed)
        assert int(str(count)) > 0
        assert sum(unjudged for (unjudged,) in rates(trained, "unjudged")) > 0
        trained.run(verdicts)
        assert trained.lake.scalar(failed) == count  # not stored twice
        broken["on"] = False
        trained.run(verdicts)
    assert sum(unjudged for (unjudged,) in rates(trained, "unjudged")) == 0


def test_another_prompt_is_another_judge_and_the_old_verdicts_come_back(
    trained: Trained, judge: Judge, tmp_path: Path
) -> None:
    judged_by(trained, judge)
    first, asked = rates(trained), len(judge.asked)
    (trained.folder / "mine.jinja").write_text(
        "Which is better, for {{ instruction }}?\n<answer_1>\n{{ answer_1 }}\n</answer_1>\n"
        "<answer_2>\n{{ answer_2 }}\n</answer_2>\nTwo scores."
    )
    judge.say = lambda one, two: "3 3"
    judged_by(trained, judge, {"prompts": {"verdict": "mine.jinja"}})
    assert len(judge.asked) == 2 * asked
    assert {row[2:] for row in rates(trained)} == {(0, 3, 0)}
    judged_by(trained, judge)
    assert (rates(trained), len(judge.asked)) == (first, 2 * asked)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ answer_1 }} or {{ answer_2 }}?", r"evaluation\.judges\.gpt\.prompts\.verdict: .* never shows instruction"),
        ("{{ instruction }} {{ answer_1 }}", "never shows answer_2"),
        ("{{ instruction }} {{ answer_1 }} {{ answer_2 }} {{ output }}", "unknown variable 'output'"),
        ("{{ instruction }} {{ answer_1 }} {{ answer_2", "Correct the template"),
        ("{% block x %}{{ instruction }}{{ answer_1 }}{{ answer_2 }}{% endblock %}", "has the blocks x"),
    ],
)
def test_a_prompt_that_cannot_ask_is_refused(trained: Trained, judge: Judge, template: str, told: str) -> None:
    (trained.folder / "mine.jinja").write_text(template)
    settings = judge.settings(prompts={"verdict": "mine.jinja"})
    trained.configure(**INSTRUCTION_SET, judges={"gpt": settings})
    with pytest.raises(UserError, match=told):
        trained.run(judges)


def test_without_a_judge_there_are_no_verdicts_and_that_is_told(trained: Trained) -> None:
    for asset in (judges, opponents):
        trained.run(asset)
    result = trained.run(verdicts)
    assert result.metadata["told"].startswith("No judge: no verdicts.")
    assert rates(trained) == []
    assert trained.run(win_rates).metadata["told"].startswith("Nobody has judged any answers")


def test_a_recorded_judge_answers_from_what_another_said(trained: Trained, judge: Judge) -> None:
    from models_py.teacher.replies_file import export_replies

    judged_by(trained, judge)
    before = rates(trained)
    with Ledger(trained.profile.ledger_path) as ledger:
        export_replies(ledger, trained.folder / "all.jsonl")
    lines = (trained.folder / "all.jsonl").read_text().splitlines(keepends=True)
    of_verdicts = [line for line in lines if json.loads(line)["phase"] == "verdict"]
    assert len(of_verdicts) == len(judge.asked)
    (trained.folder / "verdicts.jsonl").write_text("".join(of_verdicts))
    trained.configure(**INSTRUCTION_SET, judges={"tape": {"engine": "recorded", "replies": "verdicts.jsonl"}})
    for asset in (judges, opponents, verdicts):
        trained.run(asset)
    assert rates(trained) == before
    assert rates(trained, "distinct judge") == [("tape",)]


def test_verdicts_are_no_replies_of_a_teacher(trained: Trained, judge: Judge) -> None:
    judged_by(trained, judge)
    before = trained.lake.scalar("select count(*) from reflection.teacher_replies")
    with Ledger(trained.profile.ledger_path) as ledger:
        mirror_replies(trained.lake, ledger, "run")
        assert [row for row in ledger.all_since() if row.teacher == "gpt" and row.phase == "verdict"] == []
        assert ledger.spent("evaluation.judges.gpt").requests == len(judge.asked)
    assert trained.lake.scalar("select count(*) from reflection.teacher_replies where phase = 'verdict'") == 0
    assert trained.lake.scalar("select count(*) from reflection.teacher_replies") == before


def test_opponents_are_whom_the_profile_names(trained: Trained) -> None:
    def met(*names: str) -> list[tuple[Any, ...]]:
        trained.configure(**INSTRUCTION_SET, opponents=list(names))
        trained.run(opponents)
        query = """
        select models.name, others.name, why from evaluation.opponents
        inner join evaluation.models as models using (model)
        inner join evaluation.models as others on others.model = opponent order by all
        """
        return trained.lake.read(query).rows()

    against_base = [("half", "toy (base)", "base"), ("paper", "toy (base)", "base")]
    assert met("base", "original") == against_base  # there is no recipe `original` in that profile
    assert met("half") == [("paper", "half", "half")]
    assert met("base", "paper") == sorted([*against_base, ("half", "paper", "paper")])
    assert met() == []


def test_annotations_stand_beside_our_own_verdicts(trained: Trained, judge: Judge) -> None:
    common = {
        "generator_1": "davinci",
        "generator_2": "paper",
        "annotator": "gpt4",
        "output_1": "abc",
        "output_2": "de",
    }
    rows = [{**common, "instruction": f"q{number}", "preference": 1 + number / 2} for number in range(3)]
    rows.append({**common, "instruction": "q", "preference": None})
    (trained.folder / "annotations.json").write_text(json.dumps(rows))
    judged_by(trained, judge, annotations=[{"name": "file", "path": "annotations.json"}])
    columns = "judge, model_name, opponent_name, instruction_set, wins, ties, losses, unreadable, win_rate"
    found = rates(trained, columns)
    assert ("gpt4", "paper", "davinci", "file", 1, 1, 1, 1, 0.5) in found
    assert {row[0] for row in found} == {"gpt", "gpt4"}
    assert trained.lake.scalar("select count(*) from evaluation.annotations") == 4
    plot = trained.run(win_rates).metadata["rates_plot"].value
    assert plot.startswith("![rates](data:image/png;base64,")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_published_verdicts_come_out_as_published(trained: Trained) -> None:
    files = [
        {"name": "recycled", "path": str(SHARED / "alpaca_eval_verdicts.jsonl")},
        {"name": "weighted", "path": str(SHARED / "alpaca_eval_weighted.jsonl")},
    ]
    trained.configure(**INSTRUCTION_SET, annotations=files)
    columns = "judge, model, opponent, wins, losses, unreadable, 100 * win_rate, 100 * length_controlled_rate"
    recycled, weighted = rates(trained, columns)
    assert recycled[:6] == ("recycled", "recycled-wizardlm-7b-v1.0", "text_davinci_003", 635, 170, 0)
    assert recycled[6:] == (pytest.approx(78.882, abs=0.0005), pytest.approx(38.82, abs=0.005))
    assert weighted[:3] == ("weighted", "model", "baseline")
    assert weighted[6] == pytest.approx(2.5915, abs=0.00005)
    assert weighted[7] > weighted[6]
