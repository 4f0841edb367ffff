"""Where the Dagster UI listens, and whether one of a warehouse runs: for `make ui`, and for who only wants to know."""

import fcntl
import os
import socket
from pathlib import Path

from models_py.errors import UserError

HOST = "127.0.0.1"
PORT = 3000
LOCK = "ui.lock"  # in the folder of Dagster's records; held by the UI that runs, whose address stands in it


def listen(port: int) -> socket.socket:
    """The socket that is served later; until then callers wait. Raises UserError where the port cannot be had."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"Port {port} of {HOST} cannot be had ({error}). `make ui PORT=3001` takes another.") from error
    return listening


def running_at(home: Path) -> str | None:
    """The address of the UI that runs on these records, as it wrote it down; None where none does. Writes nothing."""
    try:
        lock = os.open(home / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(lock, 1000, 0).decode("utf-8", errors="replace").strip() or HOST
    finally:
        os.close(lock)
    return None
