"""What one GPU gives: scoring at three sizes against what people run today, and training over the same packs.

    bash benchmarks/gpu.sh                        # a GPU: 0.5b, 1.5b and 7b, at most eight minutes
    bash benchmarks/gpu.sh --shapes tiny          # a CPU: whether it works (the default where there is no GPU)

For each size, with random weights of its real shape and rows as benchmarks/scoring.py makes them:

    exactness   nats a token of the packed path in bfloat16 against one sequence at a time in float32, beside what
                bfloat16 itself costs one sequence at a time
    scoring     rows and tokens a second of the packed path against one at a time (float32 and bfloat16) and padded
                batches of 8 (bfloat16); the share of the matrix products' peak; memory
    training    at --train-shape: target and all tokens a second of a plain loop over packed rows (AdamW, float32
                weights, bfloat16 products, the whole model), the share of the peak, memory

The peak is the best rate of a large matrix product measured in the same run. Parts come in the order of what they tell,
and a part that the time no longer allows is left out and says so. Goals: 80 % of the peak at 7b and twice padded
batches; 45 % of the peak in training. Writes one JSON file, also when a part fails, and prints a table.
"""

import argparse
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from scoring import (
    RESULTS,
    SHAPES,
    Measured,
    candidates,
    device_name,
    flops,
    gemm_rate,
    lines_of,
    make_chat,
    make_model,
    modes_of,
    pairs,
    peak_memory,
    synchronize,
    take_turns,
)

from models_py.student.packed import configurations, inside_documents
from models_py.student.packed_attention import register
from models_py.student.scorer import Scorer
from models_py.training.examples import labelled_rows
from models_py.training.losses import packed, target_nll
from models_py.training.plan import best_fit
from models_py.training.settings import TrainingRow

GOALS = {"scoring_share_7b": 0.80, "scoring_times_padded_7b": 2.0, "training_share": 0.45}
# Rows of ours, of one at a time, of padded batches: so that each takes seconds.
ROWS = {"0.5b": (1200, 24, 160), "1.5b": (800, 16, 96), "7b": (320, 8, 40), "135m": (48, 4, 8), "tiny": (4, 2, 4)}
# What a part takes at most, seconds on one H100 with room: none begins when so much is not left.
TAKES_S = {"7b": 150, "1.5b": 90, "0.5b": 75, "training": 75}
PASS_TOKENS = {"cuda": 8_192, "cpu": 512}
WARM_STEPS, STEPS = 3, 10


