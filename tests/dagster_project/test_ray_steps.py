"""How many GPUs a step takes on a Ray cluster, by what it does."""

from pathlib import Path

import pytest

from dagster_project.profile.load import load_profile
from tests.support.profiles import toy_profile

pytestmark = pytest.mark.ray

VLLM = {"engine": "vllm", "model": "big/one", "engine_args": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}}


def test_a_step_takes_the_gpus_that_it_works_with_itself(tmp_path: Path) -> None:
    from dagster_project.ray_steps import gpus_of

    toy = load_profile(toy_profile(tmp_path))
    assert gpus_of(toy, "scoring__instruction_scores", "gpu") is None  # its actors have them
    assert gpus_of(toy, "profile__base_students", "gpu") == 1
    assert gpus_of(toy, "training__paper__student_checkpoint", "gpu") == 1
    assert gpus_of(toy, "training__paper__training_pairs", None) is None
    assert gpus_of(toy, "reflection__instruction_reflections", None) is None  # nobody here asks a model of its own

    replies = {"engine": "recorded", "replies": "replies.jsonl"}
    large = load_profile(toy_profile(tmp_path, teachers={"recorded": replies, "big": VLLM}, training={"processes": 4}))
    assert gpus_of(large, "reflection__instruction_reflections", None) == 8
    assert gpus_of(large, "training__paper__student_checkpoint", "gpu") == 4
    spread = load_profile(toy_profile(tmp_path, training={"processes": 4, "machines": 2}))
    assert gpus_of(spread, "training__paper__student_checkpoint", "gpu") is None  # its actors have them
