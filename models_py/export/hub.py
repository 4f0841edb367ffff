"""An export on its way to the Hugging Face hub: one commit in a data set repository.

    push(folder, "me/rewritten-pairs", public=False)     # "https://huggingface.co/datasets/me/rewritten-pairs"

huggingface_hub finds the token (HF_TOKEN, or what `hf auth login` stored) and the endpoint (HF_ENDPOINT). A repository
is made where there is none, private unless `public`; one that is there must be empty or an earlier export, and its
visibility is never changed. What an earlier export had and this one has not is removed; its history keeps it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import UnreachableError, UserError
from models_py.export.data_files import FOLDERS
from models_py.export.folder import MARK, files_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_DATASET = "dataset"
_OF_THE_HUB = ".gitattributes"
_OURS = tuple(f"{folder}/" for folder in FOLDERS.values())
_SHOWN = 5


def check_repo(repo: str) -> None:
    """Raise UserError for what is no name of a repository. Calls nobody."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
        wrong = None if repo.count("/") == 1 else "its owner is missing"
    except HFValidationError as error:
        wrong = _first_line(error)
    if wrong:
        raise UserError(f"REPO={repo} is no name of a repository ({wrong}); write REPO=<owner>/<name>")


def has_token() -> bool:
    """Whether a token is there to be sent. Calls nobody."""
    from huggingface_hub import get_token

    return get_token() is not None


def push(folder: Path, repo: str, *, public: bool, message: str) -> str:
    """Upload the folder; the address of the data set.

    Raises UserError where the repository is somebody's work, or public while `public` is not said, or refuses it;
    UnreachableError where the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not has_token():
        raise UserError(
            "There is no token for the hub: set HF_TOKEN to one that may write, or store it with `hf auth login`; "
            "https://huggingface.co/settings/tokens makes one."
        )
    try:
        return _push(HfApi(), folder, repo, public=public, message=message)
    except UserError:
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        remedy = "; the token may not write there: name a repository of its owner" if status in (401, 403) else ""
        raise UserError(f"REPO={repo}: the hub refuses it ({status}: {_first_line(error)}){remedy}") from error
    except ValueError as error:  # what it says of the card's front matter
        raise UserError(f"REPO={repo}: the hub refuses it ({' '.join(str(error).split())})") from error
    except Exception as error:  # of the network, or none is wanted
        raise UnreachableError(f"REPO={repo}: the hub cannot be reached ({_first_line(error)}); try again") from error


def _push(api: "HfApi", folder: Path, repo: str, *, public: bool, message: str) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type=_DATASET, private=not public)
        info = api.dataset_info(repo)
    there = {file.rfilename for file in info.siblings or []} - {_OF_THE_HUB}
    _check_may_be_replaced(repo, there, is_private=bool(info.private), public=public)
    files = files_of(folder)
    commit = api.create_commit(
        repo,
        repo_type=_DATASET,
        operations=[
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files),
            *(CommitOperationDelete(path_in_repo=name) for name in sorted(there - {*files}) if name.startswith(_OURS)),
        ],
        commit_message=message,
        parent_commit=info.sha,
    )
    return commit.repo_url.url if commit.repo_url else repo


def _check_may_be_replaced(repo: str, there: set[str], *, is_private: bool, public: bool) -> None:
    if there and MARK not in there:
        shown = ", ".join(sorted(there)[:_SHOWN])
        raise UserError(f"REPO={repo} holds what no export wrote ({shown}); name another repository")
    if not is_private and not public:
        raise UserError(f"REPO={repo} is there and public: what is uploaded is for everybody to see. PUBLIC=1 says so.")
    if is_private and public:
        raise UserError(f"REPO={repo} is there and private, and stays so: leave PUBLIC out, or change it on its page.")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
