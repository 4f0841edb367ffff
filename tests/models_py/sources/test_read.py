"""Files of every format into pairs and quarantined rows: nothing is lost, nothing raises."""

import csv
import gzip
import json
import time
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from models_py.content import content_id
from models_py.errors import UserError
from models_py.progress import Progress
from models_py.sources.opened import pointer
from models_py.sources.read import SourcesRead, check_bad_fraction, ids_of_row, read_sources, strict_rows
from models_py.sources.spec import Source
from tests.support.properties import SHARED_FIXTURES, examples
from tests.support.values import known

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
GOOD = {"instruction": "Name a river.", "input": "", "output": "The Rhine."}
in_one_folder = examples(100, suppress=SHARED_FIXTURES)


def read(path: Path, content: bytes | str | None = None, **spec: Any) -> SourcesRead:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_sources([Source("mine", path=str(path), **spec)])


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(number: int) -> dict[str, str]:
    return {"instruction": f"Question {number}", "input": "", "output": f"Answer {number}"}


def bad(result: SourcesRead) -> list[tuple[int, int | None, str]]:
    return result.quarantined.select("source_row", "byte_offset", "reason").rows()


# --- what comes out


def test_a_row_names_its_pairs_also_where_they_came_before(tmp_path: Path) -> None:
    turns = [{"role": role, "content": f"{role} {n}"} for n in (1, 2) for role in ("user", "assistant")]
    source = Source("mine", path=str(tmp_path / "a.jsonl"), turns="each")
    result = read(tmp_path / "a.jsonl", lines(GOOD, {"messages": turns}, GOOD, {"output": "no"}), turns="each")
    ids = result.pairs["pair_id"].to_list()

    def of_row(number: int) -> list[str]:
        return ids_of_row([source], str(tmp_path / "a.jsonl").__eq__, number)

    assert [of_row(number) for number in (1, 2, 3, 4, 5)] == [ids[:1], ids[1:], ids[:1], [], []]
    assert ids_of_row([source], "another".__eq__, 1) == []


def test_a_pair_has_its_id_source_row_and_texts(tmp_path: Path) -> None:
    result = read(tmp_path / "a.jsonl", "\n" + lines(GOOD))
    assert result.pairs.rows(named=True) == [
        {
            "pair_id": content_id("Name a river.", "", "The Rhine."),
            "source": "mine",
            "file": str(tmp_path / "a.jsonl"),
            "source_row": 2,
            "system": "",
            "history": "[]",
            **GOOD,
            "category": None,
            "duplicate_count": 0,
        }
    ]
    assert result.rows_by_source == {"mine": 1}


