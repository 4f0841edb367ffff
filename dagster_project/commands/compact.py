"""`make compact`: merge the lake's small files, and expire every snapshot but those of frozen sets and checkpoints.

    python -m dagster_project.commands.compact [--now] [--profile NAME]

Rows, checkpoints and their snapshots stay: make rows and make reproduce go on working. AS_OF reaches what is left.
Files that were replaced are removed by the next `make compact`, since somebody may be reading them; NOW=1 removes them
at once.
"""

import sys

from rich.console import Console

from dagster_project.commands.lake_of import lake_of, parser_of
from dagster_project.commands.terminal import any_encoding, say_error
from dagster_project.lakehouse.frozen import snapshot_of
from models_py.errors import UserError

KEPT = f"""
select snapshot_id from training.student_checkpoints
union
select {snapshot_of("sets.recipe", "sets.data_version")}
from (select distinct recipe, data_version from training.training_pairs) as sets
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("compact", __doc__)
    parser.add_argument("--now", action="store_true", help="remove replaced files at once: nobody reads the lake")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        with lake_of(options.profile) as lake:
            until = lake.snapshot_id()
            named = {int(one) for one in lake.read(KEPT)["snapshot_id"].drop_nulls()}
            done = lake.compact(named, until=until, at_once=options.now)
    except UserError as error:
        say_error(error)
        return 1
    for table, before, after in done.merged:
        console.print(f"  merged  {table:<40}{before:>8,} files → {after:,}")
    console.print(
        f"  expired {done.expired:,} snapshots; {done.kept:,} are kept, {len(named):,} of them of frozen sets and "
        "checkpoints"
    )
    console.print(
        f"  removed {done.removed:,} files" + (f"; {done.waiting:,} wait for the next" if done.waiting else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
