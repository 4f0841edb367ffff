"""How the cost of scoring grows from a thousand to a million requests: time and memory a request, which must be flat.

    python benchmarks/scoring_scale.py --requests 1000000

Short made-up pairs stream through a model so small that everything around it counts: reading requests, templates,
tokenization, packing, committing. Each batch that a step would commit is counted and dropped. The same process goes on
from 1k to all requests, so memory that is not given back shows as a rising curve. The requests themselves are made up
as they are read. Writes benchmarks/results/scoring-scale.json and .png. Not measured: the lake, and models of
any size.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster_project.steps.commits import commit_batches
from models_py.student.scorer import Scorer, ScoreRequest

RESULTS = Path(__file__).resolve().parent / "results"
TEXT = "name the colour of sky and say why it is blue light scattered by air water stone river month number"
WORDS = TEXT.split()


def requests(count: int) -> Iterator[ScoreRequest]:
    """Pairs of a few words, never two alike for long."""
    draw = random.Random(1)
    for n in range(count):
        words = draw.choices(WORDS, k=14)
        yield ScoreRequest(str(n), " ".join(words[:5]), "", " ".join(words[5:]) + f" {n}", instruction_terms=n % 2 == 0)


def make_scorer() -> Scorer:
    """A Llama of one layer and 16 dimensions, and a tokenizer trained on the words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from models_py.student.chat import StudentChat

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([TEXT * 9, "Here is an answer that somebody wrote: Which instruction"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    template = "{% for m in messages %}{{ 'Q: ' + m['content'] + '\\n' }}{% endfor %}{{ 'A: ' }}"
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    return Scorer(LlamaForCausalLM(config), StudentChat(tokenizer, template, 256), compile=False)


def resident_mib() -> float:
    """Memory of this process now, in MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="stop after so long")
    arguments = parser.parse_args()
    scorer = make_scorer()
    list(scorer.score(requests(200)))  # first calls load code
    marks = [n for n in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if n < arguments.requests]
    marks.append(arguments.requests)
    curve: list[dict[str, float]] = []
    done, wall, cpu, highest = 0, time.perf_counter(), time.process_time(), 0.0
    begun, last, last_wall, last_cpu = wall, 0, wall, cpu
    print(
        "| requests | ms wall a request, since the mark before | ms CPU | resident MiB, highest since the mark before |"
    )
    print("|---|---|---|---|")
    for batch in commit_batches(scorer.score(requests(arguments.requests), total=arguments.requests)):
        done += len(batch)
        highest = max(highest, resident_mib())
        assert all(row.status == "ok" for row in batch)
        late = time.perf_counter() - begun > arguments.minutes * 60
        if done < marks[0] and not late:
            continue
        marks = [mark for mark in marks if mark > done]
        wall, cpu = time.perf_counter(), time.process_time()
        point = {
            "requests": done,
            "wall_ms": (wall - last_wall) / (done - last) * 1e3,
            "cpu_ms": (cpu - last_cpu) / (done - last) * 1e3,
            "resident_mib": highest,
        }
        curve.append(point)
        print(f"| {done:,} | {point['wall_ms']:.3f} | {point['cpu_ms']:.3f} | {highest:,.0f} |", flush=True)
        last, last_wall, last_cpu, highest = done, wall, cpu, 0.0
        if late:
            print(f"stopped after {arguments.minutes:g} minutes")
            break
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scoring-scale.json").write_text(json.dumps(curve, indent=1), "utf-8")
    plot(curve, RESULTS / "scoring-scale.png")
    return 0


def plot(curve: list[dict[str, Any]], path: Path) -> None:
    """Two curves over the number of requests. Without matplotlib there is no plot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    counts = [point["requests"] for point in curve]
    times.plot(counts, [point["cpu_ms"] for point in curve], marker="o")
    memory.plot(counts, [point["resident_mib"] for point in curve], marker="o")
    for axes, label in ((times, "CPU ms a request"), (memory, "resident MiB")):
        axes.set(xscale="log", xlabel="requests", ylabel=label, ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
