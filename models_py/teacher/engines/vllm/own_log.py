"""What vLLM and the processes it starts say, in a file: hundreds of lines that nobody wants on a terminal.

    log = OwnLog(warehouse / "vllm-local.log", scratch)
    with log.taking_all():
        LLM(..., log_config_file=log.config())

Two ways lead there. vLLM's logging is configured to write to the file, errors also to one of their own, since a child
that fails tells its parent only that it failed. And what libraries print goes wherever standard output and standard
error lead when a child is started: to the file, while `taking_all`.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models_py.errors import UserError

_SAID_CHARS = 400


class OwnLog:
    """A new log at `path`, which replaces an earlier one. scratch: a folder for what is needed beside it.

    is_kept: whether people find it there afterwards.
    """

    def __init__(self, path: Path, scratch: Path, *, is_kept: bool = True) -> None:
        self.path = path
        self.where = f"; its log is {path}" if is_kept else ""
        self._errors = scratch / "errors.log"
        self._config = scratch / "logging.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        except OSError as error:
            raise UserError(f"{path}: vLLM's log cannot be written ({error.strerror}); mend its permissions") from error

    def config(self) -> str | None:
        """The file of a logging configuration for vLLM; None where the user has configured its logging.

        The files are opened at once: writing still works when their folder is gone.
        """
        if os.environ.get("VLLM_LOGGING_CONFIG_PATH") or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
            return None
        from vllm.logger import DEFAULT_LOGGING_CONFIG

        own = DEFAULT_LOGGING_CONFIG["handlers"]["vllm"]
        said = {"class": "logging.FileHandler", "level": own["level"], "formatter": "vllm", "filename": str(self.path)}
        errors = {"class": "logging.FileHandler", "level": "ERROR", "filename": str(self._errors)}
        logger = {**DEFAULT_LOGGING_CONFIG["loggers"]["vllm"], "handlers": ["said", "errors"]}
        config = {
            **DEFAULT_LOGGING_CONFIG,
            "handlers": {"said": said, "errors": errors},
            "loggers": {"vllm": logger},
        }
        self._config.write_text(json.dumps(config), "utf-8")
        return str(self._config)

    @contextmanager
    def taking_all(self) -> Iterator[None]:
        """Standard output and standard error lead to the file, for this process and for all that it starts now."""
        saved = [(number, os.dup(number)) for number in (1, 2)]
        log = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            _flush()
            for number, _ in saved:
                os.dup2(log, number)
            yield
        finally:
            _flush()
            for number, before in saved:
                os.dup2(before, number)
                os.close(before)
            os.close(log)

    def root_cause(self) -> str | None:
        """The first exception that was logged with a traceback."""
        try:
            text = self._errors.read_text("utf-8", errors="replace")
        except OSError:
            return None
        found = re.search(r"^Traceback .*?^(\w[\w.]*: .*?)$", text, re.MULTILINE | re.DOTALL)
        return in_a_line(found[1]) if found else None


def in_a_line(error: object) -> str:
    """What an error says, in one line that people read."""
    said = " ".join(str(error).split())
    return said if len(said) <= _SAID_CHARS else said[:_SAID_CHARS] + "…"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
