"""Under which licence a student's own files say that it is published.

    stated_license(spec, student)     # "apache-2.0", None where they say nothing

A GGUF file says it in its header, a folder and a hub model in the front matter of their README.md. Nothing is guessed.
"""

from pathlib import Path

import yaml

from models_py.student.gguf import is_gguf, locate
from models_py.student.gguf_header import read_header
from models_py.student.spec import ResolvedStudent, Student

CARD = "README.md"
_GGUF_KEY = "general.license"


def stated_license(spec: Student, student: ResolvedStudent) -> str | None:
    """The licence as it is written there. A toy that is trained here has none."""
    if spec.model is None:
        return None
    if is_gguf(spec.model):
        stated = read_header(locate(spec.model, f"students.{spec.name}.model")).values.get(_GGUF_KEY)
    else:
        card = _card(student)
        stated = _front_matter(card).get("license") if card else None
    return str(stated).strip() or None if isinstance(stated, str) else None


def _card(student: ResolvedStudent) -> Path | None:
    if student.revision is None:
        return Path(student.model) / CARD
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(student.model, CARD, revision=student.revision)
    return Path(found) if isinstance(found, str) else None


def _front_matter(card: Path) -> dict[str, object]:
    """What stands between the first two lines of dashes, {} where that is nothing that can be read."""
    try:
        lines = card.read_text(encoding="utf-8").splitlines()
        if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
            return {}
        values = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}
