"""lm-eval in a process of its own: `python -m models_py.evaluation.lm_eval_process`, a JSON request on standard input.

    {"do": "plan", "settings": {...}}                   one line: the tasks, groups and tags taken apart
    {"do": "run", "settings": {...}, "student": {...}, "tasks": [...]}      a line a task as soon as it is done

What lm-eval and its libraries say goes to standard error; the lines on standard output are for whoever started this
(benchmarks.py). It ends when its standard input does, however its parent ended. A line with `error` is what a person
can mend.

Of groups it runs the tasks, with what each group overrides (shots, splits). lm-eval 0.4.13 does the same, but for a
group or tag that another group names under `task:` with settings of its own, as openllm names mmlu and truthfulqa:
there it gives all its tasks one name, and all but the last are lost.
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from models_py.content import file_sha256, fingerprint
from models_py.errors import UserError, did_you_mean
from models_py.evaluation.benchmark_settings import SECTION, Benchmarks
from models_py.student.spec import ResolvedStudent

# What `datasets` reads from files: where the task's folder is no place of its own, they are named beside its YAML.
_FILE_READERS = ("json", "csv", "parquet", "text", "arrow")


def main() -> None:
    """Do what standard input asks. Exit status 1 with a line of `error` where a person can mend something."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    include = request["settings"]["include"]
    settings = Benchmarks(**{**request["settings"], "include": include and Path(include)})
    try:
        if request["do"] == "plan":
            _say(said, {"planned": plan(settings)})
        else:
            run(settings, ResolvedStudent(**request["student"]), request["tasks"], said)
    except UserError as error:
        _say(said, {"error": str(error)})
        sys.exit(1)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _say(said: TextIO, line: Mapping[str, Any]) -> None:
    said.write(json.dumps(line) + "\n")
    said.flush()


# ---- which tasks


def plan(settings: Benchmarks) -> list[dict[str, Any]]:
    """Every task that the settings ask for, as benchmarks.PlannedTask has it. Reads no data set of the hub.

    Raises UserError for names that nobody knows and for files of `include` that cannot be read.
    """
    if settings.include is not None:
        _check_files(settings.include)
        with contextlib.suppress(KeyError):  # one of lm-eval's own is named: ten thousand files are read
            return _planned(settings, _manager(settings, with_defaults=False).task_index, with_defaults=False)
    index = _manager(settings, with_defaults=True).task_index
    if unknown := [name for name in settings.tasks if name not in index]:
        where = f" {version('lm_eval')}" + (f" or in {settings.include}" if settings.include else "")
        raise UserError(
            "\n".join(
                f"{SECTION}.tasks: {name!r} is no task, group or tag of lm-eval{where}{did_you_mean(name, index)}; "
                "`.venv/bin/lm-eval ls tasks` lists its own"
                for name in unknown
            )
        )
    return _planned(settings, index, with_defaults=True)


def _manager(settings: Benchmarks, *, with_defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=settings.include, include_defaults=with_defaults)


def _check_files(include: Path) -> None:
    """lm-eval passes over what it cannot read; here it is said."""
    from lm_eval.tasks._yaml_loader import load_yaml

    files = sorted(include.rglob("*.yaml"))
    if not files:
        raise UserError(f"{SECTION}.include: {include} holds no task file (*.yaml); correct it or leave it out")
    for file in files:
        try:
            load_yaml(file, resolve_func=False, recursive=True)
        except Exception as error:  # each kind of broken file has its own type
            said = " ".join(str(error).split())[:300]
            raise UserError(f"{SECTION}.include: {file} is no task file: {said}; mend it or move it away") from error


def _planned(settings: Benchmarks, index: Mapping[str, Any], *, with_defaults: bool) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in settings.tasks:
        for leaf in _leaves(name, index, {}, ()):
            own = _identity(leaf["spec"], index, settings)
            task = {**leaf, "benchmark": name, "with_defaults": with_defaults, **own}
            other = found.setdefault(task["task"], task)
            if other["benchmark_id"] != task["benchmark_id"]:
                raise UserError(
                    f"{SECTION}.tasks: {other['benchmark']} and {name} both have {task['task']}, each in its own way; "
                    "name one of them here and the other in a profile of its own"
                )
            other["groups"] += [group for group in task["groups"] if group not in other["groups"]]
    return [*found.values()]


