"""`make ablations` on a few revised pairs and a toy: the real pipeline trains and evaluates, the page has it."""

import json
from pathlib import Path

import pytest
import yaml

from dagster_project.commands import ablations
from dagster_project.commands.ablations import MARKS
from dagster_project.commands.evidence import EXPERTS, FOLDER
from tests.support.profiles import SEEDS, write_profile


@pytest.mark.slow
def test_the_tables_come_from_a_real_run_and_stand_between_the_marks(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        {
            "instruction": f"Say {n}.",
            "input": "",
            "output": f"No {n}",
            "revised_instruction": f"Say {n} in words." if n % 2 else f"Say {n}.",
            "revised_input": "",
            "revised_output": f"Here it is, the number {n}.",
        }
        for n in range(9)
    ]
    (data / EXPERTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (FOLDER / "ablations.yaml").read_text().replace("../../warehouse/comparison", "warehouse")
    profile = yaml.safe_load(text)
    scratch = {"texts": [str(SEEDS / "pairs.jsonl")], "vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6}
    profile["students"] = {"smollm2": {"scratch": {**scratch, "max_length": 256}}}
    kept = ("original", "reflect_both", "random_choice")
    profile["recipes"] = {name: profile["recipes"][name] for name in kept}
    profile["recipes"]["random_rows"] = {
        **profile["recipes"]["original"],
        "policy": "random_rows",
        "rows_as": "original",
    }
    profile["training_seeds"] = [0, 1]
    profile["training"] |= {"budget": {"steps": 2}, "max_length": 256}
    del profile["evaluation"]["benchmarks"]
    page = tmp_path / "evidence.md"
    page.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}after\n")
    arguments = [str(data), "--rows", "6", "--held-out", "3", "--page", str(page)]
    assert ablations.main([*arguments, "--profile", str(write_profile(tmp_path, profile))]) == 0
    said = page.read_text()
    assert said.startswith(f"before\n{MARKS[0]}6 pairs, of which experts changed 3 instructions; 3 others held out.")
    assert said.endswith(f"{MARKS[1]}after\n") and "old" not in said
    assert "| reflect_both | 6 | 0 | 0 | 0 | 6 |" in said
    assert "\n**loss on originals** (lower is better; 3 rows)\n" in said
    cells = [line.split(" | ") for line in said.splitlines() if line.startswith("| original | 6 | 2 |")]
    assert len(cells) == 2 and all(len(one) == 9 for one in cells)
    assert all(", " in one[4] and "(" in one[5] and "(" in one[7] and not one[6] for one in cells)
    assert (tmp_path / "evidence" / "comparison.png").stat().st_size > 5_000


def test_a_folder_without_the_experts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablations.main([str(tmp_path)]) == 1
    assert "expert_revisions.jsonl is missing: DATA names the folder" in capsys.readouterr().err