def test_duplicates_are_kept_once_at_their_first_place_and_counted(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text(lines(row(1), GOOD, GOOD))
    second.write_text(lines(GOOD, row(2)))
    result = read_sources([Source("one", path=str(first)), Source("two", path=str(second))])
    assert result.pairs.select("source", "source_row", "duplicate_count").rows() == [
        ("one", 1, 0),
        ("one", 2, 2),
        ("two", 2, 0),
    ]
    assert result.rows_by_source == {"one": 3, "two": 2}


def test_a_bad_row_names_file_row_offset_reason_and_excerpt(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    result = read(path, lines(GOOD) + '{"instruction": "x\n')
    offset = len(lines(GOOD))
    assert result.quarantined.rows(named=True) == [
        {
            "source": "mine",
            "file": str(path),
            "source_row": 2,
            "byte_offset": offset,
            "reason": "not valid JSON: Unterminated string starting at position 17",
            "excerpt": '{"instruction": "x',
        }
    ]


def test_an_excerpt_is_short_and_printable(tmp_path: Path) -> None:
    excerpt = read(tmp_path / "a.jsonl", b"\x00\xff" + b"x" * 5000).quarantined["excerpt"][0]
    assert excerpt.startswith("\\x00\\xffxxx") and excerpt.endswith("…") and len(excerpt) == 200


def test_no_rows_at_all(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv"):
        result = read(tmp_path / name, "")
        assert (result.pairs.height, result.quarantined.height, result.rows_by_source) == (0, 0, {"mine": 0})


# --- JSON Lines


def test_bom_blank_lines_crlf_and_a_last_line_without_newline(tmp_path: Path) -> None:
    text = json.dumps(row(1)) + "\r\n\r\n" + json.dumps(row(2))
    result = read(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + text.encode())
    assert result.pairs["source_row"].to_list() == [1, 3]
    assert result.quarantined.is_empty()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"instruction": "a", "output": "\xff"}', "not UTF-8: byte 0xff at byte 33 of the row; save it as UTF-8"),
        (b'[{"instruction": "a"}]', "expected an object with fields, found a list of 1"),
        (b'{"instruction": "a", "output": "b"} trailing', "not valid JSON: Extra data at position 37"),
        (b"[" * 100_000, "not readable JSON: nested too deeply"),
        (b"9" * 10_000, "expected an object with fields, found the number inf"),
        (b'{"instruction": "\\ud800", "output": "b"}', "field instruction: holds a lone surrogate"),
        (b'{"instruction": "\\u0000", "output": "b"}', "field instruction: holds a NUL character"),
    ],
)
def test_one_bad_line_costs_one_line(tmp_path: Path, line: bytes, reason: str) -> None:
    content = lines(row(1)).encode() + line + b"\n" + lines(row(2)).encode()
    result = read(tmp_path / "a.jsonl", content)
    assert result.pairs["source_row"].to_list() == [1, 3]
    assert result.quarantined["reason"][0].startswith(reason)


def test_a_line_beyond_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.sources.json_rows.MAX_ROW_BYTES", 1000)
    result = read(tmp_path / "a.jsonl", "x" * 5000 + "\n" + lines(GOOD))
    assert bad(result) == [(1, 0, "the line is longer than 1000 bytes")]
    assert result.pairs["source_row"].to_list() == [2]


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "a.jsonl"):
        assert read(tmp_path / name, gzip.compress(lines(row(1), row(2)).encode())).pairs.height == 2
    assert read(tmp_path / "plain.jsonl.gz", lines(GOOD)).pairs.height == 1


