r"""The README.md of an export: a data card, with the front matter that the Hugging Face hub reads.

    card(CardFacts(title="paper", ...))     # "---\nlicense: cc-by-4.0\n...\n---\n\n# paper\n..."

Only what is known is said: languages are not, licences as the profile states them. The same facts give the same text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_py.card_text import TAG, SourceOfRows, card_text
from models_py.export.data_files import Written, features
from models_py.export.licenses import license_metadata
from models_py.export.shapes import CANDIDATES, PREFERENCE, Shape

_TYPES = {
    "messages": "list of {role, content}",
    "message": "{role, content}",
    "turns": "list of {from, value}",
    "pairs": "list of [user, assistant]",
}
_USE = {
    "messages": "TRL's `SFTTrainer` takes it as it is. `assistant_only_loss=True` trains on answers alone.",
    "sharegpt": "For trainers that read ShareGPT conversations, such as LLaMA-Factory.",
    "alpaca": "For trainers that read Alpaca's columns, such as LLaMA-Factory.",
    "preference": "TRL's `DPOTrainer` takes it as it is.",
}
_LLAMA_FACTORY = (
    "LLaMA-Factory: `dataset_dir` is this folder, `dataset: {name}` (`dataset_info.json` tells it the rest)."
)
_SIZES = (("1K", 10**3), ("10K", 10**4), ("100K", 10**5), ("1M", 10**6), ("10M", 10**7))


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card is made of.

    name: of the recipe. files: config -> its file and what it holds, the first is the default. place: what
    `load_dataset` takes. counts, lineage: name and value, in order. policy: what it keeps. rights: a sentence on
    licences beyond those of the sources.
    """

    name: str
    shape: Shape
    what: str
    place: str
    files: Mapping[str, tuple[str, Written]]
    counts: Sequence[tuple[str, str]]
    lineage: Sequence[tuple[str, str]]
    policy: str
    sources: Sequence[SourceOfRows]
    rights: str


def card(facts: CardFacts) -> str:
    """The text of README.md."""
    return card_text(
        _front_matter(facts),
        Path(__file__).with_name("card.md.jinja"),
        {"type": lambda type: _TYPES.get(type, type)},
        title=f"{facts.name}, {facts.shape.name}",
        what=facts.what,
        place=facts.place,
        counts=facts.counts,
        use=f"{_USE[facts.shape.name]} {_LLAMA_FACTORY.format(name=facts.name)}",
        configs=[(config, written.columns) for config, (_, written) in facts.files.items()],
        candidates=CANDIDATES.name in facts.files,
        policy=facts.policy,
        lineage=facts.lineage,
        sources=facts.sources,
        rights=facts.rights,
    )


def _front_matter(facts: CardFacts) -> dict[str, Any]:
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for config, (file, written) in facts.files.items():
        default = {} if configs else {"default": True}
        data_files = [{"split": "train", "path": file}]
        configs.append({"config_name": config, "data_files": data_files, **default})
        infos.append({"config_name": config, "features": features(written.columns)})
    _, first = next(iter(facts.files.values()))
    kind = ("preference", "dpo") if facts.shape is PREFERENCE else ("instruction-tuning", "sft")
    return {
        **license_metadata(source.license for source in facts.sources),
        "pretty_name": f"{facts.name} ({facts.shape.name})",
        "task_categories": ["text-generation"],
        "tags": [TAG, "selective-reflection-tuning", *kind],
        "size_categories": [_size(first.rows)],
        "configs": configs,
        "dataset_info": infos,
    }


def _size(rows: int) -> str:
    """The hub's word for a number of rows."""
    below = next((place for place, (_, limit) in enumerate(_SIZES) if rows < limit), None)
    if below is None:
        return f"n>{_SIZES[-1][0]}"
    return f"n<{_SIZES[0][0]}" if below == 0 else f"{_SIZES[below - 1][0]}<n<{_SIZES[below][0]}"
