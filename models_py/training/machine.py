"""What a machine must have for a training as it is asked for, found before anything is loaded."""

from collections.abc import Iterator
from importlib.util import find_spec

from models_py.errors import refuse
from models_py.training.settings import TrainingSettings


def require_able_machine(settings: TrainingSettings) -> None:
    """Raise UserError for what this machine lacks, a line each."""
    refuse(lacking(settings))


def lacking(settings: TrainingSettings) -> Iterator[str]:
    """What this machine lacks, each with the setting that asks for it. Imports torch only where it is asked."""
    for tracker in settings.report_to:
        if find_spec(tracker) is None:
            yield (
                f"training.report_to names {tracker}, which is not installed; install it into .venv "
                f"(`.venv/bin/pip install {tracker}`), or leave it out."
            )
    if settings.method != "qlora" and settings.processes == 1:
        return
    import torch

    on_cuda = torch.cuda.is_available()
    if settings.method == "qlora":
        if not on_cuda:
            yield (
                "training.method is qlora, and this machine has no CUDA device, which the four bits of bitsandbytes "
                "need; set it to lora."
            )
        elif find_spec("bitsandbytes") is None:
            yield (
                "training.method is qlora, and bitsandbytes is not installed; install it into .venv "
                "(`.venv/bin/pip install bitsandbytes`), or set the method to lora."
            )
        if settings.processes > 1:
            yield "training.method is qlora, whose four bits cannot be shared; set training.processes to 1."
    if on_cuda and settings.processes_a_machine > torch.cuda.device_count():
        share = f", {settings.processes_a_machine} a machine" if settings.machines > 1 else ""
        yield (
            f"training.processes is {settings.processes}{share}, and this machine has {torch.cuda.device_count()} "
            "GPUs; one process takes one."
        )