def test_a_gzip_file_that_breaks_off_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress("".join(lines(row(i)) for i in range(20_000)).encode())
    result = read(path, packed[: len(packed) // 2])
    assert result.unfinished_files == (str(path),)
    assert result.pairs.height > 1000
    with pytest.raises(UserError, match="cannot be read to its end"):
        check_bad_fraction(result, 0.05)


# --- JSON arrays


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_in_any_layout(tmp_path: Path, indent: int | None) -> None:
    result = read(tmp_path / "a.json", b"\xef\xbb\xbf" + json.dumps([row(1), row(2)], indent=indent).encode())
    assert result.pairs.select("source_row", "output").rows() == [(1, "Answer 1"), (2, "Answer 2")]
    assert result.quarantined.is_empty()


def test_json_lines_named_json(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", lines(row(1), row(2))).pairs.height == 2


@pytest.mark.parametrize(
    "element",
    [
        '{"instruction": "a", "output": oops}',
        '{"instruction": "a", "output": "never closed}',
        '{"instruction": "a", "output": "say "hi" twice"}',
        '{"instruction": "a" "output": "no comma"}',
        '{"instruction": "a", "output": "open object"',
        '{"instruction": "a", "output": "line\nbreak"}',
        "nothing",
        "",
        "42",
        '{"instruction": "a", "output": "\ud800"}',
    ],
)
@pytest.mark.parametrize("glue", [", ", ",\n"])
def test_one_bad_element_costs_one_row(tmp_path: Path, element: str, glue: str) -> None:
    good = [json.dumps(row(i)) for i in (1, 2, 3)]
    text = "[" + glue.join([good[0], element, *good[1:]]) + "]"
    result = read(tmp_path / "a.json", text.encode("utf-8", errors="surrogatepass"))
    assert result.pairs["output"].to_list() == ["Answer 1", "Answer 2", "Answer 3"]
    assert [(number, offset) for number, offset, _ in bad(result)] == [(2, 1 + len(good[0] + glue))]
    assert result.unfinished_files == ()


def test_a_nested_object_is_no_place_to_go_on(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]
    good = json.dumps({"messages": turns})
    broken = good.replace('"a"', '"an odd quote')
    result = read(tmp_path / "a.json", f"[{good}, {broken}, {good}]")
    assert (result.pairs["duplicate_count"].to_list(), result.quarantined.height) == ([1], 1)


def test_a_broken_first_element_costs_one_row(tmp_path: Path) -> None:
    result = read(tmp_path / "a.json", f'[{{"instr\nuction": "a"}}, {json.dumps(row(1))}, {json.dumps(row(2))}]')
    assert (result.pairs.height, result.quarantined.height, result.unfinished_files) == (2, 1, ())


def test_rows_that_cannot_be_found_again_leave_the_file_unfinished(tmp_path: Path) -> None:
    text = '[{"output": "c", "instruction": "a"}, {"output": oops}, {"instruction": "b", "output": "d"}]'
    result = read(tmp_path / "a.json", text)
    assert (result.pairs.height, result.quarantined.height, len(result.unfinished_files)) == (1, 1, 1)


def test_byte_offsets_count_bytes(tmp_path: Path) -> None:
    first = json.dumps({**GOOD, "output": "Füße 🦔"}, ensure_ascii=False)
    result = read(tmp_path / "a.json", f"[{first}, 42]")
    assert result.pairs["output"].to_list() == ["Füße 🦔"]
    assert bad(result)[0][:2] == (2, len(first.encode()) + 3)


def test_missing_and_extra_commas_are_forgiven(tmp_path: Path) -> None:
    result = read(tmp_path / "a.json", f"[{json.dumps(row(1))} {json.dumps(row(2))},]")
    assert (result.pairs.height, result.quarantined.height) == (2, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"[{json.dumps(GOOD)}", "the JSON array is not closed: the file breaks off here"),
        (f'[{json.dumps(GOOD)}, {{"instruction": "a', "the file cannot be read any further"),
        (f"[{json.dumps(GOOD)}] [1]", "there is text behind the end of the JSON array"),
        (f"[{json.dumps(GOOD)}, {'[' * 5000}]", "nested too deeply; the file cannot be read any further"),
    ],
)
def test_an_array_that_breaks_off_is_unfinished(tmp_path: Path, text: str, reason: str) -> None:
    result = read(tmp_path / "a.json", text)
    assert result.pairs.height == 1
    assert reason in bad(result)[0][2]
    assert len(result.unfinished_files) == 1


def test_elements_longer_than_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.sources.json_rows._WINDOW_BYTES", 10)
    rows = [{**GOOD, "output": "x" * length} for length in (0, 3, 5000, 40)]
    broken = '{"instruction": "x", "output": ' + " " * 900 + "}"
    text = "[" + ", ".join([broken, *map(json.dumps, rows), "123456789012345678901234567890"]) + "]" + " " * 90
    result = read(tmp_path / "a.json", text)
    assert result.pairs["output"].str.len_chars().to_list() == [0, 3, 5000, 40]
    assert [number for number, _, _ in bad(result)] == [1, 6]
    assert "123456789012345678901234567890" in bad(result)[1][2]


def test_the_work_on_a_broken_array_is_linear(tmp_path: Path) -> None:
    # json's own error counts the lines before it: on the whole text these 20 MB would take half a minute.
    element = '{"instruction": "a", "output": "odd " quote", "pad": "' + "x" * 2000 + '"}'
    started = time.process_time()
    result = read(tmp_path / "a.json", "[" + ", ".join([element] * 10_000) + "]")
    assert result.quarantined.height == 10_000
    assert time.process_time() - started < 5


# --- CSV


def test_csv_with_embedded_newlines_and_quotes(tmp_path: Path) -> None:
    text = '\ufeffinstruction,input,output\r\n"a ""b""",,"one\r\ntwo"\r\n\r\nc,d,e'
    result = read(tmp_path / "a.csv", text)
    assert result.pairs.select("source_row", "instruction", "input", "output").rows() == [
        (1, 'a "b"', "", "one\r\ntwo"),
        (2, "c", "d", "e"),
    ]


@pytest.mark.parametrize(
    ("suffix", "delimiter", "said"),
    [
        *product(["csv"], ",;\t|", ["", "\ufeff"]),
        *product(["tsv"], "\t,", ["", "\ufeff"]),
        *product(["csv", "tsv"], ",;\t|", ["sep={}\r\n", "\ufeffsep={}\n"]),
    ],
)
def test_a_quoted_header_is_divided_by_any_delimiter(tmp_path: Path, suffix: str, delimiter: str, said: str) -> None:
    rows = [["in\nput, of it", "instruction", 'the "output"', "output"], ["1", 'a "b"; c,|', "2", "d\n\te"]]
    lines = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    result = read(tmp_path / f"a.{suffix}", said.format(delimiter) + "\n".join(lines))
    assert result.pairs.select("instruction", "output").rows() == [('a "b"; c,|', "d\n\te")]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('"instruction"x;"output"', "the header: not valid CSV: ',' expected after '\"'"),
        ('"instruction;output', "the header: not valid CSV: unexpected end of data"),
        ('"instruction";"output";"output"', "the header: the name 'output' stands there more than once"),
        ('"a";"b"', "the header: no field that is known, found"),
        ('"instruction\xff";"output"', "the header: not UTF-8: byte 0xff at byte 13 of the row"),
    ],
)
def test_a_header_that_cannot_be_read_is_told(tmp_path: Path, header: str, reason: str) -> None:
    result = read(tmp_path / "a.csv", f"{header}\n1;2\n".encode("latin-1"))
    ((number, offset, found),) = bad(result)
    assert (number, offset, len(result.unfinished_files)) == (1, 0, 1)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"only", "the row has 1 fields, the header 2"),
        (b"a,b,c", "the row has 3 fields, the header 2"),
        (b'"a"b,c', "not valid CSV: ',' expected after '\"'"),
        (b'a,"say "hi"\nthere"', "not valid CSV: ',' expected after '\"' (2 lines up to the next closing quote)"),
        (b"a,\xff", "not UTF-8: byte 0xff at byte 3 of the row"),
        (b",c", "field instruction is empty"),
        (b"a,\x00", "field output: holds a NUL character"),
    ],
)
def test_one_bad_record_costs_one_row(tmp_path: Path, record: bytes, reason: str) -> None:
    result = read(tmp_path / "a.csv", b"instruction,output\nq,w\n" + record + b"\nx,y\n")
    assert result.pairs["output"].to_list() == ["w", "y"]
    ((number, offset, found),) = bad(result)
    assert (number, offset) == (2, 23)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    "text",
    ['instruction,output\na,b\n"never closed,c\nd,e\n', "instruction,output,output\na,b,c\n", '"instruction\n'],
)
def test_a_csv_that_cannot_be_read_on_is_unfinished(tmp_path: Path, text: str) -> None:
    result = read(tmp_path / "a.csv", text)
    assert (result.quarantined.height, len(result.unfinished_files)) == (1, 1)


