"""How long pairs take from a file to training sets when teacher and student cost nothing, against limits, in one run.

    python benchmarks/selection.py --rows 100000

A child process invents the pairs (lengths as in Alpaca, reflected texts as much longer as the paper reports), writes
them as JSON Lines and puts the work of a teacher and a student into the lake's tables, `response_reflection: all`.
Then this process, on two cores, measures wall seconds, CPU seconds and its own peak memory (resident set, so far) of

    ingestion   read_sources, then Lake.mirror
    views       every view and policy of sql/, in an order of dependence: Lake.refresh of a stored one; of a plain one
                every value is computed and hashed, but none handed to Python
    also        what a run does besides, outside the limits: what assets report, a refresh with nothing new, checks, ...

The reference is what people do today, as in the code published with the paper: a Python loop over dicts from a JSON
file. It is spared the texts and the joins, for its file holds just the score terms, and must come to the same choices.
Not measured: teacher, student, training, Dagster. Wall seconds on a busy machine are too high: look at the CPU column.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from assets.training.training_pairs import freeze
from dagster_project.checks import claims
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import Model, load_models, pending_files, policies
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.commits import commit_batches
from models_py.content import content_id
from models_py.sources.read import check_bad_fraction, read_sources
from models_py.sources.spec import Source

RESULTS = Path(__file__).resolve().parent / "results" / "selection.json"
LIMIT_ROWS, LIMIT_S, LIMIT_GIB, LIMIT_CHOICES_S = 100_000, 60.0, 4.0, 2.0
CORES = 2
FROZEN = "reflect_both"  # a recipe that keeps nearly every pair
CHOICES = ("instruction_choices", "response_choices")

STUDENT = "fingerprint"
PAIRS_FILE, REFERENCE_FILE, CHOSEN_FILE = "pairs.jsonl", "terms.json", "chosen.json"
TERMS = (
    "answer_nll",
    "answer_nll_given_instruction",
    "answer_tokens",
    "instruction_nll",
    "instruction_nll_given_answer",
    "instruction_tokens",
)
TWIN = {"original": "response", "instruction": "both"}
INPUT_SHARE, DUPLICATE_SHARE, BROKEN_SHARE = 0.2, 0.01, 0.005  # of the source's rows
UNUSABLE_SHARE, FAILED_SHARE, TIE_SHARE = 0.05, 0.01, 0.01  # of replies, scores, comparisons
# Characters, (median, spread of the logarithm): the first three as in Alpaca with GPT-4 answers.
INSTRUCTION, INPUT, ANSWER = (56, 0.3), (40, 0.6), (560, 0.7)
NEW_INSTRUCTION, NEW_ANSWER, CRITIQUE = (250, 0.4), (1500, 0.5), (600, 0.3)
CUTS = [
    {"recipe": "paper_top", "policy": "paper", "top_fraction": 0.02},
    {"recipe": "gated_mix", "policy": "paper_gated", "mix": 0.3},
    {"recipe": "paper_strict", "policy": "paper", "ifd_below": 0.9, "r_ifd_below": 0.9, "top_k": 10_000},
]

Ratio = Callable[[dict[str, Any]], float | None]


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Step:
    group: str
    name: str
    rows: int
    wall_s: float
    cpu_s: float  # user + system, all threads
    peak_gib: float  # resident set of this process, highest so far


@dataclass
class Stopwatch:
    steps: list[Step] = field(default_factory=list)

    def measure(self, group: str, name: str, work: Callable[[], int]) -> Step:
        """Do the work, which returns its number of rows, and print what it took."""
        wall, cpu = time.perf_counter(), _cpu_s()
        rows = work()
        step = Step(group, name, rows, time.perf_counter() - wall, _cpu_s() - cpu, _peak_gib())
        self.steps.append(step)
        print(f"  {name:<34}{rows:>11,}{step.wall_s:>9.2f}{step.cpu_s:>9.2f}{step.peak_gib:>10.2f}", flush=True)
        return step

    def counted(self, *names: str) -> list[Step]:
        """The steps that the limits are for; with names, those of them."""
        return [s for s in self.steps if s.group in {"ingestion", "views"} and (not names or s.name in names)]


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_gib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def run(folder: Path, rows: int) -> dict[str, Any]:
    """Everything, in `folder`; what was measured, as it is written to results/selection.json."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(f"{rows:,} pairs, {len(policies())} policies, {len(_recipes())} recipes", flush=True)
    setup_s = set_up_in_a_child(folder, rows)
    print(f"set-up, not counted: {setup_s:.0f} s\n")
    print(f"  {'step':<34}{'rows':>11}{'wall s':>9}{'CPU s':>9}{'peak GiB':>10}")
    lake, watch = Lake(folder / "warehouse"), Stopwatch()
    _ingest(watch, lake, folder / PAIRS_FILE)
    for model in load_models().values():
        watch.measure("views", model.name, partial(make, lake, model))
    peak_gib = _peak_gib()
    print("\n  also, outside the limits")
    _also(watch, lake)
    reference = watch.measure("reference", "the two choices in a Python loop", partial(_choose_in_a_loop, folder))
    _assert_same_choices(lake, folder)
    counted, choices = watch.counted(), watch.counted(*CHOICES)
    choices_s = _wall_s(choices)
    return {
        "rows": rows,
        "machine": {"cores": CORES, "python": platform.python_version(), "duckdb": duckdb.__version__},
        "set_up_s": setup_s,
        "steps": [asdict(step) for step in watch.steps],
        "cpu_s": sum(step.cpu_s for step in counted),
        "against_limits": {
            "ingestion, views and policies, s": _ratio(_wall_s(counted), LIMIT_S),
            "peak memory, GiB": _ratio(peak_gib, LIMIT_GIB),
            "the two choices together, s": _ratio(choices_s, LIMIT_CHOICES_S),
        },
        "times_faster_than_a_python_loop": {
            "the two choices": reference.wall_s / choices_s,
            "and candidate_scores, which they compare": reference.wall_s
            / _wall_s(watch.counted(*CHOICES, "candidate_scores")),
        },
    }


