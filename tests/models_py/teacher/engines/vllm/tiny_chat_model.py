"""A chat model small enough to be made by each test run, in the form every engine loads: a folder.

Tokenizer, chat template and shape are those of the toy of models_py/student/scratch.py; its weights are drawn so wide
that replies differ from prompt to prompt. It writes nonsense: where a reply must be usable, `REPLY_PATTERN` constrains
what it may write, as users of vLLM do.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from models_py.student.scratch import train_scratch
from models_py.student.spec import ScratchSpec

_TEXT = r"[a-z]{3,8}( [a-z]{2,8}){3,6}"
_BLOCKS = (rf"\[{tag}\] {_TEXT} \[End\]" for tag in ("New Instruction", "New Answer", "Better Answer"))
REPLY_PATTERN = r"\n\n".join((r"Vague\.", *_BLOCKS))  # a usable reply in either phase


def tiny_chat_model(folder: Path, *, max_length: int = 2048, seed: int = 1) -> Path:
    """Makes the model at `folder`; another seed gives other weights."""
    shape = ScratchSpec(vocab_size=600, hidden_size=64, layers=1, heads=2, max_length=max_length, steps=1)
    train_scratch(shape, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder
