"""The engine `vllm`: a model that vLLM runs in the step itself, so that a teacher needs no server.

    requests ──> the model's chat template ──> engine ──> each reply as it finishes
        ^     two batches at most are queued     │
        └────────── topped up at each step ──────┘

vLLM batches what is queued continuously and caches shared beginnings of prompts. It runs the model in child processes:
`close` ends them, and the GPU is free. Loading happens at the first request and serves all later ones. What vLLM and
its processes say goes to a file (own_log.py). vllm is imported inside.
"""

import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from models_py.content import FileHashes, file_sha256, fingerprint
from models_py.environment import environment_kept
from models_py.errors import UserError
from models_py.student.gguf import STUDENTS, GgufModel, checked_header, is_gguf, made_folder, open_gguf
from models_py.student.shards import cut_off, missing_shards, weight_files
from models_py.teacher.engines.base import Engine, profile_key
from models_py.teacher.engines.vllm.own_log import OwnLog, in_a_line
from models_py.teacher.engines.vllm.process_guard import ProcessGuard
from models_py.teacher.repetition import repeats_itself
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import VllmSettings  # which opens the engines

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of a process with threads may never wake up
}
_CPU_MEMORY = {"kv_cache_memory_bytes", "gpu_memory_utilization"}  # either says how much memory to take
_CPU_SHARE, _CPU_MOST = 4, 16 << 30  # without them: a quarter of what is free, at most 16 GiB
# On a CPU vLLM runs the model in a process beside its scheduler, which spins while it waits and has a core reserved for
# that. In one process nothing spins, and the model has all cores. Whoever says otherwise here, or in these variables:
_CPU_PROCESSES = {
    "distributed_executor_backend",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
}
_CPU_CORES = ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU")
_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
_BATCHES_QUEUED = 2
_LOOK_TOKENS = 64  # so often a reply is looked at while it is written
_NOT_FOR_REQUESTS = {"n", "output_kind", "detokenize", "skip_clone"}
_ENDINGS = {"length": "length", "repetition": "repetition", None: "repetition"}  # None: ended here
_SHUTDOWN_S = 30.0  # after that its processes are killed

_log = logging.getLogger(__name__)


class BrokenDownError(UserError):
    """VLLM's processes ended by themselves. What they had not answered can be asked again, of another engine."""


@dataclass(slots=True)
class _Queued:
    """A request that vLLM has. since: monotonic. look_at: how many tokens its reply has when it is looked at next."""

    request: TeacherRequest
    since: float = field(default_factory=time.monotonic)
    look_at: int = _LOOK_TOKENS

    def repeats_itself(self, completion: Any) -> bool:
        """Whether a reply that is being written says the same over and over, as it would until its limit."""
        if len(completion.token_ids) < self.look_at:
            return False
        self.look_at = len(completion.token_ids) + _LOOK_TOKENS
        return repeats_itself(completion.text, was_cut=True)


