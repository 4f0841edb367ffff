"""`make rows`: the exact rows that a checkpoint was trained on, with file and line as they were when they were frozen.

    python -m dagster_project.commands.rows CHECKPOINT [--format csv] [--out FILE] [--profile NAME]

CHECKPOINT is an id or its beginning, the name of a current one, or a folder. `dropped` says why a row of the set could
not be trained on.
"""

import json
import sys

from dagster_project.commands.checkpoints import Checkpoint, checkpoint_meant
from dagster_project.commands.lake_of import lake_of, parser_of
from dagster_project.commands.sql import format_of, show
from dagster_project.commands.terminal import any_encoding, say_error
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError

_ROWS = """
with dropped as (
    select
        json_extract_string(one, '$[0]') as pair_id,
        json_extract_string(one, '$[1]') as reason
    from (select unnest(cast($dropped as json[])) as one)
)

select
    rows.rank,
    rows.pair_id,
    rows.candidate,
    rows.source,
    rows.file,
    rows.source_row,
    rows.system,
    rows.history,
    rows.instruction,
    rows.input,
    rows.output,
    rows.ifd,
    rows.r_ifd,
    dropped.reason as dropped
from training.training_pairs as rows
left join dropped on dropped.pair_id = rows.pair_id
where rows.recipe = $recipe and rows.data_version = $data_version
order by rows.rank
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("rows", __doc__, shows_rows=True)
    parser.add_argument("checkpoint", nargs="?", default="")
    options = parser.parse_args(arguments)
    any_encoding()
    try:
        with lake_of(options.profile) as lake:
            format = format_of(options.format, options.out)
            print_rows(lake, checkpoint_meant(lake, options.checkpoint), format, options.out)
    except UserError as error:
        say_error(error)
        return 1
    return 0


def print_rows(lake: Lake, checkpoint: Checkpoint, format: str, out: str) -> None:
    """Raises UserError where the lake holds other rows under that version than the checkpoint counted."""
    values = {
        "recipe": checkpoint.recipe,
        "data_version": checkpoint.data_version,
        "dropped": json.dumps(checkpoint.manifest.get("dropped", [])),
    }
    with lake.connect() as connection:
        (frozen,) = connection.execute(f"select count(*) from ({_ROWS})", values).fetchone() or (0,)
        counted = checkpoint.manifest["rows"] + len(checkpoint.manifest.get("dropped", []))
        if frozen != counted:
            raise UserError(
                f"The lake at {lake.shown_catalog} holds {frozen:,} rows of {checkpoint.recipe} "
                f"{checkpoint.data_version}, and checkpoint {checkpoint.checkpoint_id} was made of {counted:,}."
            )
        show(connection.execute(_ROWS, values), format, out, lake)


if __name__ == "__main__":
    sys.exit(main())
