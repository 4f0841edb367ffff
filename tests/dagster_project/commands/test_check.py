"""`make check`: what would stop a run is told with its key and remedy, all at once, and nothing is written."""

import importlib.util
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from pyarrow.fs import FileSelector

from dagster_project.commands import check as command
from dagster_project.commands.check import Finding, check_before_run, findings
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import load_profile
from models_py.content import content_id
from models_py.errors import UserError
from models_py.s3 import KEYS
from models_py.sources.read import read_sources
from models_py.teacher.engines.openai.address import is_loopback, unreached
from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import open_teacher
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, PendingPair
from tests.support.disks import small_disk
from tests.support.engines import BETTER, REWRITE, Scripted, said
from tests.support.postgres import run_sql
from tests.support.profiles import write_profile
from tests.support.s3 import files as s3_files

CAT, DOG = ("Describe a cat.", "", "Soft."), ("Describe a dog.", "", "Loyal.")
PRICES = {"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}
GPT = {"engine": "openai", "model": "gpt-4.1-mini", "api_key_env": "KEY_OF_TESTS"}

Change = Callable[[Path, dict[str, Any]], None]


def rows_of(*pairs: tuple[str, str, str], **more: object) -> str:
    return "".join(
        json.dumps(dict(zip(("instruction", "input", "output"), pair, strict=True)) | more) + "\n" for pair in pairs
    )


def reply_of(*pairs: tuple[str, str, str]) -> str:
    lines = [{"phase": "instruction_reflection", "content_id": content_id(*pair), "reply": "No."} for pair in pairs]
    return "".join(json.dumps(line) + "\n" for line in lines)


def a_gguf(file: Path, architecture: str = "llama", **values: int) -> Path:
    """A GGUF file of that architecture, with one tensor."""
    writer = gguf.GGUFWriter(str(file), architecture)
    for name, value in values.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_token_list([f"word {number}" for number in range(100)])
    writer.add_tensor("token_embd.weight", np.ones((100, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(command, "unreached", lambda url, wait_s: unreached(url, wait_s) if is_loopback(url) else None)
    monkeypatch.delenv("KEY_OF_TESTS", raising=False)


@pytest.fixture
def port() -> int:
    """One that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All that the profile of `sound` names."""
    (tmp_path / "pairs.jsonl").write_text(rows_of(CAT, DOG))
    (tmp_path / "replies.jsonl").write_text(reply_of(CAT))
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 4096}')
    (student / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (student / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return tmp_path


def sound() -> dict[str, Any]:
    return {
        "warehouse": "warehouse",
        "sources": [{**SOURCES[0], "fields": dict(FIELDS)}],
        "teachers": {"tape": {"engine": "recorded", "replies": "replies.jsonl"}},
        "students": {"small": {"model": "./student", "chat_template": "chat.jinja"}},
        "recipes": {"first": {"policy": "paper", "teacher": "tape", "student": "small"}},
    }


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def found(folder: Path, profile: Mapping[str, Any], port: int) -> list[Finding]:
    if not (folder / "chat.jinja").exists():
        (folder / "chat.jinja").write_text(TEMPLATE)
    return [*findings(write_profile(folder, profile), port)]


def told(found: list[Finding], verdict: str) -> list[str]:
    return [finding.told for finding in found if finding.verdict == verdict]


def test_where_nothing_is_wrong_each_part_has_a_line(folder: Path, port: int) -> None:
    lines = found(folder, sound(), port)
    assert {finding.verdict for finding in lines} == {"ok"}
    beginnings = ("mine.yaml", "sql", "warehouse", "sources.mine", "teachers.tape", "students.small", "disk", "port")
    assert len(lines) == len(beginnings)
    assert all(beginning in finding.told for finding, beginning in zip(lines, beginnings, strict=True))
    assert "2 pairs in 2 rows, 0 to be quarantined" in lines[3].told
    assert not (folder / "warehouse").exists()


def sets(path: str, value: object) -> Change:
    """Sets a value of the profile; a list's places are numbers."""

    def change(_: Path, profile: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = profile
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[last] = value

    return change


def writes(name: str, content: str | bytes) -> Change:
    def change(folder: Path, _: dict[str, Any]) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def removes(name: str) -> Change:
    return lambda folder, _: (folder / name).unlink()


def both(*changes: Change) -> Change:
    def change(folder: Path, profile: dict[str, Any]) -> None:
        for one in changes:
            one(folder, profile)

    return change


def a_model_of(architecture: str = "llama", **values: int) -> Change:
    def change(folder: Path, profile: dict[str, Any]) -> None:
        file = a_gguf(folder / "tiny.gguf", architecture, **values)
        profile["students"]["small"] = {"model": str(file)}

    return change


def a_broken_gguf(folder: Path, profile: dict[str, Any]) -> None:
    a_model_of()(folder, profile)
    whole = (folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").write_bytes(whole[:-40])


def an_enormous_model(folder: Path, _: dict[str, Any]) -> None:
    """Of 4 TB, none of which take room: 4 TB of nothing."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    with (folder / "student" / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * 10**12)


def in_the_way(folder: Path, profile: dict[str, Any]) -> None:
    (folder / "file").write_text("in the way")
    profile["warehouse"] = "file/warehouse"


def of_another_profile(folder: Path, _: dict[str, Any]) -> None:
    Lake(folder / "warehouse", owner="theirs").prepare()


FIELDS = {"instruction": "instruction", "output": "output"}
SOURCES = [{"name": "mine", "path": "pairs.jsonl", "fields": FIELDS}]
PROMPTS, SOURCE, SMALL = "teachers.tape.prompts.response_reflection", "sources.0", "students.small"
NEEDS_A_KEY = sets("teachers.tape", GPT)
NEEDS_NO_KEY = sets("teachers.tape", GPT | {"api_key_env": None})

WRONG: dict[str, tuple[Change, str]] = {
    # 1: a file
    "source": (sets(f"{SOURCE}.path", "lost.jsonl"), r"sources\.mine\.path: .*lost\.jsonl.* not found; name a file"),
    "glob": (sets(f"{SOURCE}.path", "*.csv"), r"sources\.mine\.path: .*\*\.csv holds no file to read"),
    "pointer": (
        writes("pairs.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        r"sources\.mine\.path: .*is a git-lfs pointer, not the data; run `git lfs pull`",
    ),
    "prompt": (sets(PROMPTS, "no.jinja"), r"teachers\.tape\.prompts\.response_reflection: cannot read .*no\.jinja"),
    "prompt without a tag": (
        both(sets(PROMPTS, "own.jinja"), writes("own.jinja", "{{ instruction }} {{ output }}")),
        r"teachers\.tape\.prompts\.response_reflection: .*own\.jinja never names the tag \[Better Answer\]",
    ),
    "replies": (removes("replies.jsonl"), r"replies\.jsonl: cannot read the recorded replies"),
    "line of replies": (writes("replies.jsonl", "{}\n"), r"replies\.jsonl:1: phase is None"),
    "template": (sets(f"{SMALL}.chat_template", "no.jinja"), r"students\.small\.chat_template: .*no\.jinja cannot be"),
    # 2: a field that no row has
    "field": (
        sets(f"{SOURCE}.fields.instruction", "qestion"),
        r"sources\.mine\.fields\.instruction: no row of .*pairs\.jsonl has a field 'qestion'; there are: input, inst",
    ),
    "optional field": (
        sets(f"{SOURCE}.fields.input", "inputs"),
        r"sources\.mine\.fields\.input: no row of .*pairs\.jsonl has a field 'inputs' \(did you mean input\?\)",
    ),
    "field of one file": (
        both(
            writes("more.jsonl", '{"instruction": "Why?", "answer": "So."}\n'),
            sets("sources", [{**SOURCES[0], "path": "*.jsonl"}]),
            removes("replies.jsonl"),
            NEEDS_NO_KEY,
        ),
        r"fields\.output: no row of .*more\.jsonl has a field 'output'; there are: answer, instruction",
    ),
    "no pairs": (
        both(writes("pairs.jsonl", '{"a": 1}\n'), sets(f"{SOURCE}.fields", None)),
        r"sources\.mine: 1 of 1 rows cannot be used .*no recognised fields",
    ),
    # 3: a wrong model
    "config": (removes("student/config.json"), r"students\.small\.model: .*student has no config\.json"),
    "tokenizer": (removes("student/tokenizer.json"), r"students\.small\.model: .*student has no tokenizer; save"),
    "weights": (removes("student/model.safetensors"), r"students\.small\.model: .*student has no weights"),
    "cut weights": (
        writes("student/model.safetensors", (40).to_bytes(8, "little") + b'{"w": {"data_offsets": [0, 8]}}         '),
        r"students\.small\.model: .*model\.safetensors breaks off: it has 48 bytes of the 56 that its header names",
    ),
    "architecture": (
        writes("student/config.json", '{"model_type": "lama"}'),
        r"config\.json is of the model_type 'lama', which is no causal .*\(did you mean \w+\?\); name another model",
    ),
    "no architecture": (
        writes("student/config.json", "{}"),
        r"students\.small\.model: .*config\.json names no model_type",
    ),
    "folder": (sets(f"{SMALL}.model", "./nowhere"), r"students\.small\.model: .*nowhere"),
    "positions": (sets(f"{SMALL}.max_length", 9000), r"students\.small\.max_length is 9000, but the model has 4096"),
    "gguf": (a_broken_gguf, r"students\.small\.model: .*tiny\.gguf is no whole GGUF file: it has [\d,]+ bytes of the"),
    "gguf header": (
        both(a_model_of(), writes("tiny.gguf", b"GGUF\x03\0\0\0")),
        r"tiny\.gguf is no whole GGUF file: its header breaks off",
    ),
    "gguf architecture": (
        a_model_of("clip"),
        r"students\.small\.model: .*of the architecture 'clip', which transformers",
    ),
    "gguf positions": (
        a_model_of(context_length=512),
        r"students\.small\.max_length is 2048, but the model has 512 pos",
    ),
    "no gguf": (sets(SMALL, {"model": "no.gguf"}), r"students\.small\.model: .*cannot be read \(No such file"),
    "package": (
        sets(SMALL, {"model": "package:nobodys/m.gguf"}),
        r"students\.small\.model: there is no Python package 'n",
    ),
    # 4 and 5: a key, a price
    "key": (NEEDS_A_KEY, r"teachers\.tape\.api_key_env: the environment variable KEY_OF_TESTS is not set\. Set it"),
    "batch key": (
        sets("teachers.tape", GPT | {"engine": "openai_batch"}),
        r"teachers\.tape\.api_key_env: the environment variable KEY_OF_TESTS is not set",
    ),
    "price": (
        sets("teachers.tape", GPT | {"api_key_env": None, "budget": {"max_usd": 5}}),
        r"teachers\.tape\.budget\.max_usd: the price of the model is unknown; add it under prices",
    ),
    # 6 and 7: disk, warehouse
    "disk": (
        an_enormous_model,
        r"warehouse: .* needs about 4,000\.0 GB and has [\d.,]+ GB: 1 checkpoint 4,000\.0 GB; make room",
    ),
    "warehouse": (in_the_way, r"warehouse: .*file/warehouse cannot be written \(.*\)\. Name a folder"),
    "another's warehouse": (of_another_profile, r"The lake at .*warehouse/catalog\.sqlite is that of profile theirs"),
    "reuse": (sets("reuse", ["nobodys"]), r"reuse: .*nobodys is no warehouse"),
    "evaluation": (
        both(
            sets("evaluation", {"contamination": [{"name": "exam", "path": "exam.jsonl"}]}),
            writes("exam.jsonl", '{"question": "Why?"}\n{"question": '),
        ),
        r"evaluation\.contamination\.exam\.path: .*exam\.jsonl, row 2: not valid JSON",
    ),
    "no evaluation": (
        sets("recipes.first.drop_contaminated", True),
        r"recipes\.first\.drop_contaminated: there is nothing to compare with; name the evaluation files under",
    ),
    "held out": (
        sets("evaluation", {"held_out": [{"name": "later", "path": "later.jsonl"}]}),
        r"evaluation\.held_out\.later\.path: .*later\.jsonl",
    ),
    "benchmarks": (
        sets("evaluation", {"benchmarks": {"tasks": ["mine"], "include": "tasks"}}),
        r"evaluation\.benchmarks\.include: there is no folder .*tasks",
    ),
    "tracker": (
        both(sets("training", {"report_to": ["mlflow"]}), sets("recipes.first.training", {"epochs": 2})),
        r"training\.report_to names mlflow, which is not installed; install it into \.venv",
    ),
    # 9: a policy (8, a port, has a test of its own)
    "policy": (sets("recipes.first.policy", "perplexity"), r"recipes\.first\.policy: .*response_reflection: all"),
    # 10: a recording of others
    "recording": (
        writes("replies.jsonl", reply_of(("Other.", "", "x"))),
        r"replies\.jsonl: knows 0 of 2 pairs; its 1 p",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_problem_and_all_else_is_looked_at(folder: Path, port: int, case: str) -> None:
    profile, (change, complaint) = sound(), WRONG[case]
    (folder / "chat.jinja").write_text(TEMPLATE)
    change(folder, profile)
    before = everything(folder / "warehouse")
    lines = found(folder, profile, port)
    assert_one(told(lines, "problem"), complaint)
    assert len(lines) >= 6, lines
    assert everything(folder / "warehouse") == before


def assert_one(problems: list[str], complaint: str) -> None:
    assert len(problems) == 1, problems
    assert re.search(complaint, problems[0], re.DOTALL), problems[0]


def everything(folder: Path) -> dict[str, int]:
    """Every file and folder, with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")] if path.exists()}


def test_ten_things_are_told_at_once(folder: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    profile = sound()
    for change, _ in (WRONG[case] for case in ("prompt", "field", "config", "warehouse", "reuse", "policy")):
        change(folder, profile)
    profile["sources"].append({"name": "other", "path": "lost.jsonl"})
    profile["teachers"] |= {"gpt": GPT | {"budget": {"max_usd": 1}}}
    profile["students"] |= {"qwen": {"model": "Qwen/Qwen3-0.6B-Base"}}
    (folder / "chat.jinja").write_text(TEMPLATE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        status = command.main(["--profile", str(write_profile(folder, profile)), "--port", str(port)])
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("problem")]
    assert (status, len(lines)) == (1, 10), out
    assert "10 problems to correct before `make run`." in out
    (unchecked,) = [line for line in out.splitlines() if line.startswith("not checked  students")]
    assert unchecked.endswith(
        "students.qwen.model: Qwen/Qwen3-0.6B-Base is looked up on the hub, which cannot be reached"
    )


def test_a_profile_that_cannot_be_read_is_told_alone(folder: Path, port: int) -> None:
    lines = found(folder, sound() | {"recipe": {}}, port)
    assert [finding.verdict for finding in lines] == ["problem", "not checked"]
    assert lines[0].told.startswith("recipe: 'recipe' is not a key here (did you mean recipes?)")


def test_there_is_no_such_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--profile", "quikstart"]) == 1
    assert "no such profile (did you mean quickstart?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        sets("response_reflection", "all"),
        both(sets("teachers.tape", GPT | {"api_key_env": None, "budget": {"max_usd": 5}}), sets("prices", PRICES)),
        NEEDS_NO_KEY,
        sets(SMALL, {"scratch": {}}),
        a_model_of(context_length=4096),
        sets(f"{SOURCE}.fields", None),
        both(writes("pairs.jsonl", rows_of(CAT, DOG, kind="animal")), sets(f"{SOURCE}.fields.category", "kind")),
        both(removes("replies.jsonl"), writes("replies.jsonl", reply_of(DOG))),
        sets(SMALL, {"model": "./student"}),
    ],
    ids=["all", "price", "no key", "toy", "gguf", "recognised", "category", "one known", "no template"],
)
def test_what_is_right_passes(folder: Path, port: int, change: Change) -> None:
    profile = sound()
    (folder / "chat.jinja").write_text(TEMPLATE)
    change(folder, profile)
    lines = found(folder, profile, port)
    assert {finding.verdict for finding in lines} == {"ok"}, lines


def test_a_model_without_a_template_is_told_what_it_gets(folder: Path, port: int) -> None:
    lines = found(folder, sound() | {"students": {"small": {"model": "./student"}}}, port)
    assert any("without a chat template of its own: it gets the plain one" in line for line in told(lines, "ok"))


def test_a_key_is_not_needed_where_all_is_answered(folder: Path, port: int) -> None:
    """The ledger answers, or that of another warehouse under `reuse`."""
    gpt = {**sound(), "teachers": {"tape": GPT}}
    profile = load_profile(write_profile(folder, gpt))
    teacher = open_teacher(profile.teacher_specs()[0])
    pairs = [PendingPair.of(row) for row in read_sources(profile.sources).pairs.to_dicts()]
    scripted = Scripted(
        lambda one: said(one, REWRITE if one.phase == INSTRUCTION_REFLECTION else BETTER), teacher.engine.identity
    )
    with Ledger(profile.ledger_path) as ledger:
        answered = replace(teacher, engine=scripted)
        list(reflect_pairs(INSTRUCTION_REFLECTION, pairs, answered, ledger))
        list(reflect_pairs(RESPONSE_REFLECTION, pairs, answered, ledger))
    before = everything(folder / "warehouse")
    assert told(found(folder, gpt, port), "problem") == []
    reusing = gpt | {"warehouse": "other", "reuse": ["warehouse"]}
    assert told(found(folder, reusing, port), "problem") == []
    assert_one(told(found(folder, gpt | {"warehouse": "third"}, port), "problem"), "KEY_OF_TESTS is not set")
    assert everything(folder / "warehouse") == before


def test_a_server_where_nobody_listens_is_told(folder: Path, port: int) -> None:
    """Of a teacher and of a judge; not where somebody takes the connection, to whom nothing is said."""
    address = f"http://127.0.0.1:{port}/v1"
    mine = GPT | {"api_key_env": None, "base_url": address}
    profile = sound() | {"teachers": {"tape": mine}, "evaluation": {"judges": {"gpt": mine}}}
    assert told(found(folder, profile, port + 1), "problem") == [
        f"{key}.base_url: {address} does not answer (Connection refused); start what listens there, or correct the "
        "address"
        for key in ("teachers.tape", "evaluation.judges.gpt")
    ]
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert told(found(folder, profile, port + 1), "problem") == []
        with server.accept()[0] as taken:
            assert taken.recv(1) == b""


def test_a_server_that_is_slow_to_be_found_is_waited_for_two_seconds(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(command, "_CONNECT_S", 0.05)
    monkeypatch.setattr(command, "unreached", lambda url, wait_s: str(never.wait()))
    profile = sound() | {"teachers": {"tape": GPT | {"api_key_env": None}}}
    assert_one(
        told(found(folder, profile, port), "problem"), r"^teachers\.tape\.base_url: .* \(no answer in time\); start"
    )
    never.set()


def test_of_a_server_behind_a_proxy_the_proxy_is_looked_at(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "unreached", unreached)
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    profile = sound() | {"teachers": {"tape": GPT | {"api_key_env": None, "base_url": "https://api.invalid/v1"}}}
    assert_one(
        told(found(folder, profile, port + 1), "problem"),
        rf"\.base_url: the proxy http://127\.0\.0\.1:{port} before https://api\.invalid/v1 does not answer \(Conn",
    )
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", port))
        proxy.listen()
        assert told(found(folder, profile, port + 1), "problem") == []


def test_a_budget_that_is_used_up_is_told(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_TESTS", "k")
    gpt = {**sound(), "teachers": {"tape": {**GPT, "budget": {"max_requests": 1}}}}
    profile = load_profile(write_profile(folder, gpt))
    teacher = open_teacher(profile.teacher_specs()[0])
    pairs = [PendingPair.of(row) for row in read_sources(profile.sources).pairs.to_dicts()]
    answered = replace(teacher, engine=Scripted(lambda one: said(one, REWRITE), teacher.engine.identity))
    assert told(found(folder, gpt, port), "problem") == []
    with Ledger(profile.ledger_path) as ledger:
        list(reflect_pairs(INSTRUCTION_REFLECTION, pairs[:1], answered, ledger))
    complaint = r"^teachers\.tape\.budget\.max_requests 1 is reached: nothing more is asked; raise it$"
    assert_one(told(found(folder, gpt, port), "problem"), complaint)


def test_a_port_in_use_is_told_and_a_free_one_is_not(folder: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert_one(
            told(found(folder, sound(), port), "problem"), rf"Port {port} of .* `make ui PORT=3001` takes another"
        )
    assert told(found(folder, sound(), port), "problem") == []


def test_a_small_disk_is_told(folder: Path, port: int) -> None:
    with small_disk(folder / "disk", 8) as disk:
        profile = sound() | {
            "warehouse": str(disk / "warehouse"),
            "students": {"small": {"scratch": {"hidden_size": 256}}},
        }
        assert_one(told(found(folder, profile, port), "problem"), r"warehouse: .* needs about \d+ MB and has 8 MB")
        (disk / "warehouse" / "checkpoints" / "first").mkdir(parents=True)
        one = profile | {"students": {"small": {"scratch": {"vocab_size": 300, "hidden_size": 64}}}}
        assert told(found(folder, one, port), "problem") == []


def test_what_became_of_every_row_adds_up(folder: Path, port: int) -> None:
    (folder / "pairs.jsonl").write_text(rows_of(CAT, DOG, DOG) + "{\n")
    lines = found(folder, sound() | {"max_bad_fraction": 0.5}, port)
    assert any("2 pairs in 4 rows, 1 to be quarantined, 1 that repeats another" in line for line in told(lines, "ok"))
    turns = [{"role": role, "content": f"{role} {number}"} for number in (1, 2) for role in ("user", "assistant")]
    (folder / "pairs.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 3)
    (folder / "replies.jsonl").write_text(reply_of(("user 1", "", "assistant 1")))
    talks = found(folder, sound() | {"sources": [{"name": "mine", "path": "pairs.jsonl", "turns": "each"}]}, port)
    assert any(
        "2 pairs in 3 rows, 0 to be quarantined, 4 that repeat others; 3 more than rows, from conversations" in line
        for line in told(talks, "ok")
    )


def test_of_a_long_source_the_first_rows_are_read(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_MOST_ROWS", 2)
    lines = found(folder, sound(), port)
    assert any("2 pairs in the first 2 rows" in line for line in told(lines, "ok"))
    (folder / "replies.jsonl").write_text(reply_of(("Other.", "", "x")))
    assert_one(told(found(folder, sound(), port), "not checked"), "knows 0 of 2 pairs.*Not all pairs were looked at")


# --- before a run


@pytest.mark.parametrize(
    "case", ["field", "config", "architecture", "gguf", "disk", "source", "warehouse", "evaluation", "tracker"]
)
def test_a_run_looks_first_at_what_it_would_find_late(folder: Path, case: str) -> None:
    profile, (change, complaint) = sound(), WRONG[case]
    (folder / "chat.jinja").write_text(TEMPLATE)
    change(folder, profile)
    with pytest.raises(UserError, match=complaint):
        check_before_run(load_profile(write_profile(folder, profile)))


def test_before_a_run_nobody_is_asked_and_no_key_is_needed(folder: Path) -> None:
    (folder / "chat.jinja").write_text(TEMPLATE)
    away = {"name": "alpaca", "path": "hf://datasets/tatsu-lab/alpaca/data/train-*.parquet"}
    students = {"small": {"model": "Qwen/Qwen3-0.6B-Base"}}
    profile = sound() | {"teachers": {"tape": GPT}, "sources": [away], "students": students}
    check_before_run(load_profile(write_profile(folder, profile)))


def test_a_cluster_that_is_not_there_stops_a_run_before_it_begins(folder: Path, port: int) -> None:
    profile = sound() | {"executor": "ray"}
    assert "ray: a cluster on this machine, started for the run" in told(found(folder, profile, port), "ok")
    nowhere = f"http://127.0.0.1:{port}"
    (problem,) = told(found(folder, profile | {"ray": {"address": nowhere}}, port), "problem")
    assert problem.startswith(f"ray.address: no Ray cluster answers at {nowhere} ([Errno 111] Connection refused).")
    with pytest.raises(UserError, match=r"ray\.address: no Ray cluster answers"):
        check_before_run(load_profile(folder / "mine.yaml"))


def test_training_on_several_machines_needs_a_named_cluster(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    problems = told(found(folder, sound() | {"training": {"processes": 4, "machines": 2}}, port), "problem")
    assert problems == [
        "training.machines is 2, and no Ray cluster is named; name one (ray: {address: auto}), or set "
        "training.machines to 1"
    ]


def test_without_ray_its_group_is_named(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else there(name))
    needing: dict[str, dict[str, Any]] = {
        "executor": {"executor": "ray"},
        "scoring.actors": {"scoring": {"actors": 2}},
        "training.machines": {"training": {"processes": 4, "machines": 2}},
    }
    for key, parts in needing.items():
        problems = told(found(folder, sound() | parts, port), "problem")
        assert problems == [f"{key}: Ray is not installed. `make setup WITH=ray` installs it."]


def of_a_team(**lake: str) -> dict[str, Any]:
    return sound() | {"lake": lake}


def test_what_a_team_shares_is_looked_at(folder: Path, port: int, postgres: str, s3: str) -> None:
    (folder / "chat.jinja").write_text(TEMPLATE)
    lake = {"catalog": postgres, "data_path": f"{s3}/data/", "checkpoints": f"{s3}/checkpoints/"}
    ok = told(found(folder, of_a_team(**lake), port), "ok")
    database = postgres.rpartition("=")[2]
    assert any(re.fullmatch(rf"lake\.catalog: {database} on PostgreSQL [\d.]+.*", line) for line in ok), ok
    assert {f"lake.data_path: {s3}/data/", f"lake.checkpoints: {s3}/checkpoints/"} <= {*ok}
    check_before_run(load_profile(folder / "mine.yaml"))
    there = s3_files().get_file_info(FileSelector(s3.removeprefix("s3://"), recursive=True))
    assert not any(one.is_file for one in there)

    lake |= {"data_path": f"{s3}-elsewhere/data/", "checkpoints": str(folder / "shared")}
    problems = told(found(folder, of_a_team(**lake), port), "problem")
    assert [problem.partition(": ")[0] for problem in problems] == ["lake.data_path"]
    assert "cannot be written" in problems[0]


def test_a_server_that_lets_nobody_in_stops_a_run_before_it_begins(
    folder: Path, port: int, postgres_server: str, postgres: str
) -> None:
    (folder / "chat.jinja").write_text(TEMPLATE)
    nowhere = f"postgres:host=127.0.0.1 port={port} user=lake dbname=lake"
    (problem,) = told(found(folder, of_a_team(catalog=nowhere, data_path=str(folder)), port), "problem")
    assert problem.startswith(f"The PostgreSQL server at {nowhere} does not let us in")
    database = postgres.rpartition("=")[2]
    run_sql(postgres, "drop role if exists guest")
    run_sql(postgres, "create role guest login")
    guests = postgres.replace("user=lake", "user=guest")
    with pytest.raises(
        UserError, match=rf"lake\.catalog: guest may make no schemas in the database {database}, .*GRANT"
    ):
        check_before_run(load_profile(write_profile(folder, of_a_team(catalog=guests, data_path=str(folder)))))


def test_a_store_without_a_key_is_told(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chat.jinja").write_text(TEMPLATE)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    looked = found(folder, of_a_team(data_path="s3://bucket/data/", checkpoints="s3://bucket/made/"), port)
    (problem,) = told(looked, "problem")
    assert problem.startswith(
        "lake.checkpoints: s3://bucket/made/ cannot be reached without a key: set AWS_ACCESS_KEY_ID"
    )
    assert any(
        line.startswith("lake.data_path: s3://bucket/data/: DuckDB's own") for line in told(looked, "not checked")
    )