def _leaves(
    name: str, index: Mapping[str, Any], overrides: Mapping[str, Any], groups: tuple[Any, ...]
) -> Iterator[dict[str, Any]]:
    """The tasks below a name, each with all that the groups above it override. Raises KeyError for unknown ones."""
    entry = index[name]
    if entry.kind.name == "TAG":
        for task in sorted(entry.tags):
            yield from _leaves(task, index, overrides, groups)
    elif entry.kind.name == "GROUP":
        yield from _members(name, entry.cfg, index, overrides, groups)
    else:
        yield {"task": name, "spec": {**overrides, "task": name}, "groups": [*groups]}


def _members(
    name: str, cfg: Mapping[str, Any], index: Mapping[str, Any], overrides: Mapping[str, Any], groups: tuple[Any, ...]
) -> Iterator[dict[str, Any]]:
    from lm_eval.config.group import GroupConfig

    structure = {field.name for field in fields(GroupConfig)}
    passed = {**{key: value for key, value in cfg.items() if key not in structure}, **overrides}
    summed = cfg.get("aggregate_metric_list") or []
    for one in [summed] if isinstance(summed, dict) else summed:
        filters = one.get("filter_list")
        names = [filters] if isinstance(filters, str) else filters
        groups += ((name, one["metric"], names, bool(one.get("weight_by_size", True))),)
    members = cfg.get("task") or []
    for member in [members] if isinstance(members, str) else members:
        item = {"task": member} if isinstance(member, str) else member
        own = {key: value for key, value in item.items() if key not in ("task", "group")}
        if "group" in item and item["group"] not in index:
            yield from _members(f"{name}::{item['group']}", item, index, overrides, groups)
        elif "group" in item:
            yield from _leaves(item["group"], index, {**passed, **own}, groups)
        elif item["task"] in index:
            yield from _leaves(item["task"], index, {**passed, **own}, groups)
        elif "dataset_path" in item:  # a task that is written out in the group
            yield {"task": f"unit::{item['task']}", "spec": {**passed, **item}, "groups": [*groups]}
        else:
            raise KeyError(item["task"])


def _identity(spec: Mapping[str, Any], index: Mapping[str, Any], settings: Benchmarks) -> dict[str, Any]:
    """What a task is, beside its name: the data it reads, its version, and the id of what comes of it.

    Of a task of lm-eval its release decides; of one's own the file, the Python beside it and the bytes of its data.
    """
    entry = index.get(spec["task"])
    cfg = {**(entry.cfg if entry else {}), **spec}
    metadata = cfg.get("metadata") or {}
    made_of: list[Any] = [version("lm_eval"), {**spec}, settings.hashed]
    if entry and entry.yaml_path and settings.include and entry.yaml_path.is_relative_to(settings.include):
        text = json.dumps(cfg, default=str, sort_keys=True).replace(str(settings.include), "")
        made_of += [text, [file_sha256(file) for file in sorted(entry.yaml_path.parent.glob("*.py"))]]
        files = _data_files(cfg, entry.yaml_path)
        if files is not None:
            made_of.append([[split, [file_sha256(Path(file)) for file in some]] for split, some in files.items()])
            kwargs = {**(cfg.get("dataset_kwargs") or {}), "data_files": files}
            spec = {**spec, "dataset_kwargs": kwargs}
    return {
        "spec": dict(spec),
        "benchmark_id": fingerprint(*made_of)[:12],
        "dataset": "/".join(str(cfg[key]) for key in ("dataset_path", "dataset_name") if cfg.get(key)),
        "version": str(metadata.get("version", "")) if isinstance(metadata, dict) else "",
    }


def _data_files(cfg: Mapping[str, Any], file: Path) -> dict[str, list[str]] | None:
    """The data files of a task, by split, beside its YAML or else from where the run started; None where it has none.

    Raises UserError for one that is not there.
    """
    named = (cfg.get("dataset_kwargs") or {}).get("data_files")
    if cfg.get("dataset_path") not in _FILE_READERS or named is None:
        return None
    splits = named if isinstance(named, dict) else {"train": named}
    found: dict[str, list[str]] = {}
    for split, some in splits.items():
        for pattern in [some] if isinstance(some, str) else some:
            found.setdefault(split, []).extend(map(str, _matches(pattern, file)))
    return found


