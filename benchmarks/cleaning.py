"""How long it takes to find near duplicates and copies of evaluation texts, against what people run, in one run.

    python benchmarks/cleaning.py --rows 100000

Invents pairs (lengths as in Alpaca, words as frequent as in a language), a rewrite of each, and an evaluation file of
2,000 questions. Of the pairs 3 % repeat another with a word changed, added or in capitals, 1 in 500 texts holds a
question. Then, in a process each and on two cores, the two assets run over the real lake:

    near duplicates   raw.near_duplicates: read, sign, join, verify, cluster, write
    contamination     selection.contaminated_texts: every original and every rewrite

at a quarter of the rows and at all of them: how much of what is planted is found, and how the peak memory (resident
set) grows. The references are what most clean-up scripts do, on a part of the rows, per row: MinHash in numpy with a
dict a band held in memory (the arithmetic of datasketch and text-dedup), and sets of 13-grams in Python (that of the
GPT-3 and lm-eval scripts). They are spared the lake, the clusters and the evidence. Wall seconds on a busy machine are
too high: look at the CPU column. Writes benchmarks/results/cleaning.json.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import yaml

from assets.profile.recipes import recipes
from assets.profile.sources import sources
from assets.raw.near_duplicates import near_duplicates
from assets.raw.raw_pairs import raw_pairs
from assets.selection.contaminated_texts import contaminated_texts
from dagster_project.lakehouse.lake import Commit, open_lake
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.content import content_id
from models_py.sources.read import read_sources
from models_py.sources.spec import Source

RESULTS = Path(__file__).resolve().parent / "results" / "cleaning.json"
LIMIT_ROWS, LIMIT_S, LIMIT_GROWTH, LIMIT_GIB = 100_000, 120.0, 2.0, 2.0
CORES = 2
ITEMS, REPEATED_SHARE, COPIED_EVERY = 2_000, 0.03, 500
REFERENCE_ROWS = 5_000
# Characters as in Alpaca with GPT-4 answers, about six a word.
INSTRUCTION, ANSWER, REWRITE, QUESTION = (10, 0.3), (95, 0.7), (150, 0.5), (45, 0.3)
PROFILE = {
    "warehouse": "house",
    "sources": [{"name": "invented", "path": "pairs.jsonl"}],
    "teachers": {"teacher": {"engine": "recorded", "replies": "none.jsonl"}},
    "students": {"student": {"scratch": {}}},
    "recipes": {
        "clean": {
            "policy": "paper",
            "teacher": "teacher",
            "student": "student",
            "drop_near_duplicates": True,
            "drop_contaminated": True,
        }
    },
    "evaluation": {"contamination": [{"name": "questions", "path": "questions.jsonl"}]},
}
STEPS = {
    "near_duplicates": (near_duplicates, "raw.near_duplicates"),
    "contamination": (contaminated_texts, "selection.contaminated_texts"),
}


# ── set-up ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Inventor:
    """Texts of a language of 30,000 words, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        words = sorted({"".join(self.rng.choices(syllables, k=self.rng.randint(1, 5))) for _ in range(40_000)})
        self.rng.shuffle(words)
        self._words = words[:30_000]
        self._weights = [*np.cumsum(1 / np.arange(2.7, len(self._words) + 2.7))]

    def text(self, median: int, spread: float) -> str:
        count = max(3, min(1_500, int(self.rng.lognormvariate(np.log(median), spread))))
        words = self.rng.choices(self._words, cum_weights=self._weights, k=count)
        return f"{' '.join(words).capitalize()}."

    def edited(self, text: str) -> str:
        words = text.split(" ")
        place = self.rng.randrange(len(words))
        match self.rng.randrange(3):
            case 0:
                words[place] = self.rng.choice(self._words)
            case 1:
                words.insert(place, self.rng.choice(self._words))
            case _:
                words = text.upper().split(" ")
        return " ".join(words)


