"""A files-and-batches server on loopback, as OpenAI's: real HTTP, uploads, paging, statuses that follow a schedule.

    with BatchServer() as server:
        server.outcomes = ["completed", "expired"]     # of the first batch created, of the second, ...
        server.room = 4                                # requests that may be enqueued at once
        server.faults["POST batches"] = [429, 200]     # what is answered before a call is taken; 200 takes it
        server.lost["POST batches"] = 1                # calls that are taken and then answered by a closed connection
        server.url, server.batches, server.uploads

The schedule is random and seeded: each batch is seen validating, in progress and finalizing for 0 to 2 looks each.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.servers import Served

KEY = "sk-secret-of-the-tests"
ENDS = ("completed", "failed", "expired", "cancelled")


def said(request: dict[str, Any]) -> str:
    """What this server's model answers: the question, reversed."""
    return str(request["messages"][-1]["content"][::-1])


class BatchServer(Served):
    """`calls` counts what came by method and path, `line` writes the result line of one input line."""

    def __init__(self, *, seed: int = 0, page: int = 2, key: str = KEY) -> None:
        self.key = key
        self.page = page
        self.outcomes: list[str] = []
        self.room: int | None = None
        self.faults: dict[str, list[int]] = defaultdict(list)
        self.lost: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # bytes of a file that arrive, of one transfer after the other; then all do
        self.batches: dict[str, dict[str, Any]] = {}
        self.errors: list[dict[str, Any]] = []  # of a batch that fails
        self.line: Callable[[dict[str, Any]], dict[str, Any] | bytes] = answered
        self.before_answer: Callable[[str], None] = lambda call: None
        self._random = random.Random(seed)
        self._schedules: dict[str, list[str]] = {}

    @property
    def uploads(self) -> list[list[dict[str, Any]]]:
        """The lines of every input file, in the order of the batches."""
        return [self._lines(batch["input_file_id"]) for batch in self.batches.values()]

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A new batch, as the server says it."""
        number = len(self.batches)
        end = self.outcomes[number] if number < len(self.outcomes) else "completed"
        batch = {"id": f"batch_{number}", "status": "validating", **asked}
        if self.room is not None and self._enqueued() + len(self._lines(batch["input_file_id"])) > self.room:
            end = "failed"
            self.errors = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
        self.batches[batch["id"]] = batch
        waits = ["validating", "in_progress", "finalizing"]
        self._schedules[batch["id"]] = [status for status in waits for _ in range(self._random.randrange(3))] + [end]
        return batch

    # --- what a server does

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = _name(request)
        self.calls[call] += 1
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": f"wrong key {request.headers}"}}, status=401)
        if self.faults[call] and (status := self.faults[call].pop(0)) != 200:
            error = {"error": {"message": f"fault {status}"}}
            return web.json_response(error, status=status, headers={"Retry-After": "0.01"})
        answer: web.StreamResponse = await getattr(self, "_" + call.lower().replace(" ", "_"))(request)
        await asyncio.to_thread(self.before_answer, call)
        if self.lost[call]:
            self.lost[call] -= 1
            assert request.transport
            request.transport.close()
        return answer

    async def _post_files(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = file.file.read()
        return web.json_response({"id": file_id, "object": "file"})

    async def _post_batches(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        return web.json_response(self.create(asked))

    async def _get_batches(self, request: web.Request) -> web.Response:
        newest_first = list(self.batches.values())[::-1]
        after = request.query.get("after")
        start = 1 + [batch["id"] for batch in newest_first].index(after) if after else 0
        stop = start + min(self.page, int(request.query["limit"]))
        return web.json_response({"data": newest_first[start:stop], "has_more": stop < len(newest_first)})

    async def _get_batch(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        schedule = self._schedules[batch["id"]]
        batch["status"] = schedule.pop(0) if len(schedule) > 1 else schedule[0]
        lines = self._lines(batch["input_file_id"])
        if batch["status"] not in ENDS:
            batch["request_counts"] = {"total": len(lines), "completed": len(lines) // 2, "failed": 0}
        elif "output_file_id" not in batch:
            self._end(batch, lines)
        return web.json_response(batch)

    async def _get_content(self, request: web.Request) -> web.Response:
        content = self.files.get(request.match_info["id"])
        if content is None:
            return web.Response(status=404, text="no such file")
        return web.Response(body=content[: self.cuts.pop(0)] if self.cuts else content)

    def _end(self, batch: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        """Half of what expires or is cancelled was answered before."""
        half = len(lines) // 2
        count = {"failed": 0, "expired": half, "cancelled": half}.get(batch["status"], len(lines))
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": self.errors}
        answers = [self.line(line) for line in lines[:count]]
        files: dict[str, list[bytes]] = {"output_file_id": [], "error_file_id": []}
        for answer in answers:
            bad = isinstance(answer, dict) and (answer["error"] or answer["response"]["status_code"] >= 400)
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            files["error_file_id" if bad else "output_file_id"].append(text + b"\n")
        written = {"completed": len(files["output_file_id"]), "failed": len(files["error_file_id"])}
        batch["request_counts"] = {"total": len(lines), **written}
        for name, texts in files.items():
            batch[name] = None
            if texts:
                batch[name] = f"file-{len(self.files)}"
                self._random.shuffle(texts)
                self.files[batch[name]] = b"".join(texts)

    def _enqueued(self) -> int:
        ends = {batch_id: schedule[-1] for batch_id, schedule in self._schedules.items()}
        under_way = [one for one in self.batches.values() if one["status"] not in ENDS and ends[one["id"]] != "failed"]
        return sum(len(self._lines(batch["input_file_id"])) for batch in under_way)

    def _lines(self, file_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[file_id].splitlines()]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.post("/v1/files", self._handle),
                web.post("/v1/batches", self._handle),
                web.get("/v1/batches", self._handle, allow_head=False),
                web.get("/v1/batches/{id}", self._handle, allow_head=False),
                web.get("/v1/files/{id}/content", self._handle, allow_head=False),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
        await runner.cleanup()


def _name(request: web.Request) -> str:
    kind = {"/v1/files": "files", "/v1/batches": "batches"}.get(request.path)
    return f"{request.method} {kind or ('content' if request.path.endswith('/content') else 'batch')}"


def answered(line: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """The result line of an input line that was answered, or refused with `status`."""
    usage = {"prompt_tokens": 100, "completion_tokens": 40}
    message = {"role": "assistant", "content": said(line["body"])}
    body: dict[str, Any] = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    if status >= 400:
        body = {"error": {"message": f"refused with {status}", "code": "bad"}}
    return {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}


def without_an_answer(line: dict[str, Any], code: str = "batch_expired") -> dict[str, Any]:
    """The result line of an input line that was never worked on."""
    return {"custom_id": line["custom_id"], "response": None, "error": {"code": code, "message": "not in time"}}
