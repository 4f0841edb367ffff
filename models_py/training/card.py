"""The README.md of a checkpoint: a model card, with the front matter that the Hugging Face hub reads.

    card(CardFacts(manifest=content, policy="...", sources=[...], base_license="apache-2.0", serve="make serve ..."))

It says in words and tables what manifest.json says for programs, and nothing that is not known: a licence that nobody
stated is `unknown`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_py.card_text import TAG, SourceOfRows, card_text
from models_py.export.licenses import license_metadata

_LINEAGE = {
    "data_version": "data version of the rows",
    "snapshot_id": "lake snapshot that holds them",
    "catalog": "catalog of that lake",
    "rows_fingerprint": "fingerprint of the tokens trained on",
    "profile": "profile",
    "created_at": "trained",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card is made of.

    manifest: as it will be published. policy: what it keeps, a sentence. sources: of the rows, with their licences.
    base_license: as the base model's own files state it. serve: a command line.
    """

    manifest: Mapping[str, Any]
    policy: str
    sources: Sequence[SourceOfRows]
    base_license: str | None
    serve: str


def card(facts: CardFacts) -> str:
    """The text of README.md."""
    manifest = facts.manifest
    return card_text(
        _front_matter(facts),
        Path(__file__).with_name("card.md.jinja"),
        {"figure": _figure},
        manifest=manifest,
        base=base_of(manifest),
        base_license=facts.base_license,
        policy=facts.policy,
        sources=facts.sources,
        serve=facts.serve,
        choice=[*_choice(manifest)],
        lineage=[(name, manifest[key]) for key, name in _LINEAGE.items() if manifest.get(key) is not None],
        adapter=manifest.get("adapter"),
    )


def base_of(manifest: Mapping[str, Any]) -> str:
    """What the base model is called: a hub id, or the name of its folder or file."""
    student = manifest["student"]
    return str(student["model"]) if student.get("revision") else Path(student["model"]).name


def _front_matter(facts: CardFacts) -> dict[str, Any]:
    student = facts.manifest["student"]
    return {
        **license_metadata([facts.base_license]),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": student["model"]} if student.get("revision") else {}),
        "tags": [TAG, "selective-reflection-tuning", "sft"],
    }


def _choice(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who wrote and who chose: teacher, prompts, scorer, policy, cuts."""
    if (teacher := manifest.get("teacher")) is not None:
        stands_for = ", ".join(filter(None, [teacher.get("model"), teacher.get("engine")]))
        yield "teacher", f"{teacher['name']} ({stands_for})"
        yield "what answered", teacher["identity"]
    for phase, version in manifest.get("prompt_versions", {}).items():
        yield f"prompt version, {phase}", version
    if (scorer := manifest.get("scorer")) is not None:
        yield "scored by", f"{scorer['name']}, fingerprint {scorer['fingerprint']}"
    yield "student fingerprint", manifest["student"]["fingerprint"]
    for name, value in manifest.get("selection", {}).items():
        yield name, _figure(value)


def _figure(value: object) -> str:
    """A value for people: counts with commas, small numbers as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
