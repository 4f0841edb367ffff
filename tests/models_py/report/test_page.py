"""The file: never above its limit, inert whatever the texts say, the same for the same content."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models_py.errors import UserError
from models_py.report import page
from models_py.report.content import Content, Rows
from models_py.report.page import PARTS, publish_report

VENDOR = Path(page.__file__).parent / "vendor"
NO_TABLES: dict[str, dict[str, type[pl.DataType]]] = {
    "recipes": {"recipe": pl.String},
    "lengths": {"recipe": pl.String},
    "outcomes": {"teacher": pl.String, "student": pl.String, "outcome": pl.String, "pairs": pl.Int64},
    "statuses": {"phase": pl.String, "status": pl.String, "replies": pl.Int64},
    "spend": {"teacher": pl.String, "phase": pl.String, "cost_usd": pl.Float64},
    "categories": {"recipe": pl.String, "category": pl.String, "before": pl.Int64, "after": pl.Int64},
    "losses": {"name": pl.String, "step": pl.Int64, "loss": pl.Float64},
    "win_rates": {"win_rate": pl.Float64},
    "comparison": {"metric": pl.String},
}


def content(pairs: int = 1, text: str = "text", rewrites: int = 0) -> Content:
    """So many pairs of one pairing, of the last few of which the rewrite was vetoed, with a margin that falls."""
    ids = [f"{n:04d}" * 16 for n in range(pairs)]
    of = {"teacher": ["t"] * pairs, "student": ["s"] * pairs, "pair_id": ids}
    hashed = [int(hashlib.sha256(one.encode()).hexdigest()[:8], 16) / 2**32 for one in ids]
    vetoed = [n >= pairs - rewrites for n in range(pairs)]
    choices = pl.DataFrame(
        {
            **of,
            "first_reason": ["rewrite_vetoed" if one else "rewrite_wins" for one in vetoed],
            "ifd_original": hashed,
            "ifd_instruction": [value - n / 1e4 for n, value in enumerate(hashed)],
            "r_ifd_original": hashed,
            "r_ifd_instruction": hashed,
            "second_reason": ["tie"] * pairs,
            "r_ifd_base": hashed,
            "r_ifd_reflected": hashed,
        }
    )
    candidates = pl.DataFrame({**of, "candidate": ["original"] * pairs, "ifd": hashed, "r_ifd": hashed})

    def texts(wanted: Sequence[str]) -> tuple[Rows, Rows]:
        told = {
            "teacher": "t",
            "student": "s",
            "candidate": "original",
            "instruction": text,
            "input": "",
            "output": text,
        }
        return [{**told, "pair_id": one, "system": text, "history": "[]"} for one in wanted], []

    return Content(
        profile="mine",
        snapshot_id=7,
        all_pairs=pairs,
        pairs=pl.DataFrame({"pair_id": ids, "source": ["s"] * pairs}),
        choices=choices,
        candidates=candidates,
        decisions=pl.DataFrame({"recipe": [], "pair_id": []}, schema={"recipe": pl.String, "pair_id": pl.String}),
        answers=pl.DataFrame(schema={"recipe": pl.String, "side": pl.String, "output": pl.String}),
        tables={name: pl.DataFrame(schema=schema) for name, schema in NO_TABLES.items()},
        texts=texts,
    )


def unpacked(html: str, name: str) -> Any:
    [text] = re.findall(rf'id="data-{name}">([^<]*)</script>', html)
    return json.loads(gzip.decompress(base64.b64decode(text)))


def blocks(html: str) -> list[Any]:
    found = re.findall(r'class="texts">([^<]*)</script>', html)
    return [pair for block in found for pair in json.loads(gzip.decompress(base64.b64decode(block)))]


def test_what_the_lake_says_is_nowhere_in_the_html(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    publish_report(replace(content(text=hostile), profile=hostile), tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "onerror=alert" not in html.replace("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;", "")
    assert blocks(html)[0]["system"] == hostile


def test_only_its_own_scripts_may_run_and_nothing_be_loaded(tmp_path: Path) -> None:
    publish_report(content(), tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 6
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    assert f"default-src 'none'; script-src {allowed};" in policy


def test_the_same_content_is_the_same_file_and_its_version_knows_no_snapshot(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.html", "b.html", "c.html", "d.html")]
    one = content(20)
    made = [publish_report(one, file) for file in files[:2]]
    later = publish_report(replace(one, snapshot_id=8), files[2])
    other = publish_report(content(20, text="another"), files[3])
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert made[0] == made[1] == later
    assert other.version != later.version


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that leaves 200,000 bytes beside the scripts."""
    fixed = sum(part.stat().st_size for part in PARTS)
    monkeypatch.setattr(page, "LARGEST", fixed + 200_000)
    return fixed + 200_000


