"""`make sql`: one query on the lake, read-only, as a table.

python -m dagster_project.commands.sql "select * from selection.selection_summary" [--as-of SNAPSHOT] [--profile NAME]
"""

import argparse
import sys

import duckdb

from dagster_project.commands.terminal import any_encoding
from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.load import load_profile
from models_py.errors import UserError

_MAX_ROWS = 200


def main(arguments: list[str] | None = None) -> int:
    """Print the result and, on standard error, how to attach the lake in a DuckDB prompt of one's own."""
    parser = argparse.ArgumentParser(prog="make sql", description=__doc__)
    parser.add_argument("query")
    parser.add_argument("--as-of", type=int, metavar="SNAPSHOT", help="read the lake as it was at this snapshot")
    parser.add_argument("--profile", help="profile whose lake is read (default: REFLECTION_PROFILE, else quickstart)")
    parser.add_argument("--max-rows", type=int, default=_MAX_ROWS, help="rows printed before the middle is left out")
    options = parser.parse_args(arguments)
    any_encoding()
    try:
        lake = open_lake(load_profile(options.profile))
        with lake.connect(as_of=options.as_of) as connection:
            relation = connection.sql(options.query)
            if relation is not None:
                relation.show(max_rows=options.max_rows, max_width=_terminal_width(), max_col_width=60)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except duckdb.Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"-- in a DuckDB prompt: {lake.attach_line(as_of=options.as_of)}", file=sys.stderr)
    return 0


def _terminal_width() -> int:
    import shutil

    return max(shutil.get_terminal_size((160, 24)).columns, 100)


if __name__ == "__main__":
    sys.exit(main())
