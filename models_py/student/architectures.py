"""Which architectures the installed transformers knows, read from its sources: importing them takes seconds and torch.

    "llama" in causal_models()      # model_type of a config.json
    reads_gguf("qwen3moe")          # general.architecture of a GGUF file

Where the sources are not as they were read here, nothing is known and None is given: then loading tells.
"""

import ast
import functools
import importlib.util
import re
from pathlib import Path

_CAUSAL = ("transformers/models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
_GGUF = ("transformers/integrations/ggml.py", "GGUF_CONFIG_MAPPING")


@functools.cache
def causal_models() -> frozenset[str] | None:
    """Every `model_type` that AutoModelForCausalLM loads."""
    return _first_strings(*_CAUSAL)


def reads_gguf(architecture: str) -> bool:
    """Whether transformers reads GGUF files of that architecture; spellings differ by their dashes alone."""
    known = _first_strings(*_GGUF)
    return known is None or _bare(architecture) in {_bare(name) for name in known}


def _bare(name: str) -> str:
    return re.sub(r"[-_]", "", name.lower())


@functools.cache
def _first_strings(file: str, variable: str) -> frozenset[str] | None:
    """The keys of a dictionary, or the first ones of a list of pairs, that a module of transformers defines."""
    package, _, inside = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    try:
        tree = ast.parse((Path(places[0]) / inside).read_text("utf-8"))
    except (IndexError, OSError, SyntaxError):
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(_is_named(target, variable) for target in node.targets):
            return _strings(node.value) or None
    return None


def _is_named(target: ast.expr, variable: str) -> bool:
    return isinstance(target, ast.Name) and target.id == variable


def _strings(value: ast.expr | None) -> frozenset[str]:
    if isinstance(value, ast.Call):  # OrderedDict([...])
        value = value.args[0] if value.args else None
    if isinstance(value, ast.Dict):
        found = value.keys
    elif isinstance(value, ast.List | ast.Tuple):
        found = [pair.elts[0] for pair in value.elts if isinstance(pair, ast.Tuple) and pair.elts]
    else:
        found = []
    return frozenset(one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str))
