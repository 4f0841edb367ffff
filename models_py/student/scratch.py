"""A toy student made from nothing: for the quickstart and for tests, on one core, without a network.

A byte-level BPE tokenizer (any Unicode text has ids) and a small Llama, trained on the language reference that every
Python carries (`pydoc_data.topics`, 465,000 characters) plus files of the profile. Half of what it reads is plain text,
half is the same text cut in two at a random word and put through the chat template, so that it knows its template:

    <|start|><|user|>The with statement wraps the<|end|><|assistant|>execution of a block ...<|end|>

It knows little more than which words are frequent and follow each other: its scores are real statistics of a real
model, and no judgement (a shuffled answer helps it as much as the right one). Whoever wants judgement names a real
student. The same spec, texts and versions give the same weights on the same machine. torch is imported inside.
"""

import hashlib
import importlib.metadata
import itertools
import json
import math
import platform
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from models_py.content import fingerprint, hashed_fields
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.publish import published_folder
from models_py.student.spec import ScratchSpec

# Part of every identity: raise it when what is trained changes without the spec changing.
_RECIPE_VERSION = 1
# The fields of a spec that every identity hashes; `texts` are hashed by what they say.
_ALWAYS_HASHED = (
    "vocab_size",
    "hidden_size",
    "layers",
    "heads",
    "max_length",
    "window",
    "steps",
    "batch_size",
    "learning_rate",
    "seed",
)
_START, _STOP, _PAD, _USER, _ASSISTANT, _END = (
    "<|start|>",
    "<|stop|>",
    "<|pad|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' -}}"
    "{{- message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{{- '<|assistant|>' if add_generation_prompt else '' -}}"
)
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_WARMUP = 0.1  # share of the steps
_MOST_BYTES = 64 << 20  # of one file


def scratch_folder(spec: ScratchSpec, students_dir: Path) -> Path:
    """Where the toy that this spec describes lies, or will lie once `train_scratch` has published it there."""
    return students_dir / f"scratch-{scratch_identity(spec, read_corpus(spec.texts))[:16]}"


def is_trained(folder: Path) -> bool:
    """Whether a toy was published there and nothing of it was removed since."""
    return all((folder / name).is_file() for name in _FILES)


def scratch_identity(spec: ScratchSpec, corpus: str) -> str:
    """What a trained toy is found again by: spec, text (not where it lies) and the versions that shape the weights."""
    fields = hashed_fields(replace(spec, texts=()), _ALWAYS_HASHED)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    text_hash = hashlib.sha256(corpus.encode("utf-8", "surrogatepass")).hexdigest()
    return fingerprint(_RECIPE_VERSION, fields, text_hash, versions, platform.python_version())


def read_corpus(texts: Sequence[Path]) -> str:
    """The text every Python carries and that of the files named.

    JSON Lines files give the strings of each object, lines that are no object are passed over; other files are text.
    Raises UserError for a file that cannot be read.
    """
    from pydoc_data.topics import topics

    parts = [topics[name] for name in sorted(topics)]
    for path in texts:
        text = _text_of(path)
        parts += _json_strings(text) if path.suffix == ".jsonl" else [text]
    return "\n\n".join(parts)


def _text_of(path: Path) -> str:
    """The text of a file that ends, and soon enough for a toy."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"scratch.texts: {path} is no file that ends; write its text to a file")
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"scratch.texts: {path} cannot be read ({error.strerror}); name an existing file") from error
    if len(text) > _MOST_BYTES:
        raise UserError(
            f"scratch.texts: {path} is longer than {_MOST_BYTES >> 20} MB, of which a toy would see a small part; name "
            "a shorter file"
        )
    return text.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _json_strings(lines: str) -> Iterator[str]:
    for line in lines.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield from (value for value in row.values() if isinstance(value, str))


def train_scratch(spec: ScratchSpec, out_dir: Path, on_progress: OnProgress = silent) -> list[float]:
    """Train the toy and publish it whole at `out_dir`. Returns the loss of each step, in nats a token."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    corpus = read_corpus(spec.texts)
    on_progress(Progress(0, spec.steps, "steps", note="toy tokenizer"))
    tokenizer = _train_tokenizer(spec, corpus)
    end = tokenizer.convert_tokens_to_ids(_END)
    windows = _windows(spec, tokenizer, corpus)
    with _deterministic(spec.seed):
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec.hidden_size,
            intermediate_size=spec.hidden_size * 5 // 2,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_key_value_heads=spec.heads,
            max_position_embeddings=spec.max_length,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlamaForCausalLM(config)
        losses = _train(spec, model, windows, tokenizer.pad_token_id, on_progress)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=end, pad_token_id=tokenizer.pad_token_id
    )

    bars_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with published_folder(out_dir) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if bars_shown:
        logging.enable_progress_bar()
    return losses


def _train_tokenizer(spec: ScratchSpec, corpus: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=[_START, _STOP, _PAD, _USER, _ASSISTANT, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.split("\n\n"), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_START,
        eos_token=_STOP,
        pad_token=_PAD,
        additional_special_tokens=[_USER, _ASSISTANT, _END],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=spec.max_length,
    )


def _windows(spec: ScratchSpec, tokenizer: Any, corpus: str) -> Iterator[list[int]]:
    """Windows of token ids without end, each at most `spec.window` long: plain text and two turns, alternating."""
    draw = random.Random(spec.seed)
    words = [match.start() for match in re.finditer(r"\S+", corpus)]
    most = min(spec.window * 3 // 4, len(words) - 1)  # words; a word of this text is about 1.4 tokens
    start, user, assistant, end = tokenizer.convert_tokens_to_ids([_START, _USER, _ASSISTANT, _END])

    def ids(first: int, last: int) -> list[int]:
        text = corpus[words[first] : words[last]].rstrip()
        encoded: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return encoded

    while True:
        length = draw.randint(most // 4, most)
        first = draw.randrange(len(words) - length)
        cut, last = draw.randint(first + 1, first + length - 1), first + length
        yield [start, *ids(first, last)][: spec.window]
        yield [start, user, *ids(first, cut), end, assistant, *ids(cut, last), end][: spec.window]


def _train(
    spec: ScratchSpec, model: Any, windows: Iterator[list[int]], pad: int, on_progress: OnProgress
) -> list[float]:
    """Next-token training on every position. Warms up, then falls to a tenth along a cosine."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    losses: list[float] = []
    model.train()
    for step in range(spec.steps):
        warm = min(1.0, (step + 1) / (_WARMUP * spec.steps))
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * step / spec.steps))
        batch = list(itertools.islice(windows, spec.batch_size))
        width = max(map(len, batch))
        inputs = torch.tensor([ids + [pad] * (width - len(ids)) for ids in batch])  # (B, T)
        has_next = torch.tensor([[at < len(ids) - 1 for at in range(width - 1)] for ids in batch])  # (B, T - 1)
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state  # (B, T, H)
        logits = model.lm_head(hidden[:, :-1][has_next])  # (N, V), padding left out
        loss = torch.nn.functional.cross_entropy(logits, inputs[:, 1:][has_next])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        on_progress(Progress(step + 1, spec.steps, "steps", note=f"toy student, loss {losses[-1]:.2f}"))
    return losses


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed torch, demand deterministic kernels and one thread; leave all three as they were found.

    With one thread the weights do not depend on the number of cores, and a busy machine slows training down no more
    than its share (two threads that waited for each other made it several times slower).
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.set_num_threads(threads)
