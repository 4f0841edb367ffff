"""`dataset_info.json`: how LLaMA-Factory reads an export, in the words of its data/README.md.

With `dataset_dir: <the folder>` and `dataset: <the name>` it finds the file beside this one; after a push it asks the
hub for the repository. A shape that it does not read has no entry.
"""

from typing import Any

from models_py.export.data_files import Written
from models_py.export.shapes import ALPACA, MESSAGES, PREFERENCE, SHAREGPT, Shape

FILE = "dataset_info.json"
_OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
_KNOWN: dict[str, dict[str, Any]] = {
    ALPACA.name: {
        "columns": {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "history": "history",
        }
    },
    SHAREGPT.name: {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
    MESSAGES.name: {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _OPENAI_TAGS},
    PREFERENCE.name: {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "prompt", "chosen": "chosen_message", "rejected": "rejected_message"},
        "tags": _OPENAI_TAGS,
    },
}


def dataset_info(name: str, shape: Shape, written: Written, file: str, repo: str | None = None) -> dict[str, Any]:
    """The content of the file. repo: where the data set lies on the hub, once it does."""
    known = _KNOWN[shape.name]
    columns = {theirs: ours for theirs, ours in known["columns"].items() if ours in written.columns}
    return {name: {**({"hf_hub_url": repo} if repo else {"file_name": file}), **known, "columns": columns}}
