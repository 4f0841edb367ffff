"""Two trained recipes and their base student, sixteen numbers wide: what evaluation begins with, without training.

They are those that version 0.1 left (tests/test_version_0_1.py), in a folder of their own.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation.instructions import instructions
from assets.profile.base_students import base_students
from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.training_settings import training_settings
from dagster_project.lakehouse.lake import Commit, Lake, open_lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.root import PROJECT_ROOT

MADE_BY_0_1 = PROJECT_ROOT / "tests" / "fixtures" / "version_0_1"


class Trained:
    """The profile in `folder` with its lake, whose current models are `half`, `paper` and `toy (base)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instance = dg.DagsterInstance.ephemeral()
        if not folder.exists():
            shutil.copytree(MADE_BY_0_1, folder)
            self.configure()
            for asset in (recipes, base_students, students, training_settings):
                self.run(asset)
            for model in load_models().values():
                self.lake.refresh(model, Commit("brought up to date"))
        else:
            self.configure()

    def configure(self, **evaluation: object) -> None:
        """Write the profile with that evaluation; files that it names are looked for in the folder."""
        file = self.folder / "profile.yaml"
        profile = {**json.loads((MADE_BY_0_1 / "profile.yaml").read_text()), "evaluation": evaluation}
        file.write_text(json.dumps(profile))
        self.profile: Profile = load_profile(file)
        self.lake: Lake = open_lake(self.profile)

    def copy(self, folder: Path) -> "Trained":
        return Trained(shutil.copytree(self.folder, folder))

    def run(self, asset: dg.AssetsDefinition) -> Any:
        """Call one asset's function, as Dagster would."""
        known = {"lake": self.lake, "profile": self.profile}
        given = {name: one for name, one in known.items() if name in asset.required_resource_keys}
        return asset(dg.build_asset_context(instance=self.instance), **given)


# All say the same to the third question, and both checkpoints to the second.
_ANSWERS = """
insert into evaluation.answers (model, generation, instruction_id, answer, status, created_at)
select model, generation, instruction_id,
    case source_row when 1 then concat('The ', name, ' Sea.') when 2 then if(kind = 'base', 'No idea.', 'Light.')
                    else '1 2 3' end,
    'ok', timestamp '2026-01-31 12:00:00'
from evaluation.models cross join evaluation.instructions
"""
INSTRUCTION_SET = {"instructions": [{"name": "set", "path": "set.jsonl"}], "generation": {"max_tokens": 6}}


def answer_by_hand(trained: Trained) -> None:
    """Three instructions with answers of every model: what models this small write is the same for all of them."""
    questions = ("Name a sea.", "Why is the sky blue?", "Count to three.")
    rows = (json.dumps({"instruction": question}) + "\n" for question in questions)
    (trained.folder / "set.jsonl").write_text("".join(rows))
    trained.configure(**INSTRUCTION_SET)
    trained.run(instructions)
    trained.lake.write(lambda connection: connection.execute(_ANSWERS), Commit("answers by hand"))
