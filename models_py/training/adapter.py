"""LoRA: a few weights beside frozen ones, trained, saved as PEFT's adapter and merged into the model that is served.

    adapter/adapter_config.json        rank, alpha, the layers, the name of the base it belongs to
    adapter/adapter_model.safetensors  the two small matrices of each layer

Merging adds their product to the base's own weights, loaded anew in float32: rounding happens once, when the result is
stored in the base's dtype. Nothing is offered that vLLM would refuse to serve as an adapter (DoRA, whole modules saved
beside it). With `qlora` the frozen weights are held in four bits (NF4) while training; what is merged is never those.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models_py.student.loading import load_model
from models_py.student.spec import ResolvedStudent
from models_py.training.settings import Lora, TrainingSettings

FOLDER = "adapter"
_MOST_SERVED = 512  # vLLM's largest --max-lora-rank


def frozen_base(student: ResolvedStudent, settings: TrainingSettings, *, bf16: bool) -> Any:
    """The base that an adapter is trained beside: in the dtype that is computed in, or in four bits."""
    if settings.method != "qlora":
        return load_model(replace(student, dtype="bfloat16" if bf16 else "float32"), "cpu")
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        student.model,
        revision=student.revision,
        quantization_config=quantized,
        device_map={"": 0},
        local_files_only=True,
        trust_remote_code=False,
    )
    return prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
        model, use_gradient_checkpointing=settings.gradient_checkpointing
    )


def with_adapter(model: Any, settings: TrainingSettings) -> Any:
    """The model with an adapter that changes nothing yet; its first weights are drawn by the seed.

    Raises ValueError where no layer has a name that is asked for, of each of them.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    lora = settings.lora
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    names = [name for name, _ in model.named_modules()]
    absent = [one for one in modules if not any(f".{name}".endswith(f".{one}") for name in names)]
    if not isinstance(modules, str) and absent:
        raise ValueError(f"none is called {' or '.join(absent)}")
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules, task_type="CAUSAL_LM"
    )
    set_seed(settings.seed)
    return get_peft_model(model, config)


def save_adapter(model: Any, folder: Path, *, base: str, weights: Mapping[str, Any] | None = None) -> None:
    """Save the adapter below `folder`. base: what the student is called. weights: gathered from all processes."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    # Without a look whether the base's vocabulary has grown: it would be asked of the hub, and it never does here.
    model.save_pretrained(folder / FOLDER, state_dict=weights, save_embedding_layers=False)
    (folder / FOLDER / "README.md").unlink(missing_ok=True)  # a card to be filled in; the checkpoint has its own


def merged(base: Any, folder: Path) -> Any:
    """A base in float32 with the adapter below `folder` merged into it. Raises ValueError where weights are NaN."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, folder / FOLDER).merge_and_unload(safe_merge=True)


def told_of_adapter(model: Any, lora: Lora) -> dict[str, Any]:
    """What the manifest says of an adapter: what it is, and whether vLLM serves it beside its base."""
    too_wide = {"reason": f"vLLM serves ranks up to {_MOST_SERVED}"} if lora.rank > _MOST_SERVED else {}
    return {
        "folder": FOLDER,
        "rank": lora.rank,
        "alpha": lora.alpha,
        "layers": sorted({name.split(".")[-1] for name in model.targeted_module_names}),
        "parameters": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "served": not too_wide,
        **too_wide,
    }
