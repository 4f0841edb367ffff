"""What public instruction data looks like: files as people have them, and what a user expects of each."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.sources.fields import is_absent, matters, unread
from models_py.sources.pairs import Pair
from models_py.sources.read import SourcesRead, check_bad_fraction, read_sources
from models_py.sources.spec import Source
from tests.models_py.sources.one_pair import to_pair
from tests.support.values import as_a

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "sources"
Texts = list[tuple[str, str, str]]
RIVERS: Texts = [(f"Name {number} rivers.", "", f"Answer {number}: Rhine") for number in (2, 3, 4, 5)]
HELLO: Texts = [("Hi?", "", "Hello.")]
HELLOS: Texts = [*HELLO, ("Ho?", "", "Hullo.")]

# File -> its pairs, or the beginning of what is said of the row or the file.
EXPECTED: dict[str, Texts | str] = {
    "alpaca_history_system.jsonl": [("And the second one?", "", "Brenta.")],
    "bom.csv": HELLO,
    "bom.jsonl": RIVERS,
    "capital_roles.jsonl": HELLO,
    "category_int.jsonl": HELLO,
    "content_parts.jsonl": HELLO,
    "cr_only.csv": HELLOS,
    "crlf.jsonl": RIVERS,
    "data_wrapper_pretty.json": RIVERS,
    "dictionary.parquet": HELLOS,
    "dolly_context_output.jsonl": [("Where is the ship?", "The ship is in Bergen.", "In Bergen.")],
    "dpo_conv_chosen.jsonl": "field chosen holds a preference between answers",
    "dup_keys.jsonl": "the key 'output' stands twice in one object",
    "excel_trailing_empty_columns.csv": HELLO,
    "gpteacher_input_response.jsonl": [("Add the numbers.", "5 and 8", "13")],
    "image_placeholder.jsonl": "field images holds images, sound or video",
    "jq_pretty_stream.json": RIVERS,
    "json_is_jsonl.json": RIVERS,
    "jsonl_is_pretty_array.jsonl": RIVERS,
    "kto_false.jsonl": "field label is false: the answer is marked as bad",
    "lfs_pointer.csv": "a git-lfs pointer, not the data; run `git lfs pull`",
    "lfs_pointer.jsonl": "a git-lfs pointer, not the data; run `git lfs pull`",
    "list_struct.parquet": HELLO,
    "messages_and_null.jsonl": [("Name a river.", "", "Po.")],
    "messages_json_string.csv": HELLO,
    "mixed_messages_alpaca.parquet": HELLOS,
    "multi_turn_same_opening.jsonl": [(f"Question {n}", "", f"Answer {n}") for n in range(4)],
    "nan_array_tail.json": RIVERS,
    "nan_input.jsonl": [("Name a river.", "", "Po.")],
    "nan_text.csv": HELLO,
    "noinput_marker.jsonl": HELLO,
    "plain.jsonl.zst": RIVERS,
    "prompt_completion.jsonl": [("2+2?", "", "4")],
    "question_answer.jsonl": [("2+2?", "", "4")],
    "quoted_newlines.csv": [("Name\ntwo\n\nrivers.", "", 'Po, "Rhine"\r\nand more')],
    "sharegpt_chatgpt_role.jsonl": [("And a lake?", "", "Garda.")],
    "single_object_pretty.json": RIVERS[:1],
    "tab.csv": HELLO,
    "title_case_keys.jsonl": HELLO,
    "tool_call_between.jsonl": "field conversations[1]: a turn of a tool ('function_call')",
    "two_user_turns.jsonl": [("I have a question about rivers.\n\nWhich is longest?", "", "The Nile.")],
    "utf16_excel.csv": HELLO,
}


def read(path: Path, **spec: Any) -> SourcesRead:
    result = read_sources([Source("mine", path=str(path), **spec)])
    [counts] = result.counts
    assert counts.row_count == counts.pair_count + counts.duplicate_count + counts.quarantined_count
    assert (counts.pair_count, counts.quarantined_count) == (result.pairs.height, result.quarantined.height)
    return result


def outcome(path: Path, **spec: Any) -> Texts | str:
    """The pairs, or the one thing that is said of a file that gives none."""
    try:
        result = read(path, **spec)
    except UserError as error:
        return str(error).split(f"{path.name} is ")[-1]
    if not result.pairs.is_empty():
        assert result.quarantined.is_empty(), result.quarantined["reason"].to_list()
        return [tuple(row) for row in result.pairs.select("instruction", "input", "output").rows()]
    [reason] = result.quarantined["reason"]
    return as_a(str, reason)


@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared/cases")
def test_every_shared_case_is_expected() -> None:
    assert {path.name for path in CASES.iterdir()} - {"expected.json"} == EXPECTED.keys()
    for name, wanted in json.loads((CASES / "expected.json").read_text("utf-8")).items():
        if wanted["pairs"] is not None and isinstance(EXPECTED[name], list):
            assert len(EXPECTED[name]) == wanted["pairs"], name


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared/cases")
def test_a_shared_case_is_read_as_its_user_expects(name: str) -> None:
    found, expected = outcome(CASES / name), EXPECTED[name]
    assert found == expected if isinstance(expected, list) else as_a(str, found).startswith(expected)


# --- fields


def turns(*said: tuple[str, object], **more: object) -> list[dict[str, object]]:
    return [{"role": role, "content": text, **more} for role, text in said]


QA = turns(("user", "a"), ("assistant", "c"))


@pytest.mark.parametrize(
    ("record", "texts"),
    [
        ({"Question": "a", " ANSWER ": "c"}, ("a", "", "c")),
        ({"in_struction": "a", "out put": "c"}, ("a", "", "c")),
        ({"query": "a", "Context": "b", "Completion": "c"}, ("a", "b", "c")),
        ({"problem": "a", "solution": "c"}, ("a", "", "c")),
        ({"instruction": "a", "prompt": "", "output": None, "response": "c"}, ("a", "", "c")),
        ({"instruction": "a", "prompt": "a", "output": "c", "answer": "c"}, ("a", "", "c")),
        ({"instruction": "a", "input": "<noinput>", "context": "b", "output": "c"}, ("a", "b", "c")),
        ({"instruction": "a", "input": "<No Input>", "output": "c"}, ("a", "", "c")),
        ({"instruction": "a", "input": "noinput", "output": "c"}, ("a", "", "c")),
        ({"instruction": "a", "input": "no input is given", "output": "c"}, ("a", "no input is given", "c")),
        ({"instruction": "a", "input": "nan", "output": "nan"}, ("a", "nan", "nan")),
        ({"instruction": "a", "output": None}, ("a", "", "")),
        ({"instruction": "a", "output": float("nan")}, ("a", "", "")),
        ({"instruction": "a", "output": "c", "history": [], "system": "", "label": True, "weight": 1}, ("a", "", "c")),
        ({"instruction": "a", "output": "c", "images": [None], "tools": "[]", "weight": "1.0"}, ("a", "", "c")),
        ({"instruction": "a", "output": "c", "label": "sport", "id": False}, ("a", "", "c")),
        ({"prompt": "a", "prompt_id": "7", "messages": QA}, ("a", "", "c")),
        ({"problem": "a", "solution": "c", "messages": QA}, ("a", "", "c")),
        ({"messages": json.dumps(QA)}, ("a", "", "c")),
        ({"messages": {"role": ["user", "assistant"], "content": ["a", "c"]}}, ("a", "", "c")),
        ({"messages": [], "instruction": "a", "output": "c"}, ("a", "", "c")),
        (QA, ("a", "", "c")),
        ({"prompt": QA[:1], "completion": QA[1:]}, ("a", "", "c")),
        ({"prompt": QA[:1], "completion": "c"}, ("a", "", "c")),
        ({"conversation": turns(("User", "a"), ("GPT", "c"))}, ("a", "", "c")),
        ({"messages": turns(("human", "a"), ("bot", "b"), ("AI", "c"))}, ("a", "", "b\n\nc")),
        ({"messages": turns(("user", "a"), ("system", "s"), ("user", "b"), ("model", "c"))}, ("b", "", "c")),
        ({"messages": turns(("developer", "s"), ("prompter", "a"), ("Claude", None))}, ("a", "", "")),
        ({"messages": turns(("user", [{"type": "text", "text": "a"}, "b"]), ("assistant", "c"))}, ("a\nb", "", "c")),
        ({"messages": [{"from": "human", "text": "a"}, {"role": "assistant", "value": "c"}]}, ("a", "", "c")),
        ({"messages": turns(("user", "a"), ("assistant", "c"), weight=1, tool_calls=None)}, ("a", "", "c")),
    ],
)
def test_texts_are_found(record: object, texts: tuple[str, str, str]) -> None:
    pair = as_a(Pair, to_pair(record))
    assert (pair.instruction, pair.input, pair.output) == texts


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            {"instruction": "a", "prompt": "b", "output": "c"},
            "fields instruction and prompt are both filled, and differ",
        ),
        ({"problem": "a", "solution": "b", "answer": "c"}, "fields answer and solution are both filled, and differ"),
        ({"instruction": "x", "messages": QA}, "fields messages and instruction are both filled, and differ"),
        ({"messages": QA, "conversations": QA[:1]}, "fields messages and conversations are both filled, and differ"),
        ({"instruction": "a", "output": "c", "Chat_History": "x: y"}, "field Chat_History: expected a list of turns"),
        ({"instruction": "a", "output": "c", "tools": '[{"name": "f"}]'}, "field tools holds tools"),
        ({"instruction": "a", "output": "c", "label": 0}, "field label is 0: the answer is marked as bad"),
        ({"instruction": "a", "output": "c", "label": "False"}, "field label is False: the answer is marked as bad"),
        ({"instruction": "a", "output": "c", "weight": "0.0"}, "field weight is 0.0: the row counts for nothing"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "field chosen holds a preference"),
        ({"messages": turns(("user", "a"), ("assistant", "c"), weight=0)}, "field messages[0]: field weight is 0"),
        (
            {"messages": turns(("user", "a"), ("assistant", "c"), train=False)},
            "field messages[0]: field train is false",
        ),
        (
            {"messages": [*QA[:1], {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "field messages[1]: field tool_calls holds tools",
        ),
        ({"messages": [*QA, *turns(("tool", "{}"))]}, "field messages[2]: a turn of a tool ('tool')"),
        (
            {"messages": turns(("narrator", "a"), ("user", "b"))},
            "field messages[0]: unknown role 'narrator'; known are",
        ),
        (
            {"messages": turns(("user", [{"type": "image_url", "image_url": {"url": "a"}}]), ("assistant", "c"))},
            "field messages[0].content[0]: a part of type 'image_url'; only text is read",
        ),
        ({"messages": "[{'role': 'user'}]"}, "field messages: the text is no JSON"),
        (
            {"messages": '[{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]'},
            "field messages: the key 'content' stands twice in one object",
        ),
        (
            {"instruction": "a", "output": "c", "history": '[{"user": "x", "assistant": "y", "user": "z"}]'},
            "field history: the key 'user' stands twice in one object",
        ),
        ({"messages": [{"role": "user"}, *QA]}, "field messages[0]: expected an object with role and content"),
        (
            {"messages": [*QA[:1], {"role": "assistant", "content": "c", "reasoning_content": "hm"}]},
            "field messages[1]: field reasoning_content holds reasoning beside the text",
        ),
        (
            {"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}},
            "field instruction: expected text, found an object with '0', '1'. The file seems to be one object of rows",
        ),
    ],
)
def test_what_would_change_the_pair_is_said(record: object, reason: str) -> None:
    assert as_a(str, to_pair(record)).startswith(reason)


def test_named_fields_are_all_that_is_read() -> None:
    record = {"instruction": "a", "output": "c", "history": [["x", "y"]], "answer": "other"}
    assert to_pair(record, {"instruction": "instruction", "output": "output"}) == Pair("a", "", "c", None)
    chat = {"talk": QA, "prompt": "other", "kind": 3}
    assert to_pair(chat, {"messages": "talk", "category": "kind"}) == Pair("a", "", "c", "3")
    assert to_pair({"q": 1}, {"messages": "talk"}) == "field talk is missing: found 'q'"


def test_names_and_neutral_values() -> None:
    assert matters("Tool_Calls") and matters("In Put") and not matters("id")
    nothing: list[object] = [None, float("nan"), " ", [], {}]
    assert all(map(is_absent, nothing)) and not any(map(is_absent, [0, False, "x"]))
    assert unread({"tools": [[], {}], "image": True, "weight": 0.5, "label": None}) is None


# --- files with another shape inside

ROW = '{"instruction": "Hi?", "output": "Hello."}'
PRETTY = json.dumps(json.loads(ROW), indent=2)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("one_line_wrapper.json", f'{{"version": "1.0", "data": [{ROW}]}}', HELLO),
        ("wrapper.jsonl", f'{{\n"data": [\n{ROW}\n],\n"count": 1}}', HELLO),
        ("one_line_array.jsonl", f"[{ROW}]", HELLO),
        ("array_a_row_a_line.json", f"[\n{ROW},\n{ROW}\n]\n", HELLO),
        ("commas.jsonl", f"{ROW},\n{ROW},\n{ROW}\n", HELLO),
        ("cut_off.jsonl", f"{ROW}\n{ROW}\n{ROW[:-5]}", "not valid JSON: Unterminated string starting at position"),
        ("cut_off.csv", "instruction,input,output\nHi?,,Hello.\nHo?,", "the row has 2 fields, the header 3"),
        (
            "nested.json",
            f'{{"info": {{"by": "me"}}, "rows": [{ROW}, {ROW}]}}',
            "no recognised fields: found 'info', 'rows'",
        ),
        ("jq.jsonl", f"{PRETTY}\n{PRETTY}\n", HELLO),
        ("pretty_then_broken.json", f"{PRETTY}\n{{\n  bad", "not valid JSON"),
        ("two_lists.json", f'{{"train": [{ROW}], "test": [{ROW}]}}', "beside the list of rows that was read"),
        ("wrapper_cut_off.json", f'{{\n"data": [\n{ROW}\n]', "the JSON object is not closed"),
        ("first_line_broken.jsonl", f'{{"instruction": "a",\n{ROW}\n', "not valid JSON"),
        ("utf16.jsonl", f"{ROW}\n".encode("utf-16"), HELLO),
        ("utf16_bare.jsonl", f"{ROW}\n".encode("utf-16-be"), HELLO),
        ("utf32.json", f"[{ROW}]".encode("utf-32"), HELLO),
        ("cr_only.jsonl", f"{ROW}\r{ROW}\r", HELLO),
        ("cr_cr_lf.jsonl", f"{ROW}\r\r\n{ROW}\r\r\n", HELLO),
        ("turns_a_line.jsonl", f"{json.dumps(QA)}\n{json.dumps(QA)}\n", [("a", "", "c")]),
        ("indexed.json", json.dumps({"0": json.loads(ROW)}), "no recognised fields: found '0'"),
        ("semicolons.csv", "instruction;input;output\nHi?;;Hello.\n", HELLO),
        ("sep.csv", "sep=;\r\nquestion;answer\r\nHi?;Hello.\r\n", HELLO),
        ("tabs.tsv", "Prompt\tResponse\nHi?\tHello.\n", HELLO),
        ("bars.csv", "instruction|output\nHi?|Hello.\n", HELLO),
        ("index_column.csv", ",instruction,output\n0,Hi?,Hello.\n", HELLO),
        ("empty_rows.csv", "instruction,output\nHi?,Hello.\n,\n,\n", HELLO),
        ("spilled.csv", "instruction,input,output,,\nHi?,,Hello, you.,\n", "the row has 5 fields, the header 3"),
        ("no_header.csv", "Hi?,Hello.\nHo?,Hullo.\n", "the header: no field that is known, found 'Hi?', 'Hello.'"),
        ("null.csv", "instruction,input,output\nHi?,NaN,Hello.\n", HELLO),
        ("page.jsonl", "<!DOCTYPE html><html>Sign in</html>", "the file is a web page"),
        ("sheet.csv", b"PK\x03\x04\x14\x00", "the file is a zip archive or an Excel workbook"),
        ("parquet.jsonl", b"PAR1\x15\x04", "the file is a Parquet file; name it .parquet"),
        ("annex.parquet", "/annex/objects/SHA256E-s1--ab.parquet\n", "a git-annex pointer"),
    ],
)
def test_a_file_with_another_shape_inside(
    tmp_path: Path, name: str, content: str | bytes, expected: Texts | str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, list):
        assert outcome(path) == expected
        return
    try:
        result = read(path)
    except UserError as error:
        assert expected in str(error)
        return
    assert result.quarantined["reason"][0].startswith(expected)
    with pytest.raises(UserError, match="cannot be read to its end" if name.startswith("cut_off") else None):
        check_bad_fraction(result, 0.4)


@pytest.mark.parametrize("text", ["хорошо", "są", "Å", "公 全", "a\x85b", "a\u2028b"])
@pytest.mark.parametrize(
    "layout",
    [
        '{{"version": 1, "data": [{{"instruction": {0}, "output": {0}}}]}}',
        '{{"instruction": {0},\n "output": {0}}}\n{{"instruction": {0},\n "output": {0}}}\n',
        '{{"instruction": {0}, "output": {0}}}\n{{"instruction": {0}, "output": {0}}}\n',
        '[{{"instruction": {0}, "output": {0}}},\r\n{{"instruction": {0}, "output": {0}}}]',
    ],
)
def test_no_letter_ends_a_line(tmp_path: Path, layout: str, text: str) -> None:
    (tmp_path / "a.json").write_text(layout.format(json.dumps(text, ensure_ascii=False)), encoding="utf-8")
    assert outcome(tmp_path / "a.json") == [(text, "", text)]


EXAMPLES = {"id": 7, "examples": [{"question": "2+2?", "answer": "4"}]}
TALK = {"id": 7, "talk": QA}
LONG = "a" * 70_000
ASKED: Texts = [("a", "", "c")]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("row", "fields", "expected"),
    [
        ({**EXAMPLES, "instruction": "a", "output": "c"}, None, ASKED),
        ({**EXAMPLES, "response": "c", "Question": "a"}, None, ASKED),
        ({**EXAMPLES, "instruction": LONG, "output": "c"}, None, [(LONG, "", "c")]),
        ({**EXAMPLES, "messages": QA}, None, ASKED),
        ({**EXAMPLES, "wie heißt": "a", "answer": "c"}, {"instruction": "wie heißt", "output": "answer"}, ASKED),
        (TALK, {"messages": "talk"}, ASKED),
        ({"id": 7, "ça va": QA}, {"messages": "ça va"}, ASKED),
        ({**TALK, "note": LONG}, {"messages": "talk"}, ASKED),
        ({"system": "", "data": [{"q": "a", "o": "c"}]}, {"instruction": "q", "output": "o"}, ASKED),
    ],
)
def test_a_list_in_an_object_is_the_rows_where_nothing_beside_it_is_one(
    tmp_path: Path, row: object, fields: dict[str, str] | None, expected: Texts, indent: int | None
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(row, indent=indent))
    assert outcome(tmp_path / "a.json", fields=fields) == expected
    (tmp_path / "a.json").write_text(json.dumps(row, indent=indent, ensure_ascii=False))
    assert outcome(tmp_path / "a.json", fields=fields) == expected


def test_rows_longer_than_the_files_head_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[object] = [{"id": n, "talk": turns(("user", LONG), ("assistant", str(n)))} for n in (1, 2, 3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path, fields={"messages": "talk"}).pairs["output"].to_list() == ["1", "2", "3"]
    path.write_text("\n".join(json.dumps(turns(("user", LONG), ("assistant", str(n)))) for n in (1, 2, 3)))
    assert read(path).pairs["output"].to_list() == ["1", "2", "3"]
    path.write_text("\n".join(json.dumps({**EXAMPLES, "instruction": LONG, "output": str(n)}) for n in (1, 2, 3)))
    assert read(path).pairs["output"].to_list() == ["1", "2", "3"]


def test_a_list_that_is_too_long_for_a_row_is_the_rows_and_a_known_field_behind_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_py.sources.json_rows.MAX_ROW_BYTES", 1000)
    rows = [{"instruction": f"Question {n}", "output": "c"} for n in range(100)]
    (tmp_path / "a.json").write_text(json.dumps({"data": rows, "count": 3, "Größe": [1], "instruction": "a"}))
    result = read(tmp_path / "a.json")
    assert (result.pairs.height, result.unfinished_files) == (100, (str(tmp_path / "a.json"),))
    assert result.quarantined["reason"].to_list() == [
        "beside the list of rows that was read there is also 'Größe', 'instruction'; write each to a file of its own"
    ]


def test_a_packed_file_that_breaks_off_gives_the_rows_before_that(tmp_path: Path) -> None:
    rows = [{"instruction": f"Question {n}", "output": str(n**9)} for n in range(20_000)]
    for name, whole in {"array": rows, "wrapped": {"data": rows}}.items():
        path = tmp_path / f"{name}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(whole).encode())[:-40_000])
        result = read(path)
        assert (result.pairs.height > 1_000, len(result.unfinished_files)) == (True, 1)


def test_an_array_of_18_mb_in_one_line(tmp_path: Path) -> None:
    rows = [{"instruction": f"Name river {number}.", "output": "The Rhine. " * 80} for number in range(20_000)]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows))
    assert read(tmp_path / "a.jsonl").pairs.height == 20_000
