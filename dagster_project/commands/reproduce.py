"""`make reproduce`: does the lake still give the rows that a checkpoint was trained on?

    python -m dagster_project.commands.reproduce CHECKPOINT [--profile NAME]

Runs the selection again, from tables to rows, on the snapshot that the checkpoint's manifest names, and compares the
hash of what comes out with the one in the manifest. The frozen rows are not looked at but to say what differs.
"""

import sys
from collections.abc import Iterator

import polars as pl
from rich.console import Console

from dagster_project.commands.checkpoints import Checkpoint, checkpoint_meant
from dagster_project.commands.lake_of import lake_of, parser_of
from dagster_project.commands.terminal import any_encoding, say_error
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.recompute import recomputed
from dagster_project.steps.project_version import project_version
from models_py.errors import UserError
from models_py.training.manifest import damage
from models_py.training.rows_version import ROW_COLUMNS, rows_version

_SELECTED = "selection.recycled_pairs"
_SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where the rows are the same, 1 where they are others or cannot be selected."""
    parser = parser_of("reproduce", __doc__)
    parser.add_argument("checkpoint", nargs="?", default="")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        with lake_of(options.profile) as lake:
            checkpoint = checkpoint_meant(lake, options.checkpoint)
            _check_manifest(lake, checkpoint)
            selected = select_again(lake, checkpoint)
    except UserError as error:
        say_error(error)
        return 1
    version = rows_version([selected]) if selected.height else "no row"
    same = version == checkpoint.data_version
    console.print(
        f"[bold]{checkpoint.recipe}[/] {checkpoint.checkpoint_id}: snapshot {checkpoint.snapshot_id} selects "
        f"{selected.height:,} rows, version {version}; the manifest says {checkpoint.data_version}: "
        + ("[green]the same[/]" if same else "[red]not the same[/]")
    )
    if not same:
        for line in _differences(lake, checkpoint, selected):
            console.print(f"  {line}", markup=False)
    return 0 if same else 1


def select_again(lake: Lake, checkpoint: Checkpoint) -> pl.DataFrame:
    """The rows that the recipe selects from the tables of the checkpoint's snapshot, in order.

    Raises UserError where that snapshot is gone.
    """
    snapshots = lake.read("select min(snapshot_id), max(snapshot_id) from lineage.data_versions").row(0)
    known = lake.scalar("select count(*) from lineage.data_versions where snapshot_id = ?", [checkpoint.snapshot_id])
    if not known:
        raise UserError(
            f"Snapshot {checkpoint.snapshot_id}, which checkpoint {checkpoint.checkpoint_id} names, is not in this "
            f"lake any more (it has {snapshots[0]} to {snapshots[1]}): it was expired, so that what was selected from "
            f"cannot be read. The rows themselves are kept: make rows CHECKPOINT={checkpoint.checkpoint_id}"
        )
    with recomputed(lake, checkpoint.snapshot_id, _SELECTED) as connection:
        query = f"select {', '.join(ROW_COLUMNS)} from {_SELECTED} where recipe = ? order by rank"
        return connection.execute(query, [checkpoint.recipe]).pl()


def _check_manifest(lake: Lake, checkpoint: Checkpoint) -> None:
    """Raises UserError for a folder whose manifest is not the recorded one. A folder that is gone proves nothing."""
    folder = checkpoint.folder(lake)
    wrong = damage(folder, recorded=checkpoint.manifest) if folder.is_dir() else None
    if wrong and "manifest" in wrong:
        raise UserError(f"{folder}: {wrong}. `make run` sets it aside and trains it again.")


def _differences(lake: Lake, checkpoint: Checkpoint, selected: pl.DataFrame) -> Iterator[str]:
    """How many rows are others, and which code they were selected by."""
    frozen = lake.read(
        f"select {', '.join(ROW_COLUMNS)} from training.training_pairs where recipe = ? and data_version = ?",
        [checkpoint.recipe, checkpoint.data_version],
    )
    for what, one, other in (("now, not then", selected, frozen), ("then, not now", frozen, selected)):
        only = one.join(other, on=list(ROW_COLUMNS), how="anti", nulls_equal=True)
        ids = ", ".join(pair_id[:12] for pair_id in only["pair_id"].head(_SHOWN))
        yield f"{only.height:,} rows {what}" + (f": {ids}" if only.height else "")
    then, now = checkpoint.manifest.get("project", {}), project_version()
    if then.get("commit") != now.get("commit"):
        yield f"selected then by commit {then.get('commit', 'unknown')}, now by {now.get('commit', 'unknown')}"


if __name__ == "__main__":
    sys.exit(main())
