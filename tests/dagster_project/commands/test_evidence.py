"""`make evidence` on a few revised pairs and a toy: the real pipeline, its tables counted by hand."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from dagster_project.commands import evidence
from dagster_project.commands.evidence import FOLDER, MARKS, gated, preferred, told_apart
from tests.support.profiles import SEEDS, write_profile

ANSWERS = ("Cats and dogs.", "It is blue in 5 ways.", "Good morning to all of you.", "The sea is deep and cold.")


def comparisons(*rows: tuple[str, str, float, float, float, float, str | None]) -> pl.DataFrame:
    """kind, pair, IFD and r-IFD of original and rewrite, what the guard says."""
    names = ["kind", "pair_id", "ifd_original", "ifd_rewrite", "r_ifd_original", "r_ifd_rewrite", "guard_objection"]
    return pl.DataFrame(
        rows, schema=dict(zip(names, [pl.String] * 2 + [pl.Float64] * 4 + [pl.String], strict=True)), orient="row"
    )


FRAME = comparisons(
    ("expert", "a", 0.5, 0.7, 0.4, 0.3, None),
    ("expert", "b", 0.5, 0.5, 0.4, 0.5, "rewrite_off_topic"),
    ("off_topic", "a", 0.5, 1.2, 0.4, 0.9, "rewrite_too_hard"),
    ("off_topic", "b", 0.5, 0.9, 0.4, 0.2, None),
)


def test_a_tie_prefers_neither_and_lower_is_better_where_it_is() -> None:
    assert preferred(FRAME, "expert", "IFD").value == 0.5
    assert preferred(FRAME, "expert", "r-IFD").value == 0.5
    assert preferred(FRAME, "off_topic", "IFD").value == 1.0


def test_good_and_bad_are_told_apart_by_the_sign_of_the_statistic() -> None:
    assert told_apart(FRAME, "off_topic", "IFD").value == 0.0  # 0.7 and 0.5 against 1.2 and 0.9
    assert told_apart(FRAME, "off_topic", "r-IFD").value == 0.5  # of 0.3 and 0.5 against 0.9 and 0.2 two win


def test_gates_only_take_away() -> None:
    assert [one.value for one in gated(FRAME, "off_topic")] == [1.0, 0.5, 0.5]
    assert [one.value for one in gated(FRAME, "expert")] == [0.5, 0.5, 0.5]


@pytest.mark.slow
def test_the_tables_come_from_a_real_run_and_stand_between_the_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        {
            "instruction": f"Say {n}.",
            "input": "",
            "output": f"No {n}",
            "revised_instruction": "",
            "revised_output": text,
        }
        for n, text in enumerate(ANSWERS)
    ]
    (data / evidence.EXPERTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    profile = yaml.safe_load((FOLDER / "profile.yaml").read_text().replace("../../warehouse/evidence", "warehouse"))
    scratch = {"texts": [str(SEEDS / "pairs.jsonl")], "vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6}
    profile["students"] = {"smollm2": {"scratch": {**scratch, "max_length": 256}}}
    page = tmp_path / "evidence.md"
    page.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}after\n")
    arguments = [str(data), "--profile", str(write_profile(tmp_path, profile)), "--page", str(page)]
    assert evidence.main(arguments) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{MARKS[0]}expert: 4 of 4 rewrites scored") and text.endswith(f"{MARKS[1]}after\n")
    assert "wrong_fact: 2 of 2" in text
    assert "old" not in text
    assert (tmp_path / "evidence" / "preferences.png").stat().st_size > 10_000
    assert "| padded | " in capsys.readouterr().out
    cells = next(one for one in text.splitlines() if one.startswith("| padded")).split(" | ")
    assert cells[-1] == "100 (100–100) |"  # a padded answer is longer than its original


def test_a_folder_without_the_experts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence.main([str(tmp_path)]) == 1
    assert "expert_revisions.jsonl is missing: DATA names the folder" in capsys.readouterr().err
