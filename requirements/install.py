"""Create .venv from the lock file, once; a no-op while the lock file is unchanged. Standard library only.

    python3 requirements/install.py [cpu|gpu]      the default is gpu where nvidia-smi answers, else cpu

Killed in the middle and run again, it goes on; two at once wait for each other.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "installed-lock"
# Where the CPU build of torch is published; the default index has the CUDA build, some 4 GB with what it needs.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> int:
    """Exit status 0 when .venv matches the lock file."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs on whatever python3 is there)
        print(f"Python {sys.version.split()[0]} is too old: install 3.11 or newer, then `make PYTHON=python3.11 ...`.")
        return 1
    variant = sys.argv[1] if len(sys.argv) > 1 else ("gpu" if shutil.which("nvidia-smi") else "cpu")
    lock = ROOT / "requirements" / f"{variant}.lock"
    wanted = f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info.major}.{sys.version_info.minor}"
    with (ROOT / ".venv.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if STAMP.exists() and STAMP.read_text() == wanted:
            return 0
        started = time.monotonic()
        print(f"Setting up .venv from requirements/{lock.name} (once; a few minutes)")
        STAMP.unlink(missing_ok=True)
        if not (VENV / "bin" / "python").exists():
            venv.create(VENV, with_pip=True, clear=VENV.exists())
        torch = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
        cpu_index = ["--extra-index-url", TORCH_CPU_INDEX] if variant == "cpu" and _answers(TORCH_CPU_INDEX) else []
        total = sum(1 for line in lock.read_text().splitlines() if "==" in line and not line.startswith("#"))
        for arguments, packages in (([torch, *cpu_index], 1), (["-r", str(lock)], total)):
            if status := _pip_install(["--no-deps", *arguments], packages):
                return status
        STAMP.write_text(wanted)
        print(f"Environment ready after {time.monotonic() - started:.0f} s")
    return 0


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=4):
        return True
    return False


def _pip_install(arguments: list[str], total: int) -> int:
    """Run pip and show how far it is; its own words only when it fails."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar", "off", *arguments]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    said: list[str] = []
    found, started, shown = 0, time.monotonic(), 0.0
    for line in process.stdout:
        said.append(line)
        found += line.startswith(("Collecting", "Processing", "Requirement already satisfied"))
        now = time.monotonic()
        if line.startswith("Installing collected"):
            print(f"  installing {total} package{'s' * (total > 1)} ...", flush=True)
            found = total
        elif total > 1 and found and now - shown > 10 and found < total:
            shown = now
            print(f"  fetched {found}/{total}, ETA {(now - started) / found * (total - found):.0f} s", flush=True)
    if process.wait():
        print("".join(said[-25:]))
        print("pip failed: mend the cause above and run the same command again; what was fetched is kept.")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
