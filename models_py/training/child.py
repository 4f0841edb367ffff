"""The other end of process.py: reads its task, trains, and tells progress and outcome, a line of JSON each."""

import json
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from models_py.errors import UserError
from models_py.progress import silent
from models_py.training.task import Stop, StoppedError, Task


def main() -> None:
    """Train what the task in the file of the first argument says, as a child of process.py."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    stop = Stop()
    threading.Thread(target=_end_with_parent, args=[stop], daemon=True).start()

    def tell(said: Mapping[str, Any]) -> None:
        channel.write(json.dumps(said).encode() + b"\n")
        channel.flush()

    task: Task = pickle.loads(Path(sys.argv[1]).read_bytes())
    is_first = task.settings.processes == 1 or os.environ["RANK"] == "0"
    from models_py.training.trainer import train

    try:
        with suppress(StoppedError):
            outcome = train(task, (lambda progress: tell({"progress": asdict(progress)})) if is_first else silent, stop)
            if is_first:
                tell({"outcome": outcome})
    except UserError as error:
        traceback.print_exc()
        tell({"user_error": str(error)})


def _end_with_parent(stop: Stop) -> NoReturn:
    """At once, or, where the parent asks for it by a word and waits, after the step under way."""
    while os.read(0, 1024):
        stop.asked = True
        if not stop.is_heard:  # nothing to save
            break
    os._exit(1)


if __name__ == "__main__":
    main()