def noise(length: int, salt: str = "") -> str:
    """Text that cannot be compressed much."""
    digests = (hashlib.sha256(f"{salt}{n}".encode()).hexdigest() for n in range(length // 64 + 1))
    return "".join(digests)[:length]


def test_texts_of_the_strongest_disagreements_come_first_then_as_many_as_fit(small: int, tmp_path: Path) -> None:
    many = content(400, rewrites=30)

    def texts(wanted: Sequence[str]) -> tuple[Rows, Rows]:
        return [{**row, "output": noise(1000, row["pair_id"])} for row in many.texts(wanted)[0]], []

    written = publish_report(replace(many, texts=texts), tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert written.size == len(html.encode()) <= small
    assert written.pairs == written.all_pairs == 400
    assert 20 < written.pairs_with_texts == len(blocks(html)) == unpacked(html, "facts")["pairs_with_texts"] < 400
    shown = unpacked(html, "statistics")["pairs"]["pair_id"]
    assert shown[:20] == [f"{n:04d}" * 4 for n in range(399, 379, -1)]  # the margin grows with the number
    assert shown[20:] == [f"{n:04d}" * 4 for n in range(380)]


def test_where_not_even_the_statistics_fit_fewer_pairs_are_in_it(small: int, tmp_path: Path) -> None:
    written = publish_report(content(9000), tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert written.size <= small
    assert 0 < written.pairs == len(unpacked(html, "statistics")["pairs"]["pair_id"]) < written.all_pairs == 9000


def test_a_text_that_is_too_long_for_the_file_is_left_out(small: int, tmp_path: Path) -> None:
    written = publish_report(content(3, text=noise(200_000)), tmp_path / "r.html")
    assert (written.pairs, written.pairs_with_texts) == (3, 0)
    assert written.size <= small


def test_of_many_openings_that_repeat_it_is_said_how_many_there_are(tmp_path: Path) -> None:
    answers = [f"opening number {n:02d} goes on" for n in range(13) for _ in range(2 if n else 3)]
    rows = {"recipe": "paper", "output": [*answers, *answers], "side": ["before", "after"] * len(answers)}
    publish_report(replace(content(), answers=pl.DataFrame(rows)), tmp_path / "r.html")
    [told] = unpacked((tmp_path / "r.html").read_text(encoding="utf-8"), "facts")["diversity"]
    assert (told["recipe"], told["answers"]) == ("paper", 27)
    assert told["openings"]["after"]["all"] == 13
    assert told["openings"]["after"]["most"][0] == ["opening number 00", 3]
    assert len(told["openings"]["after"]["most"]) == 12


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/r\.html cannot be written \(.*\); name another file"):
        publish_report(content(), tmp_path / "file" / "r.html")


def test_vendored_parts_are_those_that_their_readme_names_and_close_no_script() -> None:
    table = dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.MULTILINE))
    files = {file.name for file in VENDOR.iterdir() if file.suffix in (".js", ".css")}
    assert files == set(table) <= {part.name for part in PARTS}
    for name, sha in table.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha
    for part in PARTS:
        assert part.suffix != ".js" or not re.search(r"</script|<!--|<script", part.read_text(encoding="utf-8"), re.I)
    licences = {file.stem for file in VENDOR.glob("*.LICENSE")}
    assert licences == {re.sub(r"(_simple)?\.min\.(js|css)$", "", name) for name in table}
