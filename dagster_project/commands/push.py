"""`make push`: what `make export` would write, to a data set repository of the Hugging Face hub.

    python -m dagster_project.commands.push [RECIPE] --repo OWNER/NAME [--confirm] [--public] [--format ...]

Without `--confirm` it says what would be uploaded where, and calls nobody.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from dagster_project.commands.export import add_request, listed, reporter, request_of
from dagster_project.commands.export_content import write_export
from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from models_py.errors import UserError
from models_py.export.hub import check_repo, has_token, push


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = Arguments(prog="make push", description=__doc__)
    add_request(parser)
    parser.add_argument("--repo", default="", help="owner/name on the hub")
    parser.add_argument("--confirm", action="store_true", help="upload it; otherwise it is only said")
    parser.add_argument("--public", action="store_true", help="a new repository is public; otherwise it is private")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        profile = load_profile(options.profile, policies())
        request = request_of(options, profile)
        if not options.repo:
            raise UserError("REPO is missing: where it goes on the hub, REPO=<owner>/<name>")
        check_repo(options.repo)
        with TemporaryDirectory(prefix="reflection-lake-export-") as name:
            folder = Path(name) / "export"
            folder.mkdir()
            told = write_export(
                open_lake(profile),
                profile,
                request,
                folder,
                repo=options.repo,
                on_progress=reporter(request),
            )
            for one in (*told, *listed(folder)):
                console.print(plain(one), markup=False)
            visibility = "public" if options.public else "private"
            console.print(f"to the data set {options.repo} on the hub, {visibility} where it is new")
            if not options.confirm:
                token = "a token is there" if has_token() else "no token is there yet: set HF_TOKEN"
                console.print(f"Nothing was uploaded. CONFIRM=1 does it ({token}).")
                return 0
            message = f"{request.recipe} as {request.shape.name}"
            console.print(f"Uploaded: {push(folder, options.repo, public=options.public, message=message)}")
    except UserError as error:
        say_error(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