def scoring(shape: str, device: str, dtype: torch.dtype, seed: int) -> dict[str, Any]:
    """One size: how exact, how fast, how much of the peak."""
    rows_of_ours, one_by_one, in_batches = ROWS[shape]
    rows = dict(enumerate(candidates(pairs(rows_of_ours, seed))))
    chat = make_chat([text for row in rows.values() for pair in row.values() for text in pair])
    model = make_model(shape, device, dtype, seed)
    scorer = Scorer(model, chat)
    asked = argparse.Namespace(modes="abc", reference_rows=one_by_one, padded_rows=in_batches)
    modes = modes_of(asked, scorer, scorer, rows_of_ours, str(dtype).removeprefix("torch."))
    measured, score, _ = modes["b"]
    modes["b"] = (measured, score, in_batches)  # cheap beside one at a time: more rows make a better measure
    peak_wall, peak_cpu = take_turns(modes, rows, max(8, rows_of_ours // 4), device, dtype)
    told = lines_of(modes, device, peak_wall=peak_wall, peak_cpu=peak_cpu)
    lines = dict(zip(modes, told, strict=True))
    exact = modes["a"][0]
    if device == "cuda":  # both copies of the model are there all the time; each mode needs one
        own = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        for key, line in lines.items():
            line["peak_bytes"] -= own if key == "a" else own * 4 // dtype.itemsize
    return {
        "shape": shape,
        "peak": peak_wall,
        "path": scorer.path,
        "paths_left": scorer.paths_left,
        "exactness": {
            "packed": nats_apart(exact, modes["c"][0]),
            "one_by_one": nats_apart(exact, modes["a-dtype"][0]) if "a-dtype" in modes else None,
            "padded": nats_apart(exact, modes["b"][0]),
        },
        "modes": lines,
        "times_padded": lines["c"]["rows_per_s"] / lines["b"]["rows_per_s"],
        "times_one_by_one": lines["c"]["rows_per_s"] / lines.get("a-dtype", lines["a"])["rows_per_s"],
    }


def nats_apart(exact: Measured, other: Measured) -> dict[str, float]:
    """How far nats a token are from the exact ones, over the terms that both have."""
    apart = [
        (terms[term] - exact.terms[row][name][term])
        for row in exact.terms.keys() & other.terms.keys()
        for name, terms in other.terms[row].items()
        for term in terms.keys() & exact.terms[row].get(name, {}).keys()
    ]
    sizes = [abs(one) for one in apart] or [math.nan]
    return {
        "terms": len(apart),
        "median": statistics.median(sizes),
        "largest": max(sizes),
        "mean_signed": statistics.fmean(apart) if apart else math.nan,
    }


def training(shape: str, device: str, seed: int) -> dict[str, Any]:
    """A plain loop over packed rows: float32 weights and AdamW, products in bfloat16 on CUDA."""
    rows = pairs(400 if device == "cuda" else 12, seed)
    chat = make_chat([text for row in rows for text in row])
    kept, _ = labelled_rows([TrainingRow(str(n), *row) for n, row in enumerate(rows)], chat)
    model = make_model(shape, device, torch.float32, seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")
    register()
    bf16 = device == "cuda"
    peak = gemm_rate(device, torch.bfloat16 if bf16 else torch.float32)[0]
    limit = PASS_TOKENS[device]

    def step(inputs: dict[str, Any]) -> tuple[int, int]:
        moved = {name: one.to(device) if torch.is_tensor(one) else one for name, one in inputs.items()}
        with torch.autocast(device, torch.bfloat16, enabled=bf16), inside_documents(configurations(model)):
            losses = target_nll(model, moved)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return moved["input_ids"].numel(), len(losses)

    while True:
        packs = [packed([kept[at] for at in pack]) for pack in best_fit([len(row.input_ids) for row in kept], limit)]
        packs.sort(key=lambda pack: -pack["input_ids"].numel())  # memory problems show at once
        try:
            for at in range(WARM_STEPS):
                step(packs[at % len(packs)])
            break
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            if limit <= 1_024:
                raise
            limit //= 2
    with peak_memory(device) as memory:
        synchronize(device)
        started, tokens, targets, operations = time.perf_counter(), 0, 0, 0.0
        for at in range(STEPS):
            seen, counted = step(packs[at % len(packs)])
            tokens, targets = tokens + seen, targets + counted
            operations += 3 * flops(model, seen, counted)  # forward once, backward twice
        synchronize(device)
        seconds = time.perf_counter() - started
    peak = max(peak, gemm_rate(device, torch.bfloat16 if bf16 else torch.float32)[0])
    return {
        "shape": shape,
        "pass_tokens": limit,
        "steps": STEPS,
        "tokens_per_s": tokens / seconds,
        "target_tokens_per_s": targets / seconds,
        "share_of_gemm_peak": operations / seconds / peak,
        "peak": peak,
        "peak_bytes": memory[0],
    }


# ---- the run


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every part that the time allows, in the order of what it tells."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, arguments.dtype or ("bfloat16" if device == "cuda" else "float32"))
    began = time.perf_counter()
    result: dict[str, Any] = {
        "device": device_name(device),
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "scoring": {},
        "training": None,
        "left_out": [],
        "goals": GOALS,
    }
    shapes = arguments.shapes or (["7b", "1.5b", "0.5b"] if device == "cuda" else ["tiny"])
    train_shape = arguments.train_shape or ("1.5b" if device == "cuda" else "tiny")
    parts: list[tuple[str, str, Callable[[], dict[str, Any]]]] = [
        ("scoring", shape, functools.partial(scoring, shape, device, dtype, arguments.seed)) for shape in shapes
    ]
    parts.insert(1, ("training", train_shape, functools.partial(training, train_shape, device, arguments.seed)))
    for kind, shape, part in parts:
        name = f"{kind} at {shape}"
        left = 60 * arguments.minutes - (time.perf_counter() - began)
        if left < TAKES_S.get("training" if kind == "training" else shape, 0):
            result["left_out"].append(f"{name}: {left:.0f} s are left of {arguments.minutes} minutes")
            continue
        print(f"\n{name}", flush=True)
        started = time.perf_counter()
        try:
            found = part()
        except Exception as error:  # the other parts tell something all the same
            result["left_out"].append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        else:
            found["seconds"] = time.perf_counter() - started
            if kind == "training":
                result["training"] = found
            else:
                result["scoring"][shape] = found
        if device == "cuda":
            torch.cuda.empty_cache()
        arguments.out.write_text(json.dumps(result, indent=1), "utf-8")
    result["seconds"] = time.perf_counter() - began
    arguments.out.write_text(json.dumps(result, indent=1), "utf-8")
    return result


def table(result: dict[str, Any]) -> str:
    """What came out, for people."""
    lines = [
        f"\n{result['device']}, {result['dtype']}, torch {result['torch']}, transformers {result['transformers']}, "
        f"{result['seconds']:.0f} s\n",
        "| scoring | mode | dtype | rows/s | tokens/s | of peak | peak GiB | nats a token off: median, largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    off = {"a-dtype": "one_by_one", "b": "padded", "c": "packed"}
    for shape, one in result["scoring"].items():
        for key, line in one["modes"].items():
            apart = one["exactness"].get(off.get(key, ""))
            exact = f"{apart['median']:.1e}, {apart['largest']:.1e}" if apart else "the yardstick"
            lines.append(
                f"| {shape} | {line['name']} | {line['dtype']} | {line['rows_per_s']:.2f} | "
                f"{line['tokens_per_s']:,.0f} | {line['share_of_gemm_peak']:.0%} | "
                f"{line['peak_bytes'] / 2**30:.1f} | {exact} |"
            )
        lines.append(
            f"| {shape} | packed is {one['times_padded']:.2f}x padded, {one['times_one_by_one']:.2f}x one at a time; "
            f"{one['path']}; peak {one['peak'] / 1e9:,.0f} GFLOP/s |||||||"
        )
        lines += [f"| {shape} | {left} |||||||" for left in one["paths_left"]]
    if one := result["training"]:
        lines.append(
            f"\nTraining at {one['shape']}: {one['tokens_per_s']:,.0f} tokens/s, {one['target_tokens_per_s']:,.0f} "
            f"of them targets, {one['share_of_gemm_peak']:.0%} of the peak, {one['peak_bytes'] / 2**30:.1f} GiB, "
            f"{one['pass_tokens']:,} tokens a pass"
        )
    lines += [f"Left out: {one}" for one in result["left_out"]]
    if "7b" in result["scoring"]:
        seven = result["scoring"]["7b"]
        reached = {
            "scoring_share_7b": seven["modes"]["c"]["share_of_gemm_peak"],
            "scoring_times_padded_7b": seven["times_padded"],
            "training_share": (result["training"] or {}).get("share_of_gemm_peak", math.nan),
        }
        lines += [f"Goal {name}: {reached[name]:.2f} of {goal:.2f}" for name, goal in GOALS.items()]
    return "\n".join(lines)


def main() -> int:
    """Exit status 1 where a part failed or was left out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES], help="default: 7b 1.5b 0.5b, without a GPU tiny")
    parser.add_argument("--train-shape", choices=[*SHAPES], help="default: 1.5b, without a GPU tiny")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="of scoring; default: bfloat16, on a CPU float32"
    )
    parser.add_argument("--minutes", type=float, default=8, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = run(arguments)
    print(table(result))
    print(f"written: {arguments.out}")
    return 1 if result["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
