"""Sources on the Hugging Face hub: `hf://datasets/<owner>/<name>[@revision][/<file, folder or glob>]`.

huggingface_hub downloads them into its cache, with the token and the endpoint that it knows (HF_TOKEN, HF_ENDPOINT),
and knows there whether a download is whole. Whoever reads rows reads that cache: only `fetch`, which downloads, and
`offered`, which looks, call the hub.

    fetch("hf://datasets/me/pairs/data/train-*.parquet", "sources.mine.path")
    shown(Path(".../datasets--me--pairs/snapshots/0123.../train.parquet"))    # hf://datasets/me/pairs@0123.../train.parquet
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models_py.errors import UnreachableError, UserError
from models_py.sources.files import Found, find_files, refuse_problems

_SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.*))?", re.ASCII
)
_CACHED = re.compile(r".*/datasets--(?P<repo>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})/(?P<inside>.+)", re.DOTALL)
_GLOB = re.compile(r"[*?\[]")
_SPLITS = {"train": "train", "test": "test", "eval": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
_ASKED_S = 5.0  # for an answer
_FILES_SHOWN = 5
_SPLIT = re.compile(rf"(?:^|[/_.-])({'|'.join(_SPLITS)})(?=[/_.-])", re.I)


def is_address(pattern: str) -> bool:
    """Whether a path of the profile is meant for the hub."""
    return pattern.startswith(_SCHEME)


def address_problems(address: str) -> Iterator[str]:
    """What is wrong with an address, without asking anybody."""
    if not _ADDRESS.fullmatch(address):
        yield f"{address} is no address of a data set; write hf://datasets/<owner>/<name>/<file, folder or glob>"


def fetch(address: str, key: str, *, only_missing: bool) -> None:
    """Download what the address names, as it is on the hub now; nothing where it is here already.

    only_missing: take what was downloaded before, if it is whole. Where the hub cannot be reached that is taken too.
    Raises UserError, which begins with `key`, where it cannot be had.
    """
    from huggingface_hub import snapshot_download

    if only_missing and is_here(address):
        return
    try:
        folder = Path(snapshot_download(**_asked(address)))
    except Exception as error:  # of the hub, of the network, of the disk
        raise UserError(f"{key}: {address} cannot be downloaded: {_reason(error)}") from error
    _find(address, folder, key, any_format=True)


def is_here(address: str) -> bool:
    """Whether all that the address names was downloaded before. Calls nobody."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(**_asked(address), local_files_only=True)
    except Exception:  # whatever it lacks
        return False
    return True


def downloaded(address: str, key: str, *, any_format: bool = False) -> Found:
    """The files of an address that lie in the cache. Calls nobody.

    Raises UserError, which begins with `key`, where the download is not whole or not there, for files among the data
    that cannot be read, and where the address does not say which of several splits is meant.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(**_asked(address), local_files_only=True))
    except Exception as error:
        raise UserError(f"{key}: {address} is not downloaded yet; `make run` does it, at profile/sources") from error
    found = _find(address, folder, key, any_format=any_format)
    refuse_problems(key, found.problems)
    if not _GLOB.search(_parts(address)["inside"]) and len(found.files) > 1:
        _refuse_splits(address, key, [str(file.relative_to(folder)) for file in found.files])
    return found


def offered(address: str, key: str) -> dict[str, int]:
    """The files of an address as the hub has them now, with their sizes in bytes. Downloads nothing.

    Raises UserError, which begins with `key`, where there are none; UnreachableError where the hub cannot be asked.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils._paths import filter_repo_objects

    asked, api = _asked(address), HfApi()
    of = {"repo_id": asked["repo_id"], "repo_type": "dataset"}
    try:
        commit = api.repo_info(**of, revision=asked["revision"] or "main", timeout=_ASKED_S).sha
        tree = [*api.list_repo_tree(**of, revision=commit, recursive=True)]
    except (HfHubHTTPError, ValueError) as error:
        raise UserError(f"{key}: {address} cannot be looked up: {_reason(error)}") from error
    except Exception as error:  # of the network, or none is wanted
        raise UnreachableError(f"{key}: {address}: the hub cannot be reached") from error
    sizes = {one.path: one.size for one in tree if isinstance(one, RepoFile)}
    names = [*filter_repo_objects(sizes, allow_patterns=asked["allow_patterns"])]
    if not names:
        raise UserError(f"{key}: {address} names no file; the hub has {', '.join([*sizes][:_FILES_SHOWN]) or 'none'}")
    return {name: sizes[name] for name in names}


def _find(address: str, folder: Path, key: str, *, any_format: bool) -> Found:
    found = find_files(str(folder / _parts(address)["inside"]), any_format=any_format)
    if not found.problems and not any(file.exists() for file in found.files):
        raise UserError(f"{key}: {address} names no file that can be read; correct it (the hub shows the files)")
    return found


def shown(file: Path) -> str:
    """The file's address on the hub, with the commit, where it lies in the cache; else its path."""
    match = _CACHED.fullmatch(str(file))
    if not match:
        return str(file)
    return f"hf://datasets/{match['repo'].replace('--', '/', 1)}@{match['commit']}/{match['inside']}"


def _refuse_splits(address: str, key: str, names: list[str]) -> None:
    splits: dict[str, str] = {}
    for name in names:
        if match := _SPLIT.search(f"/{name}"):
            splits.setdefault(_SPLITS[match.group(1).lower()], name)
    if len(splits) > 1:
        examples = ", ".join(f"{split} ({name})" for split, name in sorted(splits.items()))
        raise UserError(
            f"{key}: {address} holds several splits: {examples}; name the files of one, by a folder or a glob behind it"
        )


def _parts(address: str) -> dict[str, str]:
    match = _ADDRESS.fullmatch(address)
    assert match is not None  # checked when the source was made
    return {name: value or "" for name, value in match.groupdict().items()}


def _asked(address: str) -> dict[str, Any]:
    parts = _parts(address)
    inside = parts["inside"].strip("/")
    wanted = None if not inside else [inside] if _GLOB.search(inside) else [inside, f"{inside}/*"]
    return {
        "repo_id": parts["repo"],
        "repo_type": "dataset",
        "revision": parts["revision"] or None,
        "allow_patterns": wanted,
    }


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    cause = error.__cause__
    match cause if isinstance(cause, HfHubHTTPError) else error:
        case GatedRepoError():
            return "its owner wants you to ask for access on its page; then set HF_TOKEN"
        case RepositoryNotFoundError():
            return "there is no such data set, or it is private: correct the name or set HF_TOKEN"
        case LocalEntryNotFoundError() | IncompleteSnapshotError():
            return "the hub cannot be reached; try again, or download the files and name their folder"
    return (str(cause or error).splitlines() or [type(error).__name__])[0]
