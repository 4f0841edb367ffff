"""Answers by plain transformers: prompts of like length in one batch, padded on the left, shortest work last.

A batch holds `Generation.batch_tokens` tokens at most, prompts, answers and padding together; one that is too much for
the memory is written in halves. All of a batch is there when its longest answer is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from models_py.content import fingerprint
from models_py.evaluation.answer import Answer, Asked, Prompt, ends_of_turn, prompts, read_answer
from models_py.evaluation.answer_settings import Generation
from models_py.evaluation.model import EvaluatedModel
from models_py.progress import OnProgress, Progress, silent
from models_py.student.batching import plan_batches
from models_py.student.chat import StudentChat
from models_py.student.engine import is_out_of_memory
from models_py.student.loading import load_chat, load_model

_TELL_EVERY_STEPS = 16
_BATCH_TOKENS = {"cpu": 4_096, "cuda": 65_536}


def transformers_answers(
    model: EvaluatedModel, asked: Sequence[Asked], generation: Generation, on_progress: OnProgress = silent
) -> Iterator[Answer]:
    """An answer to each, as batches come."""
    chat = load_chat(model.student)
    ready: list[Prompt] = []
    for one in prompts(chat, asked, generation):
        if isinstance(one, Prompt):
            ready.append(one)
        else:
            yield one
    if ready:
        writer = _Writer(load_model(model.student), chat, generation, on_progress, total=len(ready))
        yield from writer.write_all(ready)


class _Writer:
    """A loaded model that writes answers."""

    def __init__(
        self, model: Any, chat: StudentChat, generation: Generation, on_progress: OnProgress, *, total: int
    ) -> None:
        self._model = model
        self._chat = chat
        self._generation = generation
        self._on_progress = on_progress
        self._total = total
        self._budget = generation.batch_tokens or _BATCH_TOKENS[model.device.type]
        self._ends = ends_of_turn(chat)
        self._done, self._tokens, self._begun = 0, 0, time.monotonic()
        # What the folder recommends (temperature, penalties) is not what is asked for.
        model.generation_config = GenerationConfig()

    def write_all(self, ready: Sequence[Prompt]) -> Iterator[Answer]:
        """In batches: those that leave room for a whole answer together, each of the others alone."""
        full = [one for one in ready if one.room == self._generation.max_tokens]
        waiting = [[one] for one in ready if one.room < self._generation.max_tokens]
        plan = plan_batches([len(one.ids) + one.room for one in full], self._budget)
        waiting += [[full[place] for place in batch] for batch in reversed(plan)]
        while waiting:
            batch = waiting.pop()  # the longest first
            try:
                written = self._write(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                torch.cuda.empty_cache()
                if len(batch) > 1:
                    waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                    continue
                (prompt,) = batch
                what = f"an answer to {len(prompt.ids)} tokens does not fit into memory"
                written = [Answer(prompt.instruction_id, status="out_of_memory", reason=what)]
            self._done += len(written)
            self._tokens += sum(one.tokens or 0 for one in written)
            self._tell()
            yield from written

    def _write(self, batch: Sequence[Prompt]) -> list[Answer]:
        """The answers of one batch."""
        started = time.monotonic()
        watch = _Watch(len(batch), lambda step: self._tell(step / batch[0].room * len(batch)))
        rows, prompt_length = self._generate(batch, watch)
        seconds = (time.monotonic() - started) / len(batch)
        return [
            Answer(
                prompt.instruction_id,
                prompt_tokens=len(prompt.ids),
                status="not_finite",
                reason="the model's logits are NaN or infinite",
            )
            if broken
            else replace(read_answer(self._chat, prompt, row[prompt_length:], self._ends), seconds=seconds)
            for prompt, row, broken in zip(batch, rows, watch.broken(), strict=True)
        ]

    def _generate(self, batch: Sequence[Prompt], watch: "_Watch") -> tuple[list[list[int]], int]:
        """What the model makes of the padded prompts, rows of (prompt + new,) ids, and how long the prompts are."""
        longest = max(len(one.ids) for one in batch)
        end = self._chat.end_of_turn_id
        padded = [[end] * (longest - len(one.ids)) + one.ids for one in batch]
        mask = [[0] * (longest - len(one.ids)) + [1] * len(one.ids) for one in batch]
        device = self._model.device
        generation = self._generation
        sampled: dict[str, Any] = {}
        if generation.temperature > 0:
            sampled = {"do_sample": True, "temperature": generation.temperature, "top_p": generation.top_p, "top_k": 0}
            drawn = fingerprint(generation.seed, [one.instruction_id for one in batch])
            torch.manual_seed(int(drawn[:15], 16))
        with torch.inference_mode():
            rows = self._model.generate(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=torch.tensor(mask, device=device),
                logits_processor=LogitsProcessorList([watch]),
                max_new_tokens=max(one.room for one in batch),
                eos_token_id=sorted(self._ends),
                pad_token_id=end,
                **(sampled or {"do_sample": False}),
            )
        return rows.tolist(), longest

    def _tell(self, more: float = 0.0) -> None:
        """Answers that are there, and of the batch under way the share that is at least behind it."""
        rate = self._tokens / max(time.monotonic() - self._begun, 1e-9)
        note = f"{rate:,.0f} tokens/s" if self._tokens else ""
        share = min(1.0, (self._done + more) / self._total)
        self._on_progress(Progress(self._done, self._total, "answers", share, note))


class _Watch(LogitsProcessor):
    """Changes nothing: sees at each step whether logits are numbers, and tells how many steps were taken."""

    def __init__(self, rows: int, tell: Callable[[int], None]) -> None:
        self._rows = rows
        self._tell = tell
        self._steps = 0
        self._broken: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # -inf is how a processor forbids a token, and some models have it built in.
        broken = scores.isnan().any(1) | (scores == torch.inf).any(1)  # (B,)
        self._broken = broken if self._broken is None else self._broken | broken
        self._steps += 1
        if self._steps % _TELL_EVERY_STEPS == 0:
            self._tell(self._steps)
        return scores

    def broken(self) -> list[bool]:
        """Of each row whether a step's logits were none."""
        return [False] * self._rows if self._broken is None else [bool(one) for one in self._broken.tolist()]
