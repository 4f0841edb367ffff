"""`make versions`: what changed the lake, newest first: asset, data version, snapshot, rows, time.

    python -m dagster_project.commands.versions [ASSET] [--format csv] [--out FILE] [--profile NAME]

ASSET is an asset (`training/paper/training_pairs`) or the beginning of one (`training`). `checkpoint` is whose rows the
snapshot holds. All columns: lineage.data_versions. What `make compact` expired is counted on standard error.
"""

import sys

from dagster_project.commands.lake_of import lake_of, parser_of
from dagster_project.commands.sql import format_of, show
from dagster_project.commands.terminal import any_encoding, say_error
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError, unknown

_VERSIONS = """
select
    snapshot_id as snapshot,
    strftime(snapshot_time, '%m-%d %H:%M') as time_utc,
    asset,
    coalesce(data_version, '') as data_version,
    row_count as rows,
    array_to_string(checkpoints, ', ') as checkpoint
from lineage.data_versions
where asset is not null
    and ($asset = '' or asset = $asset or starts_with(asset, concat($asset, '/')))
order by snapshot_id desc
"""


_EXPIRED = "select max(snapshot_id) + 1 - count(*) from lineage.data_versions"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("versions", __doc__, shows_rows=True)
    parser.add_argument("asset", nargs="?", default="")
    options = parser.parse_args(arguments)
    any_encoding()
    try:
        with lake_of(options.profile) as lake:
            format = format_of(options.format, options.out)
            asset = _asset(lake, options.asset.strip("/").replace(".", "/"))
            with lake.connect() as connection:
                show(connection.execute(_VERSIONS, {"asset": asset}), format, options.out, lake)
            if expired := lake.scalar(_EXPIRED):
                sys.stderr.write(f"{expired:,} further snapshots of the lake are expired (make compact)\n")
    except UserError as error:
        say_error(error)
        return 1
    return 0


def _asset(lake: Lake, wanted: str) -> str:
    """Raises UserError, with the nearest, for one that never changed the lake."""
    known = lake.read("select distinct asset from lineage.data_versions where asset is not null order by asset")
    assets = known["asset"].to_list()
    if wanted and not any(one == wanted or one.startswith(f"{wanted}/") for one in assets):
        raise UserError(f"ASSET: {unknown('an asset that ever changed this lake', wanted, assets)}.")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
