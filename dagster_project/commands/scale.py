"""`make scale`: what more pairs take: cards, hours, dollars, storage, and what breaks first.

    python -m dagster_project.commands.scale [--page docs/scale.md]

Computes from docs/scale/rates.yaml, where each rate has its source, and docs/scale/streams.json, which
benchmarks/streams.py measured. The tables go into docs/scale.md between its marks, the plot beside the rates. Nothing
is run; a rate that is assumed is said to be.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from dagster_project.commands.evidence import write_between
from dagster_project.commands.terminal import Arguments, any_encoding
from dagster_project.root import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "scale.md"
FOLDER = PROJECT_ROOT / "docs" / "scale"
MARKS = ("<!-- computed: begin -->\n", "<!-- computed: end -->\n")
READING = "read the source"  # the step of streams.json that holds all pairs in memory
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Rates:
    """The numbers of rates.yaml by their dotted names, and what was measured of DuckDB and Python.

    sql_cpu_s: of all steps that no model takes. reading_gib: of memory. stored_gb: of Parquet. Each a pair.
    """

    values: Mapping[str, float]
    wanted: tuple[tuple[int, float], ...]
    card: str
    sql_cpu_s: float
    reading_gib: float
    stored_gb: float

    def __getitem__(self, name: str) -> float:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Needs:
    """What so many pairs take. Hours are those of one card or one core."""

    pairs: int
    hours: float  # by when they are to be through
    teacher_h: float
    scoring_h: float
    training_h: float  # on all rows that are kept
    few_rows_h: float
    sql_core_h: float
    hosted_usd: float
    stored_gb: float
    replies_per_s: float
    commits: float

    @property
    def card_h(self) -> float:
        """Of teacher and student, which is trained on few rows."""
        return self.teacher_h + self.scoring_h + self.few_rows_h

    @property
    def cards(self) -> int:
        """How many there must be for that."""
        return max(1, round_up(self.card_h / self.hours))


def needs(rates: Rates, pairs: int, hours: float) -> Needs:
    """What `pairs` take that are to be through in `hours`."""
    reading = rates["card.flops"] * rates["share_of_peak.reading"]
    prompts_s = pairs * rates["pair.prompt_tokens"] * 2 * rates["teacher_parameters"] / reading
    replies_s = pairs * rates["pair.reply_tokens"] / rates["card.written_tokens_per_s"]
    scoring_s = pairs * rates["pair.scored_tokens"] * 2 * rates["student_parameters"] / reading

    def training_h(rows: float) -> float:
        flops = rows * rates["pair.trained_tokens"] * rates["training.epochs"] * 6 * rates["student_parameters"]
        return flops / (rates["card.flops"] * rates["share_of_peak.training"]) / HOUR

    return Needs(
        pairs=pairs,
        hours=hours,
        teacher_h=(prompts_s + replies_s) / HOUR,
        scoring_h=scoring_s / HOUR,
        training_h=training_h(pairs * rates["pair.kept_share"]),
        few_rows_h=training_h(min(rates["training.few_rows"], pairs)),
        sql_core_h=pairs * rates.sql_cpu_s / HOUR,
        hosted_usd=pairs
        * (
            rates["pair.prompt_tokens"] * rates["hosted_teacher.usd_per_million_prompt_tokens"]
            + rates["pair.reply_tokens"] * rates["hosted_teacher.usd_per_million_reply_tokens"]
        )
        / 1e6,
        stored_gb=pairs * rates.stored_gb,
        replies_per_s=pairs * rates["pair.replies"] / (hours * HOUR),
        commits=pairs * rates["pair.replies"] * 2 / rates["lake.rows_per_commit"],
    )


def limits(rates: Rates) -> list[tuple[str, float, str]]:
    """What breaks as pairs become many: the limit, the number of pairs where it is met, what to change then."""
    day = 24 * HOUR
    return [
        (
            f"one {rates.card} for a day: the teacher",
            day / (needs(rates, 1, 1).teacher_h * HOUR),
            "more engines (`executor: ray`), or a hosted teacher in batches",
        ),
        (
            f"one {rates.card} for a day: scoring",
            day / (needs(rates, 1, 1).scoring_h * HOUR),
            "more actors; nothing else changes, for scores carry the ids of their texts",
        ),
        (
            f"memory: a reading holds all pairs, {rates['machine.memory_gib']:.0f} GiB",
            rates["machine.memory_gib"] / rates.reading_gib,
            "one profile a shard of the sources, each with its own lake; pairs decide nothing for each other",
        ),
        (
            f"{rates['machine.cores']:.0f} cores for a day: views, versions, checks, reports",
            day * rates["machine.cores"] / rates.sql_cpu_s,
            "shards as above; the cuts (top_fraction, top_k) then are the shard's own",
        ),
        (
            "the ledger's one writer for a week",
            7 * day * rates["lake.ledger_replies_per_s"] / rates["pair.replies"],
            "a ledger a shard",
        ),
        (
            "the lake's commits, one after another, for a week",
            7 * day / rates["lake.commit_s"] * rates["lake.rows_per_commit"] / (2 * rates["pair.replies"]),
            "a lake a shard",
        ),
    ]


def read_rates(folder: Path) -> tuple[Rates, list[tuple[str, str, str, str]]]:
    """The rates, and each as a line for people: name, value, kind, source."""
    said = yaml.safe_load((folder / "rates.yaml").read_text(encoding="utf-8"))
    streams = json.loads((folder / "streams.json").read_text(encoding="utf-8"))
    values, lines = {}, []
    for name, one in _leaves(said):
        values[name] = float(one["value"])
        lines.append((name, f"{one['value']:,}", one["kind"], one["source"]))
    sizes = sorted({step["pairs"] for step in streams["steps"]})
    smallest, largest = sizes[0], sizes[-1]
    steps = {step["step"]: step for step in streams["steps"] if step["pairs"] == largest}
    reading = {step["pairs"]: step["peak_gib"] for step in streams["steps"] if step["step"] == READING}
    measured = {
        "sql_cpu_s": sum(step["cpu_s"] for step in steps.values()) / largest,
        # What a process takes without any pair is in both.
        "reading_gib": (reading[largest] - reading[smallest]) / (largest - smallest),
        "stored_gb": streams["stored_gb"][str(largest)] / largest,
    }
    source = f"benchmarks/streams.py at {largest:,} pairs, two cores"
    lines += [(f"measured.{name}", f"{value:.3g}", "measured", source) for name, value in measured.items()]
    wanted = tuple((int(one["pairs"]), float(one["hours"])) for one in said["wanted"])
    return Rates(values=values, wanted=wanted, card=said["card"]["name"], **measured), lines


def _leaves(said: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, one in said.items():
        if isinstance(one, dict):
            yield from [(above + name, one)] if "value" in one else _leaves(one, f"{above}{name}.")


# ---- the page


def tables(folder: Path) -> str:
    """What stands between the marks of the page."""
    rates, lines = read_rates(folder)
    streams = json.loads((folder / "streams.json").read_text(encoding="utf-8"))
    return "\n".join([*_needs(rates), *_limits(rates), *_streams(streams), *_sources(lines)])


def _needs(rates: Rates) -> Iterator[str]:
    found = [needs(rates, pairs, hours) for pairs, hours in rates.wanted]
    price, per_machine = rates["card.usd_per_hour"], int(rates["card.cards_per_machine"])
    yield f"\n**What it takes** ({rates.card}, ${price:.2f} an hour)\n"
    yield f"| | {' | '.join(f'{one.pairs:,} pairs' for one in found)} |"
    yield f"|---|{'---:|' * len(found)}"
    rows = {
        "to be through in": [f"{one.hours:,.0f} h" for one in found],
        "teacher, card hours": [_number(one.teacher_h) for one in found],
        "scoring, card hours": [_number(one.scoring_h) for one in found],
        f"training on {rates['training.few_rows']:,.0f} rows, card hours": [_number(one.few_rows_h) for one in found],
        "training on all that are kept, card hours": [_number(one.training_h) for one in found],
        "cards (teacher, scoring, few rows)": [f"{one.cards:,}" for one in found],
        f"machines of {per_machine}": [f"{round_up(one.cards / per_machine):,}" for one in found],
        "dollars for these cards": [
            _dollars((one.teacher_h + one.scoring_h + one.few_rows_h) * price) for one in found
        ],
        "dollars for a hosted teacher instead": [_dollars(one.hosted_usd) for one in found],
        "reading, views, checks, reports: core hours": [_number(one.sql_core_h) for one in found],
        "lake, GB": [_number(one.stored_gb) for one in found],
        "dollars a month for it": [_dollars(one.stored_gb * rates["lake.usd_per_gb_month"]) for one in found],
        "replies a second": [_number(one.replies_per_s) for one in found],
        "commits of the lake": [f"{one.commits:,.0f}" for one in found],
    }
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


def _limits(rates: Rates) -> Iterator[str]:
    yield "\n**What breaks first, and what to change then**\n"
    yield "| limit | met at about | then |"
    yield "|---|---:|---|"
    for limit, pairs, change in sorted(limits(rates), key=lambda one: one[1]):
        yield f"| {limit} | {_number(pairs)} pairs | {change} |"


def _streams(streams: Mapping[str, Any]) -> Iterator[str]:
    sizes = sorted({step["pairs"] for step in streams["steps"]})
    by_step: dict[str, dict[int, Mapping[str, Any]]] = {}
    for step in streams["steps"]:
        by_step.setdefault(step["step"], {})[step["pairs"]] = step
    yield "\n**What a pair costs as pairs become many** (CPU milliseconds a pair; peak memory of a step alone)\n"
    yield f"| step | {' | '.join(f'{size:,} pairs' for size in sizes)} | largest : smallest | GiB at {sizes[-1]:,} |"
    yield f"|---|{'---:|' * (len(sizes) + 2)}"
    for name, at in by_step.items():
        costs = [f"{1000 * at[size]['cpu_s'] / size:.3f}" for size in sizes]
        yield f"| {name} | {' | '.join(costs)} | {streams['growth'][name]:.2f} | {at[sizes[-1]]['peak_gib']:.2f} |"
    total = [sum(at[size]["cpu_s"] for at in by_step.values()) for size in sizes]
    costs = [f"{1000 * seconds / size:.3f}" for seconds, size in zip(total, sizes, strict=True)]
    peak = max(at[sizes[-1]]["peak_gib"] for at in by_step.values())
    yield f"| all together | {' | '.join(costs)} | {streams['growth']['all together']:.2f} | {peak:.2f} |"
    spent = ", ".join(f"{size:,} pairs {seconds / 60:.1f} min" for size, seconds in zip(sizes, total, strict=True))
    yield f"\nCPU time of all steps: {spent}, on {streams['cores']} cores."


def _sources(lines: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield "\n**Where each number comes from** ([rates.yaml](scale/rates.yaml))\n"
    yield "| number | value | | source |"
    yield "|---|---:|---|---|"
    for name, value, kind, source in lines:
        yield f"| {name} | {value} | {kind} | {source} |"


def plot(folder: Path) -> bytes:
    """What a pair costs in each step by the number of pairs, and the memory that the step took: a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = json.loads((folder / "streams.json").read_text(encoding="utf-8"))["steps"]
    sizes = sorted({step["pairs"] for step in steps})
    png = io.BytesIO()
    figure, (costs, memory) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    totals = [sum(1000 * step["cpu_s"] / size for step in steps if step["pairs"] == size) for size in sizes]
    costs.plot(sizes, totals, color="black", marker="o", label="all together")
    dearest = sorted((step for step in steps if step["pairs"] == sizes[-1]), key=lambda step: -step["cpu_s"])[:6]
    for name in (step["step"] for step in dearest):
        mine = [step for size in sizes for step in steps if (step["pairs"], step["step"]) == (size, name)]
        costs.plot(sizes, [1000 * step["cpu_s"] / step["pairs"] for step in mine], marker="o", label=name)
        memory.plot(sizes, [step["peak_gib"] for step in mine], marker="o", label=name)
    for axes, title in ((costs, "CPU milliseconds a pair"), (memory, "peak memory of the step, GiB")):
        axes.set_xscale("log")
        axes.set_xlabel("pairs")
        axes.set_title(title)
        axes.set_ylim(bottom=0)
    costs.legend(fontsize=7)
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()


def round_up(value: float) -> int:
    return -int(-value // 1)


def _number(value: float) -> str:
    """Two digits that mean something."""
    if value >= 100:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.2g}"


def _dollars(value: float) -> str:
    return f"${_number(value)}"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0."""
    parser = Arguments(prog="make scale", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="page that is written (default: docs/scale.md)")
    options = parser.parse_args(arguments)
    any_encoding()
    told = tables(FOLDER)
    write_between(options.page, MARKS, told)
    (options.page.parent / "scale").mkdir(exist_ok=True)
    (options.page.parent / "scale" / "streams.png").write_bytes(plot(FOLDER))
    Console(highlight=False, soft_wrap=True).print(told, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