def test_the_work_on_a_quote_that_is_never_closed_is_linear(tmp_path: Path) -> None:
    started = time.process_time()
    result = read(tmp_path / "a.csv", 'instruction,output\n"a"b",c\n' + "question,answer\n" * 40_000)
    assert bad(result)[0][2].endswith("(40001 lines up to the next closing quote)")
    assert len(result.unfinished_files) == 1
    assert time.process_time() - started < 3


def test_csv_fields_beyond_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "instruction,output\na," + "x" * 200_000).pairs.height == 1


# --- Parquet


def test_parquet_with_wrong_types_and_nulls(tmp_path: Path) -> None:
    pl.DataFrame(
        {"instruction": ["a", "b", None], "output": [1, 2, 3], "weights": [[0.5], None, []]},
    ).write_parquet(tmp_path / "a.parquet")
    result = read(tmp_path / "a.parquet")
    assert bad(result) == [
        (1, None, "field output: expected text, found the number 1"),
        (2, None, "field output: expected text, found the number 2"),
        (3, None, "field instruction: expected text, found null"),
    ]
    assert result.quarantined["excerpt"][0] == '{"instruction": "a", "output": 1}'


def test_parquet_chat_messages(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]
    pl.DataFrame({"messages": [turns]}).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").pairs.select("instruction", "output").rows() == [("a", "c")]