def _wall_s(steps: list[Step]) -> float:
    return sum(step.wall_s for step in steps)


def _ratio(value: float, limit: float) -> dict[str, float]:
    return {"measured": value, "limit": limit, "ratio": value / limit}


def _ingest(watch: Stopwatch, lake: Lake, path: Path) -> None:
    read = []

    def read_file() -> int:
        read.append(read_sources([Source("synthetic", path=str(path))]))
        check_bad_fraction(read[0], max_bad_fraction=0.05)
        return sum(read[0].rows_by_source.values())

    def mirror() -> int:
        frames = {"raw.raw_pairs": read[0].pairs, "raw.quarantined_rows": read.pop().quarantined}
        lake.mirror(frames, Commit("pairs of the sources"))
        return sum(frame.height for frame in frames.values())

    watch.measure("ingestion", "read_sources", read_file)
    watch.measure("ingestion", "lake.mirror", mirror)


def make(lake: Lake, model: Model) -> int:
    """Store a stored model's rows; compute every value of a view."""
    read = f"select count(*), sum(hash({', '.join(model.columns)})) from {model.table}"
    if model.materialized == "table":
        lake.refresh(model, Commit(f"rows of {model.table}"))
        read = f"select count(*) from {model.table}"
    return int(str(lake.scalar(read)))


