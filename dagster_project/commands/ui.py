"""`make ui`: the Dagster UI on 127.0.0.1, with the daemon that carries out what is queued, behind `Guard`.

One at a time of a warehouse: each brings a daemon, and two of them would carry out the same run.

    python -m dagster_project.commands.ui [--port PORT] [--allow-host NAME ...]

What `dagster dev` starts, in its order: the code server, the daemon, the webserver; the last in this process, since
only there can its app be wrapped.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import dagster as dg
import uvicorn
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster._utils.log import configure_loggers
from dagster_shared.ipc import get_ipc_shutdown_pipe, open_ipc_subprocess, send_ipc_shutdown_message
from dagster_shared.serdes import serialize_value
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from rich.console import Console

from dagster_project.commands.home import dagster_home
from dagster_project.commands.killed_runs import mark_killed_runs
from dagster_project.commands.terminal import Arguments, any_encoding, say_error
from dagster_project.commands.ui_address import HOST, LOCK, PORT, listen
from dagster_project.commands.ui_guard import Guard
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.root import PROJECT_ROOT
from models_py.errors import UserError
from models_py.postgres import PostgresLock

_POLL_MS = 2000
_DAEMON_ENDS_IN_S = 60


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; exit status 1 where it could not start or the daemon died."""
    parser = Arguments(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--allow-host",
        nargs="*",
        default=[],
        metavar="NAME",
        help="further names under which it may be called, such as that of a proxy before it",
    )
    options = parser.parse_args(arguments)
    any_encoding()
    try:
        return _serve(options.port, options.allow_host)
    except UserError as error:
        say_error(error)
        return 1
    except KeyboardInterrupt:
        return 0


def _serve(port: int, allowed_hosts: list[str]) -> int:
    listening = listen(port)  # before anything is started
    profile = load_profile(policies=policies())
    open_lake(profile).prepare()  # another profile's lake is said here, not by each of its assets
    home = dagster_home(profile)
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"  # definitions are reloaded as under `dagster dev`
    configure_loggers(log_level="INFO")
    setup_interrupt_handlers()  # SIGTERM ends it as Ctrl-C does
    with (
        _alone_in_team(profile.lake.team),
        _alone(home, port) as lock,
        dg.DagsterInstance.get() as instance,
        _code_servers(instance) as workspace,
        WorkspaceProcessContext(
            instance, workspace_load_target=WorkspaceFileTarget([str(workspace)]), version=__version__
        ) as context,
    ):
        app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
        server = uvicorn.Server(uvicorn.Config(Guard(app, allowed_hosts), log_level="warning"))
        for line in mark_killed_runs(instance, home, shared=profile.lake.team is not None):
            Console(highlight=False, soft_wrap=True).print(line)
        with _daemon(instance, workspace, server, lock) as daemon:
            Console(highlight=False).print(f"The Dagster UI is on http://{HOST}:{port} (Ctrl-C ends it)")
            server.run([listening])
        if daemon.returncode:
            raise UserError(f"The Dagster daemon ended with exit status {daemon.returncode}; its words are above.")
    return 0


@contextmanager
def _alone(home: Path, port: int) -> Iterator[int]:
    """Hold the lock of the one UI of these records; its address stands in it. The system frees it with its holders.

    Raises UserError where there is one: of two daemons each would carry out what is queued.
    """
    file = home / LOCK
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            where = file.read_text("utf-8").strip() or HOST
            raise UserError(
                f"A UI of this warehouse runs already: {where}. Open that, or end it first: two would carry out the "
                "same runs."
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"http://{HOST}:{port} (process {os.getpid()})\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


@contextmanager
def _alone_in_team(team: str | None) -> Iterator[None]:
    """As `_alone`, of the records that a team shares."""
    if team is None:
        yield
        return
    with closing(PostgresLock(team, "ui")) as lock:
        if whom := lock.try_to_acquire():
            raise UserError(
                f"A UI of this team's records runs already: {whom}. Open that, or end it first: two would carry out "
                "the same runs."
            )
        yield


@contextmanager
def _code_servers(instance: dg.DagsterInstance) -> Iterator[Path]:
    """Start the code server of workspace.yaml once, for webserver and daemon; the workspace file that names it."""
    target = WorkspaceFileTarget([str(PROJECT_ROOT / "workspace.yaml")])
    with (
        ProxyServerManager(instance, target, code_server_log_level="warning") as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        file = Path(folder) / "workspace.yaml"
        file.write_text(yaml.safe_dump({"load_from": servers.get_code_server_specs()}), encoding="utf-8")
        yield file


@contextmanager
def _daemon(
    instance: dg.DagsterInstance, workspace: Path, server: uvicorn.Server, lock: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """The daemon beside the webserver: when the daemon dies the server ends, when this is left the daemon is ended.

    While it lives it holds `lock` too: killed, this process would leave it behind.
    """
    read, write = get_ipc_shutdown_pipe()
    command = [sys.executable, "-m", "dagster._daemon", "run", "--log-level", "info", "--shutdown-pipe", str(read)]
    command += ["--instance-ref", serialize_value(instance.get_ref()), "--workspace", str(workspace)]
    daemon = open_ipc_subprocess([*command, "--code-server-log-level", "warning"], pass_fds=[read, lock])
    os.close(read)

    def end_with_it() -> None:
        daemon.wait()
        server.should_exit = True

    threading.Thread(target=end_with_it, daemon=True).start()
    try:
        yield daemon
    finally:
        with suppress(BrokenPipeError):
            send_ipc_shutdown_message(write)
        try:
            daemon.wait(_DAEMON_ENDS_IN_S)
        except subprocess.TimeoutExpired:
            daemon.kill()


if __name__ == "__main__":
    sys.exit(main())
