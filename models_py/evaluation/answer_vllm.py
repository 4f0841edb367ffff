"""Answers by vLLM: all prompts at once, each answer as it finishes. vllm is imported inside."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from models_py.evaluation.answer import Answer, Asked, Prompt, ends_of_turn, prompts, read_answer
from models_py.evaluation.answer_settings import Generation
from models_py.evaluation.model import EvaluatedModel
from models_py.progress import OnProgress, Progress, silent
from models_py.student.loading import load_chat
from models_py.student.spec import ResolvedStudent
from models_py.teacher.engines.vllm.offline import VllmEngine
from models_py.teacher.spec import VllmSettings

_SECTION = "evaluation.generation"


def vllm_answers(
    model: EvaluatedModel,
    asked: Sequence[Asked],
    generation: Generation,
    warehouse: Path | None = None,
    on_progress: OnProgress = silent,
) -> Iterator[Answer]:
    """An answer to each, as they finish; what has not finished when the caller leaves is given up.

    Raises UserError when vLLM cannot load the model.
    """
    chat = load_chat(model.student)
    ready: dict[str, Prompt] = {}
    for place, one in enumerate(prompts(chat, asked, generation)):
        if isinstance(one, Prompt):
            ready[str(place)] = one
        else:
            yield one
    if not ready:
        return
    student = model.student
    settings = VllmSettings(
        model=student.model,
        revision=student.revision,
        max_length=student.max_length,
        engine_args={"dtype": _dtype(student), **generation.engine_args},
    )
    ends = ends_of_turn(chat)
    with closing(VllmEngine(_SECTION, settings, warehouse)) as engine:
        llm = engine.loaded().llm_engine
        for number, prompt in ready.items():
            llm.add_request(number, {"prompt_token_ids": prompt.ids}, _sampling(generation, prompt, ends))
        started, total, tokens = time.monotonic(), len(ready), 0
        try:
            while ready:
                for output in llm.step():
                    if not output.finished:
                        continue
                    prompt = ready.pop(output.request_id)
                    answer = read_answer(chat, prompt, output.outputs[0].token_ids, ends)
                    tokens += answer.tokens or 0
                    done, seconds = total - len(ready), time.monotonic() - started
                    on_progress(Progress(done, total, "answers", note=f"{tokens / max(seconds, 1e-9):,.0f} tokens/s"))
                    yield replace(answer, seconds=seconds / done)
        finally:
            llm.abort_request(list(ready))


def _dtype(student: ResolvedStudent) -> str:
    """The one that everything else of this project loads it in: vLLM's own `auto` halves float32."""
    from vllm.platforms import current_platform

    if student.dtype != "auto":
        return student.dtype
    return "float32" if current_platform.is_cpu() else "bfloat16"


def _sampling(generation: Generation, prompt: Prompt, ends: frozenset[int]) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=generation.temperature,
        top_p=generation.top_p,
        seed=generation.seed if generation.temperature > 0 else None,
        max_tokens=prompt.room,
        stop_token_ids=sorted(ends),
        output_kind=RequestOutputKind.FINAL_ONLY,
        detokenize=False,
    )
