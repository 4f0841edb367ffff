"""What vLLM's prefix cache is worth to a teacher: both bundled prompt variants, the same rows, one engine, one run.

    python benchmarks/vllm_prefix.py --rows 100                           # a toy, on a CPU
    python benchmarks/vllm_prefix.py --model Qwen/Qwen3-8B --rows 2000    # a GPU

    record_first      the record, then the criteria: prompts share a few words at their beginning
    criteria_first    the criteria as the system message: prompts share all that is not the record

Requests are those of both phases about rows of ../shared/data/alpaca_sample.json; where that is absent, about words
drawn to the same mean lengths. The variants take turns on slices of the rows, so that a busy machine slows them alike.
The hit rate is the engine's own count (vllm:prefix_cache_hits / vllm:prefix_cache_queries, in tokens, by whole blocks:
128 tokens on a CPU, 16 on a GPU). Replies are cut to a few tokens: what is measured is the reading of prompts.
Writes benchmarks/results/vllm-prefix.json. Not measured: how good the rewrites are under either variant.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, Literal

import psutil

from models_py.student.scratch import train_scratch
from models_py.student.spec import ScratchSpec
from models_py.teacher.engines.vllm.offline import VllmEngine
from models_py.teacher.prompt import build_request, load_prompts
from models_py.teacher.request import PHASES, Sampling, TeacherRequest
from models_py.teacher.spec import PromptSettings, VllmSettings

RESULTS = Path(__file__).resolve().parent / "results"
ALPACA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpaca_sample.json"
Variant = Literal["record_first", "criteria_first"]
VARIANTS: tuple[Variant, ...] = ("record_first", "criteria_first")
SLICES = 4
SAMPLING = Sampling(max_tokens=16, extra_body={"ignore_eos": True})
TOY = ScratchSpec(hidden_size=256, layers=4, heads=4, max_length=4096, steps=1)
TEXT = "name the colour of sky and say why it is blue light scattered by air water stone river month"


def read_rows(count: int) -> list[tuple[str, str, str]]:
    """(instruction, input, output) of `count` pairs."""
    draw = random.Random(1)
    if ALPACA.exists():
        rows = json.loads(ALPACA.read_text("utf-8"))
        return [(row["instruction"], row["input"], row["output"]) for row in draw.sample(rows, min(count, len(rows)))]
    words = TEXT.split()
    return [(" ".join(draw.choices(words, k=14)), "", " ".join(draw.choices(words, k=140))) for _ in range(count)]


def requests_about(rows: Sequence[tuple[str, str, str]], variant: Variant, identity: str) -> list[TeacherRequest]:
    """Both phases about each row."""
    prompts = load_prompts("bench", PromptSettings(variant))
    return [
        build_request(
            prompts[phase],
            teacher="bench",
            identity=identity,
            sampling=SAMPLING,
            instruction=instruction,
            input=input,
            output=output,
        )
        for phase in PHASES
        for instruction, input, output in rows
    ]


def measure(teacher: VllmEngine, requests: Sequence[TeacherRequest]) -> Counter[str]:
    """What asking took: seconds of the clock and of vLLM's processes, tokens, what the engine counted of its cache."""
    begun, before = time.perf_counter(), engine_counts()
    replies = list(teacher.ask(requests, Event()))
    took = Counter({"wall_s": time.perf_counter() - begun}) + (engine_counts() - before)
    assert len(replies) == len(requests) and not any(reply.error for reply in replies)
    took["requests"] = len(replies)
    took["prompt_tokens"] = sum(reply.prompt_tokens or 0 for reply in replies)
    took["completion_tokens"] = sum(reply.completion_tokens or 0 for reply in replies)
    return took


def engine_counts() -> Counter[str]:
    """The engine's counters so far, and the CPU seconds of its processes."""
    from vllm.v1.metrics import reader

    counts: Any = Counter()  # of numbers that are not all whole
    for metric in reader.get_metrics_snapshot():
        if metric.name in ("vllm:prefix_cache_queries", "vllm:prefix_cache_hits"):
            assert isinstance(metric, reader.Counter)
            counts[metric.name] += metric.value
    for process in psutil.Process().children(recursive=True):
        times = process.cpu_times()
        counts["cpu_s"] += times.user + times.system
    return Counter(counts)


def vllm_version() -> str:
    import vllm

    return str(vllm.__version__)


def report(variant: Variant, took: Counter[str]) -> dict[str, float | str]:
    return {
        "variant": variant,
        "requests": took["requests"],
        "prompt_tokens_a_request": took["prompt_tokens"] / took["requests"],
        "hit_rate": took["vllm:prefix_cache_hits"] / took["vllm:prefix_cache_queries"],
        "prompt_tokens_per_s": took["prompt_tokens"] / took["wall_s"],
        "requests_per_s": took["requests"] / took["wall_s"],
        "cpu_s_a_request": took["cpu_s"] / took["requests"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", help="hub id or folder; left out, a toy is made")
    parser.add_argument("--rows", type=int, default=100)
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # the table is what is to be read
    rows = read_rows(arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or f"{folder}/toy"
        if not arguments.model:
            train_scratch(TOY, Path(model))
        settings = VllmSettings(model=model, max_length=4096, engine_args={"disable_log_stats": False})
        with closing(VllmEngine("bench", settings)) as teacher:
            list(teacher.ask(requests_about([("first", "", "calls load code")], VARIANTS[0], "warm"), Event()))
            took = {variant: Counter[str]() for variant in VARIANTS}
            for start in range(SLICES):
                for variant in VARIANTS:
                    took[variant] += measure(teacher, requests_about(rows[start::SLICES], variant, teacher.identity))
    results = [report(variant, took[variant]) for variant in VARIANTS]
    first, second = results
    print(
        "| variant | requests | prompt tokens a request | hit rate | prompt tokens/s | requests/s | CPU s a request |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in results:
        print(
            f"| {row['variant']} | {row['requests']} | {row['prompt_tokens_a_request']:.0f} | {row['hit_rate']:.1%} "
            f"| {row['prompt_tokens_per_s']:.0f} | {row['requests_per_s']:.2f} | {row['cpu_s_a_request']:.3f} |"
        )
    ratio = float(second["requests_per_s"]) / float(first["requests_per_s"])
    print(f"criteria_first answers {ratio:.2f} times as many requests a second")
    RESULTS.mkdir(exist_ok=True)
    about = {
        "model": arguments.model or "toy",
        "rows": len(rows),
        "vllm": vllm_version(),
        "machine": platform.machine(),
        "requests_per_s_ratio": ratio,
        "variants": results,
    }
    (RESULTS / "vllm-prefix.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
