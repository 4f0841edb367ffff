"""A real huggingface_hub sends an export to a server here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models_py.errors import UnreachableError, UserError
from models_py.export.folder import seal
from models_py.export.hub import check_repo, push
from tests.support.hub import TOKEN, Repo, TakingHub, reached_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with reached_hub(monkeypatch) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return export(tmp_path / "export", "data/train.parquet")


def export(folder: Path, *files: str) -> Path:
    for name in ("README.md", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"what {name} holds")
    seal(folder, {})
    return folder


def test_a_new_repository_is_private_and_gets_one_commit(hub: TakingHub, folder: Path) -> None:
    url = push(folder, "me/pairs", public=False, message="paper as messages")
    assert url.endswith("/datasets/me/pairs")
    repo = hub.repos["me/pairs"]
    assert repo.private and repo.commits == ["paper as messages"]
    assert repo.files["data/train.parquet"] == b"what data/train.parquet holds"
    assert set(repo.files) == {".gitattributes", ".export.json", "README.md", "data/train.parquet"}


def test_public_is_what_somebody_said(hub: TakingHub, folder: Path) -> None:
    push(folder, "me/pairs", public=True, message="m")
    assert not hub.repos["me/pairs"].private
    with pytest.raises(UserError, match=r"REPO=me/pairs is there and public: .* PUBLIC=1 says so"):
        push(folder, "me/pairs", public=False, message="m")
    hub.repos["me/own"] = Repo(private=True)
    with pytest.raises(UserError, match="REPO=me/own is there and private, and stays so"):
        push(folder, "me/own", public=True, message="m")
    assert len(hub.repos["me/pairs"].commits) == 1 and not hub.repos["me/own"].commits


def test_the_next_export_takes_the_place_of_the_last(hub: TakingHub, folder: Path, tmp_path: Path) -> None:
    push(folder, "me/pairs", public=False, message="first")
    hub.repos["me/pairs"].files["images/plot.png"] = b"somebody's"
    push(export(tmp_path / "next", "data/train.jsonl", "candidates/train.jsonl"), "me/pairs", public=False, message="2")
    repo = hub.repos["me/pairs"]
    assert set(repo.files) == {
        *(".gitattributes", ".export.json", "README.md", "images/plot.png"),
        *("data/train.jsonl", "candidates/train.jsonl"),
    }
    assert repo.commits == ["first", "2"]


def test_somebodys_work_is_left_alone(hub: TakingHub, folder: Path) -> None:
    hub.repos["me/pairs"] = Repo(private=True, files={"README.md": b"mine", "a.csv": b"", ".gitattributes": b""})
    with pytest.raises(
        UserError, match=r"REPO=me/pairs holds what no export wrote \(README\.md, a\.csv\); name anothe"
    ):
        push(folder, "me/pairs", public=False, message="m")
    assert hub.repos["me/pairs"].files["README.md"] == b"mine"


def test_what_the_hub_refuses_is_told(hub: TakingHub, folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"REPO=them/pairs: the hub refuses it \(403: .*; the token may not write there"
    ):
        push(folder, "them/pairs", public=False, message="m")
    hub.errors = ('"license" must be one of [apache-2.0, mit]',)
    with pytest.raises(UserError, match=r"REPO=me/pairs: the hub refuses it \(Invalid metadata .* must be one of"):
        push(folder, "me/pairs", public=False, message="m")


def test_without_a_token_nobody_is_asked(
    hub: TakingHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="There is no token for the hub: set HF_TOKEN"):
        push(folder, "me/pairs", public=False, message="m")
    assert hub.asked == []


def test_a_wrong_token_is_not_repeated(hub: TakingHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", wrong := "hf_wrongAndStillSecret")
    with pytest.raises(UserError, match=r"REPO=me/pairs: the hub refuses it \(401: ") as caught:
        push(folder, "me/pairs", public=False, message="m")
    assert wrong not in str(caught.value)


def test_a_hub_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(UnreachableError, match="REPO=me/pairs: the hub cannot be reached"):
        push(folder, "me/pairs", public=False, message="m")


@pytest.mark.parametrize(
    "repo", ["pairs", "me/", "me/pairs/data", "me/..", "https://huggingface.co/datasets/me/pairs", "me/a b"]
)
def test_names_that_are_no_repository(repo: str) -> None:
    with pytest.raises(UserError, match=r"REPO=.* is no name of a repository \(.*\); write REPO=<owner>/<name>"):
        check_repo(repo)


def test_names_of_repositories() -> None:
    for repo in ("me/pairs", "My-Org/pairs_v1.0"):
        check_repo(repo)
