"""The files of the batch endpoints, as bytes and values: what is sent, what comes back, why a batch failed.

A line of an input file:   {"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
A line of a result file:   {"custom_id": "9f2c...", "response": {"status_code": 200, "body": {...}}, "error": null}

`custom_id` is the request's id. It sends nothing.
"""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from models_py.teacher.engines.openai.body import Bodies
from models_py.teacher.engines.openai.chat import Completion, read_completion
from models_py.teacher.engines.openai.server import Broken, Rejected, error_in, rejected
from models_py.teacher.engines.openai.verdicts import judge, read_error
from models_py.teacher.request import TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import OpenAIBatchSettings  # which opens the engines

ENDPOINT = "/v1/chat/completions"

_INPUT_BYTES = 190_000_000  # servers take files of 200 MB


@dataclass(slots=True, eq=False)
class InputFile:
    """The requests of one batch, in order, and their lines in a file without a name: a kill leaves nothing behind."""

    file: IO[bytes]
    requests: list[TeacherRequest]


def input_files(
    settings: "OpenAIBatchSettings", bodies: Bodies, requests: Iterable[TeacherRequest]
) -> Iterator[InputFile]:
    """Files of at most `batch_requests` lines and no more bytes than servers take, each till the next is made."""
    requests = iter(requests)
    line: bytes | None = None
    request = next(requests, None)
    while request is not None:
        with tempfile.TemporaryFile() as file:
            taken: list[TeacherRequest] = []
            while request is not None and len(taken) < settings.batch_requests:
                line = line or _input_line(bodies, request)
                if taken and file.tell() + len(line) > _INPUT_BYTES:
                    break
                file.write(line)
                taken.append(request)
                request, line = next(requests, None), None
            yield InputFile(file, taken)


def _input_line(bodies: Bodies, request: TeacherRequest) -> bytes:
    line = {"custom_id": request.request_id, "method": "POST", "url": ENDPOINT, "body": bodies.of(request)}
    # A pair may hold lone surrogates: as ASCII escapes every server takes them.
    return json.dumps(line).encode("ascii") + b"\n"


def result_lines(file: Iterable[bytes]) -> Iterator[tuple[str, Mapping[str, Any]] | None]:
    """The custom id and the whole of every line; None for a line that cannot be read. Blank lines are left out."""
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        custom_id = row.get("custom_id") if isinstance(row, dict) else None
        yield (custom_id, row) if isinstance(custom_id, str) else None


def ends_within_a_line(file: IO[bytes]) -> bool:
    """Whether the last line has no end; the file is left there."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
    return file.read(1) not in (b"", b"\n")


def read_result(
    row: Mapping[str, Any], sent: Collection[str], said: Callable[[str], str]
) -> Completion | Broken | Rejected:
    """What a result line says. sent: the fields of its request. said: shortens what a server wrote.

    Some servers write an error without a word beside a good response, or the body as a text of JSON.
    """
    response = row.get("response")
    response = response if isinstance(response, Mapping) else {}
    body, status = _as_json(response.get("body")), response.get("status_code")
    error = row.get("error")
    if _says_something(error) and not (isinstance(body, Mapping) and body.get("choices")):
        return read_failure(error, sent, said(message_of(error)))
    if not isinstance(body, Mapping) or (isinstance(status, int) and status >= 400) or error_in(body):
        return read_failure(body, sent, said(f"status {status}: {message_of(body)}"), status)
    read = read_completion(body)
    return Broken(said(read.reason)) if isinstance(read, Broken) else read


def read_failure(error: object, sent: Collection[str], reason: str, status: object = None) -> Broken | Rejected:
    """What an error about one line means."""
    found = read_error(error)
    verdict = judge(status if isinstance(status, int) else 200, found, sent=sent)
    return rejected(verdict, found, sent, reason) or Broken(reason)


def _as_json(body: object) -> object:
    if isinstance(body, str):
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return body
    return body


def _says_something(error: object) -> bool:
    return any(error.values()) if isinstance(error, Mapping) else bool(error)


def message_of(error: object) -> str:
    """An error object in words, `code: message`; any other as JSON."""
    if isinstance(error, Mapping) and isinstance(error.get("error"), Mapping):
        error = error["error"]
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        code = error.get("code")
        return f"{code}: {error['message']}" if code else str(error["message"])
    return error if isinstance(error, str) else json.dumps(error)


def status_of(state: Mapping[str, Any]) -> str | None:
    """`completed`, `failed`, `expired` or `cancelled` for a batch that has ended, `open` for one that has not.

    None for a word that nobody knows.
    """
    said = str(state.get("status", "")).lower().removeprefix("batch_").removeprefix("job_state_")
    return next((status for status, words in _STATUSES.items() if said in words), None)


_STATUSES: Mapping[str, Collection[str]] = {
    "completed": ("completed", "complete", "success", "succeeded", "finished", "done", "ended"),
    "failed": ("failed", "failure", "error", "errored"),
    "expired": ("expired", "timeout", "timed_out", "timeout_exceeded"),
    "cancelled": ("cancelled", "canceled"),
    "open": (
        *("validating", "in_progress", "finalizing", "cancelling", "canceling", "cancellation_requested", "pending"),
        *("queued", "scheduled", "submitted", "created", "started", "running", "processing", "initializing"),
    ),
}


def batch_errors(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Why a batch failed: objects with `code`, `message` and, about one line of its input file, `line` from 1."""
    errors = state.get("errors")
    data = errors.get("data") if isinstance(errors, Mapping) else errors
    return [error for error in data if isinstance(error, Mapping)] if isinstance(data, list) else []


def errors_by_line(state: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Of these the errors about one line, by its number."""
    return {line: error for error in batch_errors(state) if type(line := error.get("line")) is int}


def lacks_room(state: Mapping[str, Any]) -> bool:
    """Whether a batch failed because the tokens of other batches are enqueued already."""
    return any(error.get("code") == "token_limit_exceeded" for error in batch_errors(state))


def requests_done(state: Mapping[str, Any]) -> int:
    """How many requests the server has worked off, failed ones too."""
    counts = state.get("request_counts")
    counts = counts if isinstance(counts, Mapping) else {}
    return sum(count for name in ("completed", "failed") if type(count := counts.get(name)) is int)