def set_up(folder: Path, rows: int) -> None:
    """The files, and a lake in which a teacher has rewritten every pair; how much is planted, in planted.json."""
    invented = Inventor(rows)
    questions = [invented.text(*QUESTION) for _ in range(ITEMS)]
    lines = [json.dumps({"id": n, "question": text, "answer": "7"}) for n, text in enumerate(questions)]
    (folder / "questions.jsonl").write_text("\n".join(lines), "utf-8")
    pairs: list[tuple[str, str]] = []
    repeated, copied = 0, 0
    for row in range(rows):
        x, y = invented.text(*INSTRUCTION), invented.text(*ANSWER)
        if pairs and invented.rng.random() < REPEATED_SHARE:
            x, y = invented.rng.choice(pairs)
            y, repeated = invented.edited(y), repeated + 1
        elif row % COPIED_EVERY == 0:
            x, copied = f"Solve this: {invented.rng.choice(questions).upper()}", copied + 1
        pairs.append((x, y))
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"instruction": x, "output": y}) + "\n" for x, y in pairs)
    (folder / "mine.yaml").write_text(yaml.safe_dump(PROFILE), "utf-8")
    profile = load_profile(folder / "mine.yaml")
    lake = open_lake(profile)
    _run(sources, profile)
    list(_run(raw_pairs, profile))
    _run(recipes, profile)
    versions = {"instruction_prompt_version": "v1", "response_prompt_version": "v1"}
    student = {"student": "student", "student_fingerprint": "f", "scored_by": "student", "scorer_fingerprint": "f"}
    teacher = {"teacher": "teacher", "engine": "none", "identity": "none", **versions}
    lake.mirror({"profile.teachers": [teacher], "profile.students": [student]}, Commit("profile of the benchmark"))
    distinct = [*dict.fromkeys(pairs)]
    for start in range(0, len(distinct), 10_000):
        made = []
        for place, (x, y) in enumerate(distinct[start : start + 10_000], start):
            new_x, new_y = invented.text(*REWRITE), invented.text(*REWRITE)
            if place % COPIED_EVERY == 1:
                new_y, copied = f"{new_y}\n{invented.edited(invented.rng.choice(questions))}", copied + 1
            pair_id, new_id = content_id(x, "", y), content_id(new_x, "", new_y)
            asked = {"teacher": "teacher", "prompt_version": "v1", "pair_id": pair_id, "request_id": pair_id}
            told = {"status": "ok", "content_id": new_id, "instruction": new_x, "output": new_y}
            made.append({**asked, **told})
        lake.append({"reflection.instruction_reflections": made}, Commit("what a teacher would have said"))
    planted = {"repeated": repeated, "copied": copied, "texts": len(distinct) * 2}
    (folder / "planted.json").write_text(json.dumps(planted), "utf-8")


def _run(asset: Any, profile: Profile) -> Any:
    """Call an asset's function, as Dagster would."""
    takes_profile = {"profile": profile} if "profile" in asset.required_resource_keys else {}
    return asset(dg.build_asset_context(), lake=open_lake(profile), **takes_profile)


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────


def step(name: str, folder: Path) -> dict[str, float]:
    """What one asset takes in this process, and how many rows it found."""
    profile, (asset, table) = load_profile(folder / "mine.yaml"), STEPS[name]
    before = _peak_gib()
    wall, cpu = time.perf_counter(), time.process_time()
    _run(asset, profile)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    found = open_lake(profile).scalar(f"select count(*) from {table}")
    return {**took, "peak_gib": _peak_gib(), "started_gib": before, "found": float(str(found))}