def test_a_damaged_parquet_file_is_unfinished(tmp_path: Path) -> None:
    pl.DataFrame({"instruction": [f"a{i}" for i in range(5000)], "output": "c"}).write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for content in (b"", b"nothing", whole[:-9], whole[:2000]):
        result = read(tmp_path / "a.parquet", content)
        assert len(result.unfinished_files) == 1


# --- what the user must mend


def test_no_files_a_missing_file_and_a_folder_name_the_key(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UserError, match=r"^sources\.mine\.path: "):
            read_sources([Source("mine", path=str(path))])
    with pytest.raises(UserError, match=r"^sources\.mine\.paths: "):
        Source("mine", paths=())


def test_unknown_suffix_format_and_fields_name_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"sources\.mine\.format to one of json, jsonl, csv, parquet"):
        read(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"sources\.mine\.format: 'xml' is not one of"):
        Source("mine", "a", format="xml")
    with pytest.raises(UserError, match=r"sources\.mine\.fields: output is missing"):
        Source("mine", "a", fields={"instruction": "q"})
    with pytest.raises(UserError, match=r"sources\.mine\.fields: 'answer' is not one of our fields"):
        Source("mine", "a", fields={"instruction": "q", "output": "a", "answer": "a"})


def test_the_bad_fraction_stops_and_names_file_share_and_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    result = read(path, lines(*[row(i) for i in range(9)]) + "broken\n")
    check_bad_fraction(result, 0.1)
    with pytest.raises(UserError) as caught:
        check_bad_fraction(result, 0.05)
    message = str(caught.value)
    assert "sources.mine: 1 of 10 rows cannot be used (10.0%); max_bad_fraction allows 5.0%" in message
    assert f"{path}, row 10: not valid JSON: Expecting value at position 1" in message


def test_a_source_without_rows_stops(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sources\.mine: its files hold no rows"):
        check_bad_fraction(read(tmp_path / "a.jsonl", "\n"), 1.0)


def test_progress_ends_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(*[row(i) for i in range(2500)]))
    seen: list[Progress] = []
    read_sources([Source("mine", path=str(tmp_path / "a.jsonl"))], seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(1000, None), (2000, None), (2500, 2500)]
    first, second, last = (known(progress.share) for progress in seen)
    assert 0 < first < second < 1 == last


def test_who_can_do_without_no_row_is_stopped_by_the_first_bad_one(tmp_path: Path) -> None:
    source = Source("mine", path=str(tmp_path / "*"))
    (tmp_path / "a.jsonl").write_text(lines(GOOD, {"id": 7}))
    assert [(path.name, found.record) for path, _, found in strict_rows(source)] == [
        ("a.jsonl", GOOD),
        ("a.jsonl", {"id": 7}),
    ]
    (tmp_path / "b.jsonl").write_text("broken")
    with pytest.raises(UserError, match=r"^sources\.mine\.path: .*b\.jsonl, row 1: not valid JSON"):
        list(strict_rows(source))
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(b"{}")[:-2])
    with pytest.raises(UserError, match=r"^sources\.mine\.path: .*b\.jsonl cannot be read: the gzip file is damaged"):
        list(strict_rows(source))


