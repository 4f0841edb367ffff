"""`make export`: a recipe's training set, or its preferences, as a data set that trainers and the hub read.

    python -m dagster_project.commands.export [RECIPE] --out FOLDER [--format messages|alpaca|sharegpt|preference]
        [--files parquet|jsonl] [--candidates] [--profile NAME]

What is in it is decided in export_content.py beside this file.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from dagster_project.commands.export_content import Request, write_export
from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.steps.step_progress import EVERY_S, line
from models_py.errors import UserError, unknown
from models_py.export.data_files import FILES
from models_py.export.folder import check_place, export_folder, files_of
from models_py.export.shapes import MESSAGES, SHAPES
from models_py.progress import OnProgress, Progress


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = Arguments(prog="make export", description=__doc__.split("\n", 1)[0])
    add_request(parser)
    parser.add_argument("--out", default="", help="folder to write; an earlier export there is replaced")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        profile = load_profile(options.profile, policies())
        request = request_of(options, profile)
        if not options.out:
            raise UserError("OUT is missing: the folder to write, OUT=exports/" + request.recipe)
        out = Path(options.out).expanduser()
        check_place(out)
        lake = open_lake(profile)
        with export_folder(out) as folder:
            told = write_export(lake, profile, request, folder, on_progress=reporter(request))
        for one in (*told, *listed(out)):
            console.print(plain(one), markup=False)
    except UserError as error:
        say_error(error)
        return 1
    return 0


def add_request(parser: argparse.ArgumentParser) -> None:
    """The arguments that `request_of` reads."""
    parser.add_argument("recipe", nargs="?", help="may be left out where the profile has one")
    parser.add_argument("--format", default=MESSAGES.name, help=f"{', '.join(SHAPES)} (default: {MESSAGES.name})")
    parser.add_argument("--files", default=FILES[0], help=f"{' or '.join(FILES)} (default: {FILES[0]})")
    parser.add_argument("--candidates", action="store_true", help="also every text that was compared, with all scores")
    parser.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")


def request_of(options: argparse.Namespace, profile: Profile) -> Request:
    """What the arguments ask for. Raises UserError for names that there are not, with the nearest."""
    recipe, recipes = options.recipe, list(profile.recipes)
    if recipe is None and len(recipes) == 1:
        recipe = recipes[0]
    if recipe is None:
        raise UserError(f"RECIPE says which training set: {', '.join(recipes) or 'the profile has none'}.")
    if recipe not in recipes:
        raise UserError(f"RECIPE: {unknown('a recipe of the profile', recipe, recipes)}.")
    if options.format.lower() not in SHAPES:
        raise UserError(f"FORMAT: {unknown('a format', options.format, SHAPES)}.")
    if options.files.lower() not in FILES:
        raise UserError(f"FILES: {unknown('a kind of file', options.files, FILES)}.")
    shape = SHAPES[options.format.lower()]
    return Request(recipe=recipe, shape=shape, files=options.files.lower(), candidates=options.candidates)


def reporter(request: Request) -> OnProgress:
    """Says on standard error how far an export is that takes long."""
    console, begun = Console(stderr=True, highlight=False, soft_wrap=True), time.monotonic()
    said = begun

    def report(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= EVERY_S and progress.done != progress.total:
            said = time.monotonic()
            console.print(f"[dim]  {line(f'export of {request.recipe}', progress, said - begun)}[/]")

    return report


def listed(folder: Path) -> Iterator[str]:
    """The files of a folder with their sizes, a line each."""
    for name in files_of(folder):
        yield f"  {folder / name}  {(folder / name).stat().st_size:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