def _peak_gib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _in_a_process(work: Callable[[], Any]) -> Any:
    """In one of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    child = context.Process(target=_answer, args=(answers, work))
    child.start()
    answer = answers.get()
    child.join()
    if child.exitcode != 0 or answer is None:
        raise SystemExit("a part of the benchmark failed")
    return answer


def _answer(answers: Any, work: Callable[[], Any]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    answer = None
    try:
        answer = work() or {}
    finally:
        answers.put(answer)


# ── the references ─────────────────────────────────────────────────────────────────────────────────────────────────


def reference(folder: Path) -> dict[str, float]:
    """Seconds of CPU a text, of what scripts do."""
    pairs = read_sources([Source("invented", path=str(folder / "pairs.jsonl"))], most_rows=REFERENCE_ROWS).pairs
    texts = ["\n".join(row) for row in pairs.select("instruction", "input", "output").iter_rows()]
    questions = [json.loads(line)["question"] for line in (folder / "questions.jsonl").read_text("utf-8").splitlines()]
    started = time.process_time()
    minhash_in_memory(texts)
    signed = time.process_time()
    grams_in_memory(questions, texts)
    return {
        "near_duplicates": (signed - started) / len(texts),
        "contamination": (time.process_time() - signed) / len(texts),
    }


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def minhash_in_memory(texts: list[str]) -> int:
    """How many texts agree with an earlier one in a band of 5 of 128 permuted hashes."""
    rng = np.random.default_rng(1)
    prime, most = np.uint64((1 << 61) - 1), np.uint64((1 << 32) - 1)
    a, b = (rng.integers(1, prime, 128, dtype=np.uint64) for _ in range(2))
    bands: list[dict[bytes, int]] = [{} for _ in range(25)]
    like: dict[int, int] = {}
    for place, text in enumerate(texts):
        words = _words(text)
        shingles = {" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2))}
        hashes = np.array(
            [int.from_bytes(hashlib.sha1(one.encode()).digest()[:4], "little") for one in shingles], dtype=np.uint64
        )
        signature = (((hashes[:, None] * a + b) % prime) & most).min(axis=0)
        for number, band in enumerate(bands):
            other = band.setdefault(signature[5 * number : 5 * number + 5].tobytes(), place)
            if other != place:
                like[place] = other
    return len(like)


def grams_in_memory(questions: list[str], texts: list[str]) -> int:
    """How many texts share 13 words in a row with a question."""

    def grams(text: str) -> Iterator[str]:
        words = _words(text)
        return (" ".join(words[start : start + 13]) for start in range(len(words) - 12))

    sought: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        for gram in grams(question):
            sought[gram].append(place)
    return sum(any(gram in sought for gram in grams(text)) for text in texts)


# ── the report ─────────────────────────────────────────────────────────────────────────────────────────────────────


def run(folder: Path, rows: int) -> dict[str, Any]:
    """Everything; what was measured, as it is written to results/cleaning.json."""
    steps: dict[str, dict[int, dict[str, float]]] = {name: {} for name in STEPS}
    planted: dict[int, dict[str, int]] = {}
    for count in (rows // 4, rows):
        place = folder / str(count)
        place.mkdir()
        _in_a_process(partial(set_up, place, count))
        planted[count] = json.loads((place / "planted.json").read_text("utf-8"))
        print(f"\n{count:,} pairs, {planted[count]['texts']:,} texts with their rewrites", flush=True)
        for name in STEPS:
            took = steps[name][count] = _in_a_process(partial(step, name, place))
            print(
                f"  {name:<17}{took['wall_s']:>8.1f} s {took['cpu_s']:>8.1f} s of CPU {took['peak_gib']:>7.2f} GiB, of "
                f"which {took['started_gib']:.2f} before it began; {took['found']:,.0f} found",
                flush=True,
            )
    slow = _in_a_process(partial(reference, folder / str(rows)))
    texts = {"near_duplicates": rows, "contamination": planted[rows]["texts"]}
    together = sum(of_rows[rows]["wall_s"] for of_rows in steps.values())
    growth = max(of_rows[rows]["peak_gib"] / of_rows[rows // 4]["peak_gib"] for of_rows in steps.values())
    return {
        "rows": rows,
        "machine": {"cores": CORES, "python": platform.python_version(), "polars": pl.__version__},
        "planted": planted,
        "steps": steps,
        "against_limits": {
            "both, s": _ratio(together, LIMIT_S),
            "peak memory, GiB": _ratio(max(of[rows]["peak_gib"] for of in steps.values()), LIMIT_GIB),
            "growth of it with four times the rows": _ratio(growth, LIMIT_GROWTH),
        },
        "times_less_cpu_than_a_script": {
            name: slow[name] / (steps[name][rows]["cpu_s"] / texts[name]) for name in steps
        },
        "found_share": {
            "near_duplicates": steps["near_duplicates"][rows]["found"] / planted[rows]["repeated"],
            "contamination": steps["contamination"][rows]["found"] / planted[rows]["copied"],
        },
    }


def _ratio(value: float, limit: float) -> dict[str, float]:
    return {"measured": value, "limit": limit, "ratio": value / limit}


def report(result: dict[str, Any]) -> str:
    """The figures against their limits and references."""
    lines = ["", f"  {'against the limits':<42}{'measured':>9}{'limit':>7}{'ratio':>8}"]
    lines += [
        f"  {name:<42}{x['measured']:>9.2f}{x['limit']:>7.1f}{x['ratio']:>7.2f}x"
        for name, x in result["against_limits"].items()
    ]
    lines += ["", "  against a script that holds all in memory, CPU a text"]
    lines += [f"  {name:<42}{x:>9.1f} times less" for name, x in result["times_less_cpu_than_a_script"].items()]
    lines += ["", "  of what was planted"]
    lines += [f"  {name:<42}{x:>9.1%} found" for name, x in result["found_share"].items()]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write results/cleaning.json; exit status 1 where a limit is exceeded."""
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
