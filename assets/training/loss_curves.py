"""training.loss_curves: how every training went, step by step, from the logs in the checkpoints' folders."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.plots import loss_plot, remembered
from dagster_project.steps.results import OWNERS, asset_key, key, table_result
from models_py.training.loss_log import read_loss_log

TABLE = "training.loss_curves"
# A checkpoint that had to be trained again was recorded again, and its curve is another.
_MISSING = f"""
select
    checkpoints.recipe,
    checkpoints.checkpoint_id,
    checkpoints.created_at as trained_at,
    checkpoints.checkpoint_id in (select checkpoint_id from {TABLE}) as is_trained_again
from training.student_checkpoints as checkpoints
where not exists (
    select 1 from {TABLE} as curves
    where curves.checkpoint_id = checkpoints.checkpoint_id and curves.trained_at = checkpoints.created_at
)
order by checkpoints.created_at, checkpoints.checkpoint_id
"""
_CURRENT = f"""
select checkpoints.name, curves.step, curves.loss
from {TABLE} as curves
inner join training.current_checkpoints as checkpoints using (checkpoint_id)
order by checkpoints.recipe, checkpoints.training_seed, curves.step
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=[key("training", "current_checkpoints")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def loss_curves(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    unread: list[str] = []
    new: list[dict[str, Any]] = []
    commit = Commit("loss curves", asset="training/loss_curves", run_id=context.run_id)
    with lake.exclusively(TABLE):
        for recipe, made, trained_at, is_trained_again in lake.read(_MISSING).rows():
            try:
                steps = read_loss_log(profile.checkpoints_dir / recipe / made)
            except (OSError, ValueError) as error:
                unread.append(f"{recipe}/{made}: {error}")
                continue
            rows = [{"checkpoint_id": made, "trained_at": trained_at, **step} for step in steps]
            if is_trained_again:
                lake.replace(TABLE, {"checkpoint_id": made}, rows, commit)
            else:
                new += rows
        if new:
            lake.append({TABLE: new}, commit)
    return table_result(lake, TABLE, metadata=_shown(lake, unread))


def _shown(lake: Lake, unread: list[str]) -> dict[str, Any]:
    """The curves of the current checkpoints, and which logs could not be read: mostly of folders that were removed."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, step, loss in lake.read(_CURRENT).iter_rows():
        curves.setdefault(name, []).append((step, loss))
    return {
        **({"loss_plot": remembered(lake, loss_plot, "current checkpoints", curves)} if curves else {}),
        **({"logs_not_read": dg.MetadataValue.text("\n".join(unread))} if unread else {}),
    }