class VllmEngine(Engine):
    """The model `settings.model`, loaded at the first request. warehouse: keeps its log and the hashes of its files.

    number: which of several it is, in its log's name.
    """

    def __init__(
        self, name: str, settings: "VllmSettings", warehouse: Path | None = None, number: int | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self._warehouse = warehouse
        self._log_name = f"vllm-{name}.log" if number is None else f"vllm-{name}-{number}.log"
        self._llm: Any = None
        self._defaults: dict[str, Any] = {}
        self._busy_with = ""

    @cached_property
    def identity(self) -> str:
        """The hub id and revision, or the folder's name and a hash of its files; then the chat template if replaced.

        Of a GGUF file it is its name, and a hash of its bytes and of how it is converted.

        A hub model answers under the same name behind a server: a reply that was paid for there counts here.
        """
        model = self.settings.model
        folder = Path(model)
        if is_gguf(model):
            identity = self._gguf_identity()
        else:
            identity = self._folder_identity(folder) if folder.is_absolute() else model
        if self.settings.revision:
            identity += f"@{self.settings.revision}"
        if self.settings.chat_template:
            identity += f"+{self._template_hash(self.settings.chat_template)[:12]}"
        return identity

    def check_ready(self) -> None:
        """Raises UserError for a model's files that are not there or break off; a hub model's are not looked for."""
        key = f"{profile_key(self.name)}.model"
        folder = Path(self.settings.model)
        if is_gguf(self.settings.model):
            checked_header(self.settings.model, key)
        elif folder.is_absolute():
            if not (folder / "config.json").is_file():
                raise UserError(f"{key}: {folder} holds no config.json; name what save_pretrained wrote, or a hub id")
            lacking = missing_shards(folder) or ([] if weight_files(folder) else ["weights (*.safetensors)"])
            if lacking:
                raise UserError(f"{key}: {folder} holds no {', '.join(lacking)}; copy the whole model")
            for file in weight_files(folder):
                if problem := cut_off(file):
                    raise UserError(f"{key}: {file} {problem}; copy it again")
        if self.settings.chat_template:
            self._template_hash(self.settings.chat_template)

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Yields replies as they finish; when `stop` is set, what has not finished is left for the next run.

        Raises UserError when vLLM is not installed, when the model cannot be loaded, when vLLM does not know a key of
        `extra_body`, and when it breaks down.
        """
        waiting = iter(requests)
        first = next(waiting, None)
        if first is None or stop.is_set():
            return
        waiting, queue = chain([first], waiting), self.queue()
        try:
            while not stop.is_set():
                while not stop.is_set() and queue.room and (request := next(waiting, None)) is not None:
                    yield from queue.add(request)
                if not queue:
                    return
                yield from queue.step()
        finally:
            queue.leave()

    def queue(self) -> "VllmQueue":
        """An empty one. Loads the model; raises UserError where it cannot be."""
        return VllmQueue(self)

    def broke_down(self) -> BrokenDownError:
        """Why, for whoever asked; what is left of vLLM's processes is ended."""
        cause = self._log.root_cause() or "it was killed, as happens when memory runs out"
        where = self._log.where
        self.close()
        return BrokenDownError(
            f"{profile_key(self.name)}.model: vLLM broke down while running {self.settings.model} ({cause})"
            f"{where}. Run again: replies that came are kept."
        )

    @property
    def busy_with(self) -> str:
        return self._busy_with

    def close(self) -> None:
        """Ends vLLM's processes and gives their memory back."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            llm.llm_engine.engine_core.shutdown(timeout=_SHUTDOWN_S)
            llm.renderer.shutdown()
            multiprocessing.active_children()  # reaps what has ended
            self._resources.close()

    def params(self, sampling: Sampling) -> tuple[Any, dict[str, Any]]:
        """Sampling for vLLM, over the defaults of the model's generation config as in its server; template arguments.

        Raises UserError for what vLLM does not know.
        """
        from pydantic import ValidationError
        from vllm.exceptions import VLLMClientError

        values = sampling.payload()
        extra = dict(values.pop("extra_body", {}))
        template_arguments = extra.pop("chat_template_kwargs", {})
        adapter, known = _sampling_params()
        field = f"{profile_key(self.name)}.sampling.extra_body"
        if unknown := sorted(extra.keys() - known):
            raise UserError(f"{field}.{unknown[0]}: vLLM knows no such sampling parameter. Remove or correct it.")
        try:
            return adapter.validate_python({**self._defaults, **values, **extra}), template_arguments
        except ValidationError as error:
            last = error.errors()[-1]
            raise UserError(f"{field}.{last['loc'][-1]}: {last['msg']}") from error
        except (VLLMClientError, ValueError, TypeError) as error:
            raise UserError(f"{field}: {in_a_line(error)}") from error

    def loaded(self) -> Any:
        """VLLM's own `LLM` of the model, loaded once. Raises UserError where it cannot be."""
        if self._llm is None:
            started = time.monotonic()
            with ExitStack() as resources:
                scratch = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="vllm-")))
                kept = self._warehouse and self._warehouse / self._log_name
                self._log = OwnLog(kept or scratch / "vllm.log", scratch, is_kept=kept is not None)
                model = self.settings.model
                if is_gguf(model):
                    self._busy_with = f"{model} is converted"
                    students = (self._warehouse or scratch) / STUDENTS
                    model = str(made_folder(self._gguf(self._file_hashes()), students))
                self._busy_with = f"vLLM loads {self.settings.model}{self._log.where}"
                _log.info("%s: %s", profile_key(self.name), self._busy_with)
                resources.callback(ProcessGuard().close)
                with environment_kept(ENVIRONMENT):  # it sets LD_PRELOAD and thread counts for its children
                    self._llm = self._load(model)
                self._resources = resources.pop_all()
                self._busy_with = ""
            self._defaults = self._llm.model_config.get_diff_sampling_param()
            Thread(target=_tell_of_death, args=[self._llm.llm_engine.engine_core], daemon=True).start()
            _log.info("%s: loaded in %.0f s", profile_key(self.name), time.monotonic() - started)
        return self._llm

    def _load(self, model: str) -> Any:
        """model: a hub id or a folder."""
        settings = self.settings
        try:
            with self._log.taking_all():
                from vllm import LLM

                arguments = {"log_config_file": self._log.config(), **cpu_arguments(settings.engine_args)}
                return LLM(
                    model,
                    revision=settings.revision,
                    chat_template=settings.chat_template,
                    max_model_len=settings.max_length,
                    trust_remote_code=False,
                    **{**arguments, **settings.engine_args},
                )
        except Exception as error:  # configuration, files, memory: each has its own type
            if isinstance(error, ModuleNotFoundError) and error.name == "vllm":
                raise UserError(
                    f"{profile_key(self.name)}.engine: vLLM is not installed. `make setup WITH=vllm` installs it."
                ) from error
            cause = self._log.root_cause() or in_a_line(error)
            raise UserError(
                f"{profile_key(self.name)}.model: vLLM cannot load {settings.model} ({cause}){self._log.where}"
            ) from error

    def _gguf_identity(self) -> str:
        hashes = self._file_hashes()
        gguf = self._gguf(hashes)
        hashes.save()
        return f"{gguf.file.name}:{gguf.identity[:12]}"

    def _gguf(self, hashes: FileHashes) -> GgufModel:
        return open_gguf(self.settings.model, f"{profile_key(self.name)}.model", "auto", hashes)

    def _file_hashes(self) -> FileHashes:
        return FileHashes(self._warehouse and self._warehouse / "file_hashes.json")

    def _folder_identity(self, folder: Path) -> str:
        hashes = self._file_hashes()
        try:
            files = [folder] if folder.is_file() else sorted(path for path in folder.iterdir() if path.is_file())
            parts = {path.name: hashes.of(path) for path in files if not path.name.startswith(".")}
        except OSError as error:
            raise UserError(
                f"{profile_key(self.name)}.model: {error.filename or folder} cannot be read ({error.strerror}); "
                "name the folder that save_pretrained wrote, or a hub id"
            ) from error
        hashes.save()
        return f"{folder.name}:{fingerprint(parts)[:12]}"

    def _template_hash(self, path: Path) -> str:
        try:
            return file_sha256(path)
        except OSError as error:
            raise UserError(
                f"{profile_key(self.name)}.chat_template: {path} cannot be read ({error.strerror}); name a Jinja file"
            ) from error


