"""`make docs`: a static site of the project's data: every table with its columns, SQL, lineage, checks and last run.

    python -m dagster_project.commands.docs [--out FOLDER] [--profile NAME]

It needs no network to be made or read, and no run before it. An earlier site gives way, another folder does not.
"""

import sys
from pathlib import Path

from rich.console import Console

from dagster_project.commands.docs_content import site_of
from dagster_project.commands.lake_of import parser_of
from dagster_project.commands.terminal import any_encoding, plain, say_error
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from models_py.errors import UserError
from models_py.publish import replaced_folder
from models_py.site.pages import write_site

FOLDER = "docs"  # in the warehouse
_MARK = "names.js"  # a file that a site has


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("docs", __doc__)
    parser.add_argument(
        "--out", default="", metavar="FOLDER", help=f"folder to write (default: {FOLDER} in the warehouse)"
    )
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        profile = load_profile(options.profile, policies())
        folder = Path(options.out).expanduser().absolute() if options.out else profile.warehouse / FOLDER
        _check_place(folder)
        site = site_of(profile)
        try:
            with replaced_folder(folder) as new:
                pages = write_site(site, new)
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror or error}); name another folder.") from error
    except UserError as error:
        say_error(error)
        return 1
    console.print(plain(f"{folder / 'index.html'}  {pages} pages"), markup=False)
    return 0


def _check_place(folder: Path) -> None:
    """Raises UserError for a folder that holds something else than an earlier site."""
    if folder.exists() and not (folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))):
        raise UserError(f"OUT={folder} holds something else than an earlier site: name a new folder, or remove it.")


if __name__ == "__main__":
    sys.exit(main())