def _matches(pattern: str, file: Path) -> list[Path]:
    places = [Path("/")] if pattern.startswith("/") else [file.parent, Path.cwd()]
    for place in places:
        if files := sorted(one for one in place.glob(pattern.lstrip("/")) if one.is_file()):
            return files
    where = f" in {' or '.join(map(str, places))}" if len(places) > 1 else ""
    raise UserError(f"{file}: dataset_kwargs.data_files: there is no {pattern}{where}; name a file that is there")


# ---- how models do


def run(settings: Benchmarks, student: ResolvedStudent, planned: list[dict[str, Any]], said: TextIO) -> None:
    """Say the results of each task in turn. Raises UserError for one that cannot be run, before a model is loaded."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from models_py.student.loading import load_chat, load_model

    manager = _manager(settings, with_defaults=any(one["with_defaults"] for one in planned))
    with tempfile.TemporaryDirectory() as scratch:
        tasks = {one["task"]: _ready(one, manager, scratch) for one in planned}
        model, chat = load_model(student), load_chat(student)
        lm = HFLM(
            pretrained=model, tokenizer=chat.tokenizer, batch_size=settings.batch_size, max_length=student.max_length
        )
        for planned_task in planned:
            name = planned_task["task"]
            _say(said, {"begins": name})
            whole: Any = simple_evaluate(
                model=lm,
                tasks=[tasks[name]],
                task_manager=manager,
                num_fewshot=settings.num_fewshot,
                limit=settings.limit,
                batch_size=settings.batch_size,
                apply_chat_template=settings.apply_chat_template,
                fewshot_as_multiturn=settings.apply_chat_template and settings.fewshot_as_multiturn,
                bootstrap_iters=1000,
            )
            _say(said, {"task": name, **_result(name, whole)})


def _ready(planned: Mapping[str, Any], manager: Any, scratch: str) -> Any:
    """A task with its data. Raises UserError where it cannot be had, or must not be run."""
    spec = {**planned["spec"]}
    if "data_files" in (kwargs := spec.get("dataset_kwargs") or {}):
        spec["dataset_kwargs"] = {**kwargs, "cache_dir": scratch}  # what is read from files here is not kept elsewhere
    where = f"{SECTION}.tasks: {planned['task']}"
    try:
        [task] = manager.load([{"group": "unit", "task": [spec]}])["tasks"].values()
        items = len(task.eval_docs)
    except Exception as error:  # each kind of missing data, broken file and missing package has its own type
        kind, text = type(error).__name__, " ".join(str(error).split())[:300]
        if "data_files" in kwargs:
            remedy = "mend the task's file or its data"
        else:
            remedy = (
                f"its data, {planned['dataset']}, lie on the hub: run it once with a network, HF_HOME keeps them; "
                "or name a task whose data are files (docs/evaluation.md)"
            )
        raise UserError(f"{where} cannot be made ready ({kind}: {text}); {remedy}") from error
    if not items:
        raise UserError(f"{where} has no items; mend its data, or leave it out")
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f"{where} runs code that the model wrote; that is not done here: leave it out")
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f"{where} shows more than text, and the students read text: leave it out")
    return task


def _result(name: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a task and what each item gave, as far as they are numbers."""
    metrics: list[dict[str, Any]] = []
    figures = whole["results"][name]
    for key, value in figures.items():
        metric, comma, filtered = key.partition(",")
        if comma and not metric.endswith("_stderr") and _is_number(value):
            error = figures.get(f"{metric}_stderr,{filtered}")
            metrics.append(
                {
                    "metric": metric,
                    "filter": filtered,
                    "value": float(value),
                    "stderr": float(error) if _is_number(error) else None,
                    "higher_is_better": (whole["higher_is_better"].get(name) or {}).get(metric),
                }
            )
    if not metrics:
        raise UserError(f"{SECTION}.tasks: {name} gives no figure; name a task that has a metric")
    items = [
        {
            "item": sample["doc_id"],
            "item_hash": hashlib.sha256(sample["doc_hash"].encode()).hexdigest()[:16],
            "filter": sample["filter"],
            "metric": metric,
            "value": float(sample[metric]),
        }
        for sample in whole["samples"][name]
        for metric in sample["metrics"]
        if _is_number(sample.get(metric))
    ]
    return {
        "metrics": metrics,
        "items": items,
        "n": whole["n-samples"][name]["effective"],
        "num_fewshot": whole["n-shot"].get(name),
        "version": str(whole["versions"].get(name, "")),
        "lm_eval_version": version("lm_eval"),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0)


if __name__ == "__main__":
    main()