class VllmQueue:
    """What a loaded engine has to answer. Every reply leaves it once: at once, where vLLM refuses a request, or later.

    Raises BrokenDownError when vLLM does.
    """

    def __init__(self, engine: VllmEngine) -> None:
        self._engine, self._llm = engine, engine.loaded()
        self._most = _BATCHES_QUEUED * self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        self._queued: dict[str, _Queued] = {}  # by vLLM's id

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def room(self) -> int:
        """How many more keep it busy."""
        return int(self._most) - len(self._queued)

    def add(self, request: TeacherRequest) -> list[TeacherReply]:
        """Take it in; the reply that says why it cannot be asked, such as a prompt too long.

        A limit of tokens beyond the model's length needs nothing done: vLLM ends a reply there, with `length`.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.renderers.chat_utils import ChatTemplateResolutionError
        from vllm.sampling_params import RequestOutputKind

        messages: list[Any] = [{"role": message.role, "content": message.content} for message in request.messages]
        params, template_arguments = self._engine.params(request.sampling)
        try:
            with self._alive():
                (queued,) = self._llm.enqueue_chat(
                    [messages], params, use_tqdm=False, chat_template_kwargs=template_arguments
                )
        except ChatTemplateResolutionError as error:
            raise UserError(
                f"{profile_key(self._engine.name)}.chat_template: {self._engine.settings.model} has no chat template; "
                "name a Jinja file"
            ) from error
        except (VLLMClientError, ValueError, TypeError) as error:
            return [TeacherReply(request.request_id, error=in_a_line(error))]
        # Nothing is told before the end otherwise.
        self._llm.llm_engine.output_processor.request_states[queued].output_kind = RequestOutputKind.CUMULATIVE
        place = str(queued).partition("-")[0]  # of `7-1c2d3e4f`, outputs carry what is before the dash
        self._queued[place] = _Queued(request)
        return []

    def step(self) -> list[TeacherReply]:
        """Wait for vLLM's next step; the replies that ended in it."""
        replies = []
        with self._alive():
            for output in self._llm.llm_engine.step():
                place, one = output.request_id, self._queued.get(output.request_id)
                if one is not None and (output.finished or one.repeats_itself(output.outputs[0])):
                    del self._queued[place]
                    if not output.finished:
                        self._llm.llm_engine.abort_request([place])
                    replies.append(_reply(one.request, output, time.monotonic() - one.since))
        return replies

    def leave(self) -> None:
        """Nothing of it is answered any more."""
        left, self._queued = list(self._queued), {}
        if left:
            with self._alive():
                self._llm.llm_engine.abort_request(left)

    @contextmanager
    def _alive(self) -> Iterator[None]:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            yield
        except EngineDeadError as error:
            self._queued = {}
            raise self._engine.broke_down() from error