def _also(watch: Stopwatch, lake: Lake) -> None:
    models = load_models().values()

    def facts() -> int:
        return len([lake.facts(model.table, list(model.columns), preview_rows=5) for model in models])

    def refresh_again() -> int:
        stored = [model for model in models if model.materialized == "table"]
        for model in stored:
            lake.refresh(model, Commit("nothing new"))
        return len(stored)

    def pending() -> int:
        left = sum(lake.read(file.sql).height for file in pending_files().values())
        assert left == 0, f"the set-up left {left} rows for teacher or student"
        return left

    def checks() -> int:
        for claim in claims():
            violations = lake.read(claim.sql)
            # Invented texts may well be warned of.
            assert violations.is_empty() or claim.severity == "warn", f"{claim.name}: {violations}"
        return len(claims())

    def frozen() -> int:
        freeze(lake, FROZEN)
        return int(str(lake.scalar("select count(*) from training.training_pairs")))

    watch.measure("also", "what the assets of views report", facts)
    watch.measure("also", "refresh with nothing new", refresh_again)
    watch.measure("also", "pending work, nothing left", pending)
    watch.measure("also", "checks", checks)
    watch.measure("also", f"training_pairs of {FROZEN}", frozen)
    watch.measure("also", "row_lineage of them", partial(make, lake, load_models()["lineage.row_lineage"]))


# ── the reference ──────────────────────────────────────────────────────────────────────────────────────────────────


def _choose_in_a_loop(folder: Path) -> int:
    """Both choices of every pair, from one JSON file to another."""
    pairs = json.loads((folder / REFERENCE_FILE).read_bytes())
    chosen = {pair["pair_id"]: _choose(pair["texts"]) for pair in pairs}
    (folder / CHOSEN_FILE).write_text(json.dumps(chosen), encoding="utf-8")
    return len(chosen)


def _choose(texts: dict[str, dict[str, Any]]) -> tuple[str | None, str | None]:
    base = _better(texts, "original", "instruction", _ifd, higher=True)
    return base, base and _better(texts, base, TWIN[base], _r_ifd, higher=False)


def _better(texts: dict[str, dict[str, Any]], base: str, twin: str, ratio: Ratio, *, higher: bool) -> str | None:
    """The text whose ratio is better; a tie keeps the base, a ratio that is None wins nothing."""
    a, b = (ratio(texts[name]) if name in texts else None for name in (base, twin))
    if a is None or b is None:
        return base if a is not None else twin if b is not None else None
    return twin if (b > a if higher else b < a) else base


def _ifd(text: dict[str, Any]) -> float | None:
    if text["answer_status"] != "ok":
        return None
    return math.exp((text["answer_nll_given_instruction"] - text["answer_nll"]) / text["answer_tokens"])


def _r_ifd(text: dict[str, Any]) -> float | None:
    if text["status"] != "ok":
        return None
    return math.exp((text["instruction_nll_given_answer"] - text["instruction_nll"]) / text["instruction_tokens"])


def _assert_same_choices(lake: Lake, folder: Path) -> None:
    looped = json.loads((folder / CHOSEN_FILE).read_bytes())
    rows = lake.read(
        "select pair_id, first.choice, second.choice from selection.instruction_choices as first "
        "inner join selection.response_choices as second using (pair_id)"
    ).rows()
    assert {pair_id: list(choices) for pair_id, *choices in rows} == looped, "lake and loop choose differently"


# ── set-up ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def set_up_in_a_child(folder: Path, rows: int) -> float:
    """In a process of its own, so that its memory is not measured; seconds."""
    start = time.perf_counter()
    child = multiprocessing.get_context("spawn").Process(target=_set_up, args=(folder, rows))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise SystemExit("the set-up failed")
    return time.perf_counter() - start


def _set_up(folder: Path, rows: int) -> None:
    lake, invented = Lake(folder / "warehouse"), _Inventor(random.Random(0))
    lake.mirror(_profile(), Commit("profile of the benchmark"))
    with (folder / PAIRS_FILE).open("w", encoding="utf-8") as lines, (folder / REFERENCE_FILE).open("w") as terms:
        separator = "["
        # In batches, so that the lake holds as many files as after a run.
        for pairs in commit_batches((invented.pair() for _ in range(rows)), seconds=math.inf):
            tables: dict[str, list[dict[str, Any]]] = {}
            for pair in pairs:
                lines.writelines(pair.lines)
                terms.write(separator + json.dumps({"pair_id": pair.pair_id, "texts": pair.texts}))
                separator = ",\n"
                for table, row in pair.rows:
                    tables.setdefault(table, []).append(row)
            frames = {table: pl.DataFrame(made, infer_schema_length=None) for table, made in tables.items()}
            lake.append(frames, Commit("what teacher and student would have done"))
        terms.write("]")


