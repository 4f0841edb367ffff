"""`make serve RECIPE=name`: the checkpoint of a recipe behind vLLM's OpenAI-compatible server, on 127.0.0.1.

    python -m dagster_project.commands.serve [RECIPE] [--port 8000]

The server is started as a module: `vllm serve` looks for a distribution called vllm, and the CPU build has another
name. Its log goes to a file beside the lake. Ctrl-C ends it.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from dagster_project.commands.terminal import Arguments, any_encoding, say_error
from dagster_project.commands.ui_address import HOST, listen
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from models_py.errors import UserError, unknown
from models_py.training.manifest import damage

PORT = 8000
_SAYS_EVERY_S = 10
_LINES_SHOWN = 15
_ENDS_IN_S = 20


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; exit status 1 where it could not start or the server ended by itself."""
    parser = Arguments(prog="make serve", description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", nargs="?", help="may be left out where the profile has one checkpoint")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")
    options = parser.parse_args(arguments)
    any_encoding()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server too
    try:
        return _serve(options.profile, options.recipe, options.port)
    except UserError as error:
        say_error(error)
        return 1
    except KeyboardInterrupt:
        return 0


def _serve(profile_name: str | None, wanted: str | None, port: int) -> int:
    lake = open_lake(load_profile(profile_name, policies()))
    recipe, folder = checkpoint_of(lake, wanted)
    listen(port).close()
    console = Console(highlight=False, soft_wrap=True)
    log = lake.warehouse / f"vllm-serve-{recipe.replace('/', '-')}.log"
    console.print(f"Starting vLLM on {os.path.relpath(folder)}, log {os.path.relpath(log)}")
    with _server(folder, recipe, port, log) as server:
        _wait_for(server, port, log, console)
        console.print(
            f"{recipe} answers on http://{HOST}:{port}/v1 (Ctrl-C ends it). Ask it:\n\n{curl(recipe, port)}\n"
        )
        server.wait()
        raise UserError(f"The server ended with exit status {server.returncode}.\n{_last_lines(log)}")


def checkpoint_of(lake: Lake, wanted: str | None) -> tuple[str, Path]:
    """What is meant and the folder of its current checkpoint. Raises UserError where there is none.

    wanted: a recipe, `recipe/seed` where it has several checkpoints.
    """
    rows = lake.read("select name, path from training.current_checkpoints order by recipe, training_seed").rows()
    found = {name: lake.warehouse / path for name, path in rows}
    if wanted is None and len(found) == 1:
        wanted = next(iter(found))
    if not found:
        raise UserError(f"{lake.warehouse} has no current checkpoint to serve: `make run` makes it.")
    if wanted is None:
        raise UserError(f"RECIPE says which checkpoint: {', '.join(found)}.")
    if wanted not in found:
        raise UserError(f"{unknown('a recipe with a current checkpoint', wanted, found)}. `make run` makes the others.")
    wrong = damage(found[wanted]) if found[wanted].is_dir() else "the folder is gone"
    if wrong:
        raise UserError(f"The checkpoint {found[wanted]} is damaged: {wrong}. `make run` makes it again.")
    return wanted, found[wanted]


def curl(recipe: str, port: int) -> str:
    """A command line that asks the server."""
    message = {"role": "user", "content": "What is the capital of France?"}
    body = json.dumps({"model": recipe, "messages": [message], "max_tokens": 100, "temperature": 0})
    return f"curl http://{HOST}:{port}/v1/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(body)}"


@contextmanager
def _server(folder: Path, recipe: str, port: int, log: Path) -> Iterator[psutil.Popen]:
    """VLLM's server, which ends with the block together with all it started."""
    from models_py.teacher.engines.vllm.offline import ENVIRONMENT, cpu_arguments

    try:
        arguments = cpu_arguments({"distributed_executor_backend": None})
    except ImportError as error:
        raise UserError("vLLM is not installed: `make serve` installs it, or `make setup WITH=vllm`.") from error
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", HOST, "--port", str(port)]
    command += ["--model", str(folder), "--served-model-name", recipe]
    for name, value in arguments.items():
        command += [f"--{name.replace('_', '-')}", *(() if value is True else (str(value),))]
    with log.open("w", encoding="utf-8") as written:
        environment = {**ENVIRONMENT, **os.environ}
        server = psutil.Popen(
            command, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield server
    finally:
        family = [server, *server.children(recursive=True)] if server.is_running() else []
        for process in family[:1]:
            process.terminate()
        for left in psutil.wait_procs(family, timeout=_ENDS_IN_S)[1]:
            left.kill()


def _wait_for(server: psutil.Popen, port: int, log: Path, console: Console) -> None:
    """Until it answers, saying every few seconds how long that takes."""
    started = said = time.monotonic()
    while True:
        if server.poll() is not None:
            raise UserError(f"vLLM cannot serve it; the end of {log}:\n{_last_lines(log)}")
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
        if time.monotonic() - said > _SAYS_EVERY_S:
            said = time.monotonic()
            console.print(f"[dim]  loading, {said - started:.0f} s[/]")


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:])


if __name__ == "__main__":
    sys.exit(main())