# --- the shared samples


@pytest.mark.parametrize(("name", "rows"), [("alpaca_sample.json", 1500), ("gsm8k_sample.jsonl", 2000)])
def test_shared_samples_load(name: str, rows: int) -> None:
    if not (SHARED / name).exists():
        pytest.skip("the shared data folder is not here")
    result = read(SHARED / name)
    assert (result.rows_by_source["mine"], result.quarantined.height) == (rows, 0)


# --- properties

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
pair_rows = st.fixed_dictionaries({"instruction": texts.filter(str.strip), "input": texts, "output": texts})


def write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pl.DataFrame(rows, schema=dict.fromkeys(GOOD, pl.String)).write_parquet(path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(GOOD), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@in_one_folder
@example(rows=[GOOD, dict(reversed(GOOD.items()))], suffix="jsonl")  # the order of keys makes no other pair
@given(rows=st.lists(pair_rows, min_size=1, max_size=8), suffix=st.sampled_from(["json", "jsonl", "csv", "parquet"]))
def test_what_is_written_is_read(tmp_path: Path, rows: list[dict[str, str]], suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, rows)
    result = read(path)
    distinct = list({tuple(row[name] for name in GOOD): row for row in rows}.values())
    assert result.pairs.select(*GOOD).to_dicts() == distinct
    assert result.pairs["duplicate_count"].sum() == len(rows) - len(distinct)


@in_one_folder
@given(
    good=st.lists(st.integers(0, 3), max_size=8),
    broken=st.lists(st.sampled_from(["{", "[1]", '"x"', '{"instruction": ""}', '{"instruction": "a", "output": 1}'])),
    order=st.randoms(use_true_random=False),
)
def test_every_row_is_a_pair_a_duplicate_or_quarantined(
    tmp_path: Path, good: list[int], broken: list[str], order: Random
) -> None:
    all_lines = [json.dumps(row(number)) for number in good] + broken
    order.shuffle(all_lines)
    result = read(tmp_path / "a.jsonl", "\n".join(all_lines))
    assert result.rows_by_source["mine"] == len(all_lines)
    assert (result.pairs.height, result.quarantined.height) == (len(set(good)), len(broken))
    assert result.pairs["duplicate_count"].sum() == len(good) - len(set(good))


fragments = st.sampled_from(
    [b'{"instruction": "a", "output": "b"}', b"instruction,output\n", b'"', b"\n", b",", b"[", b"]", b"{", b"}", b"\\",
     b"\xff\xfe", b"\x00", b'{"instruction":', b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b\x08",
     b'{"data": [', b"sep=;", b"\r", b"\t", b";", b"\xff\xff\xff\xff", b"ARROW1",
     b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]
)  # fmt: skip


@in_one_folder
@given(
    content=st.binary(max_size=200) | st.lists(fragments | st.binary(max_size=4), max_size=20).map(b"".join),
    suffix=st.sampled_from(["json", "jsonl", "jsonl.gz", "csv", "tsv", "parquet", "arrow"]),
)
def test_arbitrary_bytes_never_raise_and_lose_no_row(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assume(pointer(tmp_path / f"a.{suffix}") is None)  # the one content that is refused before it is read
    result = read(tmp_path / f"a.{suffix}")
    pairs = result.pairs.height + result.pairs["duplicate_count"].sum()
    assert result.rows_by_source["mine"] == pairs + result.quarantined.height
    assert all(len(text) <= 200 for text in result.quarantined["excerpt"])