def _profile() -> dict[str, pl.DataFrame]:
    versions = {"instruction_prompt_version": "v1", "response_prompt_version": "v1"}
    teacher = {"teacher": "teacher", "engine": "none", "identity": "none", **versions}
    student = {"student": "student", "model": "none", "revision": None, "max_length": 2048}
    fingerprints = {"student_fingerprint": STUDENT, "scored_by": "student", "scorer_fingerprint": STUDENT}
    return {
        "profile.teachers": pl.DataFrame([teacher]),
        "profile.students": pl.DataFrame([student | fingerprints]),
        "profile.recipes": pl.DataFrame(_recipes(), infer_schema_length=None),
    }


def _recipes() -> list[dict[str, object]]:
    """One a policy as it is, and the cuts."""
    cuts = [{"recipe": policy, "policy": policy} for policy in policies()] + CUTS
    names = [column.name for column in TABLES_BY_NAME["profile.recipes"].columns]
    common = {"teacher": "teacher", "student": "student", "mix": 0.0, "seed": 1, "response_reflection": "all"}
    return [dict.fromkeys(names) | common | cut for cut in cuts]


@dataclass
class _Pair:
    """One invented pair: its lines of the source file, its texts' score terms, and its rows of the lake's tables."""

    pair_id: str
    lines: list[str] = field(default_factory=list)
    texts: dict[str, dict[str, Any]] = field(default_factory=dict[str, Any])
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class _Inventor:
    """Pairs, rewrites and scores, the same for the same seed. A text is a piece of one long shuffled text."""

    def __init__(self, rng: random.Random) -> None:
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(5_000)]
        self._rng, self._prose = rng, " ".join(rng.choices(words, k=500_000))

    def pair(self) -> _Pair:
        x, y, context = self._text(*INSTRUCTION), self._text(*ANSWER), ""
        if self._happens(INPUT_SHARE):
            context = self._text(*INPUT)
        pair = _Pair(content_id(x, context, y))
        line = json.dumps({"instruction": x, "input": context, "output": y})
        broken = f'{{"instruction": "{x}'
        copies = 2 if self._happens(DUPLICATE_SHARE) else 1
        pair.lines = [line + "\n"] * copies + [broken + "\n"] * self._happens(BROKEN_SHARE)
        self._score_base(pair, "original", pair.pair_id)
        self._reflect_response(pair, "original", pair.pair_id, x, context)
        self._reflect_instruction(pair)
        return pair

    def _reflect_instruction(self, pair: _Pair) -> None:
        x, y = self._text(*NEW_INSTRUCTION), self._text(*NEW_ANSWER)
        new = {"content_id": content_id(x, "", y), "instruction": x, "output": y}
        if self._reply(pair, "reflection.instruction_reflections", {}, new):
            self._score_base(pair, "instruction", new["content_id"])
            self._reflect_response(pair, "instruction", new["content_id"], x, "")

    def _reflect_response(self, pair: _Pair, base: str, base_id: str, x: str, context: str) -> None:
        y = self._text(*NEW_ANSWER)
        new = {"content_id": content_id(x, context, y), "output": y}
        if self._reply(pair, "reflection.response_reflections", {"base": base, "base_content_id": base_id}, new):
            answer, instruction = self._terms("answer", 400), self._terms("instruction", 40, like=pair.texts[base])
            failed = self._happens(FAILED_SHARE)
            status = self._add_score(pair, "response_scores", new["content_id"], instruction, failed)
            self._add_score(pair, "chosen_scores", new["content_id"], answer, failed)
            pair.texts[TWIN[base]] = answer | instruction | {"answer_status": status, "status": status}

    def _reply(self, pair: _Pair, table: str, base: dict[str, Any], new: dict[str, str]) -> bool:
        """Add a teacher's reply to the table; whether it is usable."""
        usable = not self._happens(UNUSABLE_SHARE)
        asked = {"teacher": "teacher", "prompt_version": "v1", "pair_id": pair.pair_id, **base}
        status = "ok" if usable else self._rng.choice(["missing_tag", "truncated", "refused"])
        told = {"request_id": _sha256(table, *asked.values()), "status": status, "critique": self._text(*CRITIQUE)}
        pair.rows.append((table, asked | told | (new if usable else dict.fromkeys(new))))
        return usable

    def _score_base(self, pair: _Pair, name: str, content: str) -> None:
        """The scores of a text of the first phase: answer terms in the first table, instruction terms in the second."""
        answer = self._terms("answer", 150, like=pair.texts.get("original"))
        instruction = self._terms("instruction", 20)
        first = self._add_score(pair, "instruction_scores", content, answer, self._happens(FAILED_SHARE))
        second = self._add_score(pair, "response_scores", content, instruction, self._happens(FAILED_SHARE))
        status = second if first == "ok" else first
        pair.texts[name] = answer | instruction | {"answer_status": first, "status": status}

    def _add_score(self, pair: _Pair, table: str, content: str, terms: dict[str, Any], failed: bool) -> str:
        row = {"student": "student", "student_fingerprint": STUDENT, "content_id": content, "truncated": False}
        row |= {"status": "not_finite", "reason": "invented"} if failed else {"status": "ok", "reason": None}
        pair.rows.append((f"scoring.{table}", row | dict.fromkeys(TERMS) | ({} if failed else terms)))
        return str(row["status"])

    def _terms(self, of: str, tokens: int, like: dict[str, Any] | None = None) -> dict[str, float]:
        """Terms of an answer or an instruction whose ratio is about 0.75; now and then those of `like`, for a tie."""
        names = [name for name in TERMS if name.startswith(of)]
        if like and self._happens(TIE_SHARE):
            return {name: like[name] for name in names}
        tokens = max(1, int(self._rng.lognormvariate(math.log(tokens), 0.6)))
        alone = tokens * self._rng.uniform(1.5, 3.0)
        return dict(zip(names, (alone, alone + tokens * self._rng.gauss(-0.3, 0.25), tokens), strict=True))

    def _text(self, median: int, spread: float) -> str:
        length = min(8_000, int(self._rng.lognormvariate(math.log(median), spread)) + 1)
        start = self._rng.randrange(len(self._prose) - length)
        return "A" + self._prose[start : start + length]

    def _happens(self, share: float) -> bool:
        return self._rng.random() < share