@cache
def _sampling_params() -> tuple[Any, frozenset[str]]:
    """What turns values into vLLM's SamplingParams, types checked, and the names it knows."""
    from pydantic import TypeAdapter
    from vllm import SamplingParams

    names = {name for name in SamplingParams.__struct_fields__ if not name.startswith("_")}
    return TypeAdapter(SamplingParams), frozenset(names - _NOT_FOR_REQUESTS)


def _reply(request: TeacherRequest, output: Any, latency_s: float) -> TeacherReply:
    """The reply that an output is; one that is not finished was ended because it repeats itself."""
    completion = output.outputs[0]
    if completion.finish_reason in ("error", "abort"):
        return TeacherReply(request.request_id, latency_s=latency_s, error=f"vLLM ended it: {completion.finish_reason}")
    usage = {
        "prompt_tokens": len(output.prompt_token_ids),
        "completion_tokens": len(completion.token_ids),
        "prompt_tokens_details": {"cached_tokens": output.num_cached_tokens or 0},
    }
    return TeacherReply(
        request.request_id,
        reply=completion.text,
        finish_reason=_ENDINGS.get(completion.finish_reason, "stop"),
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(completion.token_ids),
        latency_s=latency_s,
        usage=json.dumps(usage),
    )


def cpu_arguments(said: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM needs to be told on a machine without a GPU, where `said` and the environment do not."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    arguments: dict[str, Any] = {"enforce_eager": True}  # compiling takes longer than most runs
    if not _CPU_MEMORY & said.keys() and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        from vllm.utils.cpu_resource_utils import get_memory_node_info, get_visible_memory_node

        free = get_memory_node_info(get_visible_memory_node()[0]).available_memory
        arguments["kv_cache_memory_bytes"] = min(free // _CPU_SHARE, _CPU_MOST)
    if not _CPU_PROCESSES & said.keys() and not any(os.environ.get(name) for name in _CPU_CORES):
        arguments["distributed_executor_backend"] = _ONE_PROCESS
    return arguments


def _tell_of_death(core: Any) -> None:
    """Wakes whoever waits for the engine's next output when its process is killed: vLLM itself lets them wait."""
    from vllm.v1.engine.exceptions import EngineDeadError

    with suppress(AttributeError, OSError):  # no process of its own, or closed meanwhile
        multiprocessing.connection.wait(core.resources.engine_manager.sentinels())
        core.outputs_queue.put_nowait(EngineDeadError())
