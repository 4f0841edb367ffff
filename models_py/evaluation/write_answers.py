"""Which engine makes a model answer.

    for answer in answers(model, asked, Generation(max_tokens=128), warehouse):
        ...

Greedy answers of both engines are the same as long as no two tokens are within rounding of each other; from the first
such place on they may differ. torch and vllm are imported where they are needed.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models_py.errors import UserError
from models_py.evaluation.answer import Answer, Asked
from models_py.evaluation.answer_settings import Generation
from models_py.evaluation.model import EvaluatedModel
from models_py.progress import OnProgress, silent


def answers(
    model: EvaluatedModel,
    asked: Sequence[Asked],
    generation: Generation,
    warehouse: Path | None = None,
    on_progress: OnProgress = silent,
) -> Iterator[Answer]:
    """An answer to each, as they come, in no order. warehouse: where vLLM writes its log.

    Raises UserError for a model that cannot be loaded and for an engine that is not there.
    """
    if engine_of(generation) == "vllm":
        from models_py.evaluation.answer_vllm import vllm_answers

        yield from vllm_answers(model, asked, generation, warehouse, on_progress)
    else:
        from models_py.evaluation.answer_transformers import transformers_answers

        yield from transformers_answers(model, asked, generation, on_progress)


def engine_of(generation: Generation) -> Literal["vllm", "transformers"]:
    """Who generates. Raises UserError where vLLM is asked for and not installed."""
    has_vllm = find_spec("vllm") is not None
    if generation.engine == "auto":
        return "vllm" if has_vllm and _has_gpu() else "transformers"
    if generation.engine == "vllm" and not has_vllm:
        raise UserError(
            "evaluation.generation.engine: vLLM is not installed. `make setup WITH=vllm` installs it; transformers "
            "does without."
        )
    return generation.engine


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