def _sha256(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


# ── the report ─────────────────────────────────────────────────────────────────────────────────────────────────────


def report(result: dict[str, Any]) -> str:
    """The figures against their limits, and the one line for the README."""
    limits, faster = result["against_limits"], result["times_faster_than_a_python_loop"]
    lines = ["", f"  {'against the limits':<58}{'measured':>9}{'limit':>7}{'ratio':>8}"]
    lines += [f"  {name:<58}{x['measured']:>9.2f}{x['limit']:>7.0f}{x['ratio']:>7.2f}x" for name, x in limits.items()]
    lines += ["", "  against a Python loop over JSON, equal choices"]
    lines += [f"  {name:<58}{x:>9.1f} times faster" for name, x in faster.items()]
    total, peak, choices = limits.values()
    lines += [
        "",
        f"{result['rows']:,} pairs on {CORES} cores: ingestion, views and {len(policies())} policies in "
        f"{total['measured']:.0f} s ({total['ratio']:.2f}x of the limit; {result['cpu_s']:.0f} s of CPU) and "
        f"{peak['measured']:.1f} GiB ({peak['ratio']:.2f}x); both choices in {choices['measured']:.1f} s "
        f"({choices['ratio']:.2f}x).",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write results/selection.json; exit status 1 where a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=LIMIT_ROWS, help="default: %(default)s")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), rows)
    print(report(result))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    exceeded = [name for name, against in result["against_limits"].items() if against["ratio"] > 1]
    return 1 if exceeded and rows <= LIMIT_ROWS else 0


if __name__ == "__main__":
    sys.exit(main())
