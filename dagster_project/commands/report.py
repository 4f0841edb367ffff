"""`make report`: pairs before and after selection, with all statistics, in one HTML file that needs no network.

python -m dagster_project.commands.report [--out FILE] [--profile NAME]
"""

import sys
from pathlib import Path

from rich.console import Console

from dagster_project.commands.lake_of import of_this_version, parser_of
from dagster_project.commands.terminal import any_encoding, plain, say_error
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.steps.report_content import REPORT, docs_beside, report_content
from models_py.errors import UserError
from models_py.report.page import publish_report


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("report", __doc__)
    parser.add_argument("--out", default="", metavar="FILE", help=f"file to write (default: {REPORT} in the warehouse)")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        profile = load_profile(options.profile, policies())
        file = Path(options.out).expanduser().absolute() if options.out else profile.warehouse / REPORT
        lake = open_lake(profile)
        with of_this_version(lake), report_content(lake, profile.name) as content:
            written = publish_report(content, file, docs_beside(file, profile.warehouse))
    except UserError as error:
        say_error(error)
        return 1
    left_out = written.all_pairs - written.pairs
    told = [f"{written.pairs:,} pairs", f"{written.pairs_with_texts:,} with their texts", f"{written.size:,} bytes"]
    told += [f"{left_out:,} pairs left out, for a report stays below 10 MB"] if left_out else []
    console.print(plain(f"{file}  {', '.join(told)}"), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
