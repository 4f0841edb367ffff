"""Data sets of the hub: a real huggingface_hub downloads them from a server here, and has them when that is gone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from models_py.errors import UnreachableError, UserError
from models_py.sources.hub import is_here, offered, shown
from models_py.sources.read import read_sources
from models_py.sources.spec import Source
from tests.models_py.student.hub_server import Hub, serving_hub

FIRST, SECOND = "1" * 40, "2" * 40


class Reach:
    """A hub that can be taken away; its first commit has two splits."""

    def __init__(self, hub: Hub, lose: Callable[[], None]) -> None:
        self.hub = hub
        self.lose = lose


@pytest.fixture
def reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reach]:
    hub = Hub("me/rivers", "datasets")
    hub.commits[FIRST] = folder = tmp_path / "first"
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        for shard in (0, 1):
            rows = [{"instruction": f"{split} {shard}", "output": "Po."}]
            pl.DataFrame(rows).write_parquet(folder / "data" / f"{split}-0000{shard}-of-00002.parquet")
    (folder / "README.md").write_text("# Rivers")
    with serving_hub(hub) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield Reach(hub, lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True))


def source(inside: str = "", revision: str = "") -> Source:
    return Source("mine", path=f"hf://datasets/me/rivers{revision}{inside}")


def instructions(one: Source) -> list[str]:
    return read_sources([one]).pairs["instruction"].to_list()


def test_files_of_the_hub_are_named_by_address_and_commit(reach: Reach) -> None:
    one = source("/data/train-*.parquet")
    with pytest.raises(UserError, match=r"sources\.mine\.path: hf://.* is not downloaded yet; `make run` does it"):
        one.files()
    assert reach.hub.fetched == []
    pairs = read_sources([one]).pairs
    assert pairs["instruction"].to_list() == ["train 0", "train 1"]
    assert pairs["file"][0] == f"hf://datasets/me/rivers@{FIRST}/data/train-00000-of-00002.parquet"
    assert [shown(path) for path in one.files()] == pairs["file"].to_list()
    assert sorted(reach.hub.fetched) == [f"data/train-0000{shard}-of-00002.parquet" for shard in (0, 1)]


def test_what_was_downloaded_is_read_without_a_network_and_renewed_with_one(reach: Reach, tmp_path: Path) -> None:
    one = source("/data/train-00000-of-00002.parquet")
    assert instructions(one) == ["train 0"]
    reach.hub.commits[SECOND] = tmp_path / "second"
    (tmp_path / "second" / "data").mkdir(parents=True)
    pl.DataFrame([{"instruction": "new", "output": "Po."}]).write_parquet(
        tmp_path / "second" / "data" / "train-00000-of-00002.parquet"
    )
    assert instructions(one) == ["train 0"]  # reading takes what is there
    one.fetch()
    assert instructions(one) == ["new"]
    assert instructions(source("/data/train-00000-of-00002.parquet", f"@{FIRST}")) == ["train 0"]
    reach.lose()
    one.fetch()
    assert instructions(one) == ["new"]


def test_of_several_splits_one_is_to_be_named(reach: Reach, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds several splits: test \(data/test-.*\), train \(data/train-.*\); name"):
        read_sources([source()])
    for file in (tmp_path / "first" / "data").glob("test-*"):
        file.unlink()
    reach.hub.commits = {SECOND: tmp_path / "first"}
    one = source()
    one.fetch()
    assert instructions(one) == ["train 0", "train 1"]


def test_a_download_that_was_cut_short_is_not_taken_for_whole(reach: Reach, tmp_path: Path) -> None:
    one = source("/data/*.parquet")
    one.fetch()
    next((tmp_path / "cache").rglob("snapshots/*/data/train-00001-of-00002.parquet")).unlink()
    reach.lose()
    with pytest.raises(UserError, match="the hub cannot be reached; try again, or download the files"):
        read_sources([one])


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        (
            "hf://datasets/me/seas/a.csv",
            "there is no such data set, or it is private: correct the name or set HF_TOKEN",
        ),
        ("hf://datasets/me/rivers/lakes/*.csv", "names no file that can be read; correct it"),
    ],
)
def test_what_is_not_there_is_said(reach: Reach, address: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        read_sources([Source("mine", path=address)])
    assert complaint in str(caught.value) and str(caught.value).startswith(f"sources.mine.path: {address} ")


def test_settings_and_addresses(tmp_path: Path) -> None:
    one = Source("mine", path="hf://datasets/me/rivers", limit=3, fields={"instruction": "q", "output": "a"})
    assert one.at(tmp_path) == one
    assert json.dumps(one.settings) == '{"fields": {"instruction": "q", "output": "a"}, "limit": 3}'
    for address in ("hf://models/me/rivers", "hf://datasets/", "s3://bucket/key"):
        with pytest.raises(UserError, match=r"^sources\.mine\.path: "):
            Source("mine", path=address)


def test_what_the_hub_offers_is_seen_without_a_download(reach: Reach) -> None:
    names = [f"data/train-0000{shard}-of-00002.parquet" for shard in (0, 1)]
    files = offered("hf://datasets/me/rivers/data/train-*.parquet", "sources.mine.path")
    assert [*files] == names and all(size > 100 for size in files.values())
    assert [*offered(f"hf://datasets/me/rivers@{FIRST}/{names[0]}", "k")] == names[:1]
    assert reach.hub.fetched == [] and not is_here("hf://datasets/me/rivers/data")
    with pytest.raises(UserError, match=r"k: hf://.*/train\.csv names no file; the hub has README\.md, data/test-0"):
        offered("hf://datasets/me/rivers/train.csv", "k")
    with pytest.raises(UserError, match="k: hf://datasets/me/lakes cannot be looked up: there is no such data set"):
        offered("hf://datasets/me/lakes", "k")
    read_sources([source("/data/train-*.parquet")])
    assert is_here("hf://datasets/me/rivers/data/train-*.parquet")
    reach.lose()
    assert is_here("hf://datasets/me/rivers/data/train-*.parquet")
    with pytest.raises(UnreachableError, match=r"k: .*: the hub cannot be reached"):
        offered("hf://datasets/me/rivers/data/train-*.parquet", "k")
