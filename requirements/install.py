"""Set up .venv from the lock files: once, and a no-op while it is sound. Standard library only.

    python3 requirements/install.py [GROUP ...]     vllm, evaluation, ray, checks; the core is always part of it
    python3 requirements/install.py --profile       what the profile in REFLECTION_PROFILE (else the quickstart) needs

Killed at any moment and run again, it mends what was left half made; two at once wait for each other. What it did
stands in `.venv/installed.json`, which counts only while site-packages is as it was left.
"""

import argparse
import contextlib
import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

GROUPS = ("vllm", "evaluation", "ray", "team", "checks")
PROJECT = "reflection-lake"
NOT_HASHED = "torch"  # its CPU build differs by index
# Where that build is published; the default index has the CUDA build, some 4 GB with what it needs.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROGRESS_S = 10.0
NEEDED_BY = {  # group: what a profile says that needs it
    "vllm": r"""engine["']?\s*:\s*["']?vllm\b""",
    "team": r"""catalog["']?\s*:\s*["']?postgres:""",
    "ray": r"""(executor["']?\s*:\s*["']?ray|actors["']?\s*:\s*["']?(auto|[1-9]\d*)"""
    r"""|machines["']?\s*:\s*([2-9]|[1-9]\d+))\b""",
}


class SetupError(Exception):
    """What is wrong and what mends it, for the user."""


def main() -> int:
    """Exit status 0 when .venv has all that was asked for."""
    parser = argparse.ArgumentParser(description="Set up .venv from requirements/*.lock")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}")
    parser.add_argument("--profile", action="store_true", help="also the groups that the current profile needs")
    parser.add_argument("--variant", choices=("cpu", "gpu"), default="gpu" if shutil.which("nvidia-smi") else "cpu")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the project's folder")
    options = parser.parse_args()
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 (this file runs on whatever python3 is there)
            raise SetupError(f"Python {sys.version.split()[0]} is too old: `make PYTHON=python3.11` names another.")
        groups = {*options.groups, *(needed_by_profile(options.root) if options.profile else ())}
        if unknown := sorted(groups - {*GROUPS}):
            raise SetupError(f"{', '.join(unknown)}: no such group; there are {', '.join(GROUPS)}.")
        with _alone(options.root):
            Environment(options.root, options.variant).bring_up_to(groups)
    except SetupError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.")
        return 130
    return 0


def needed_by_profile(root: Path) -> set[str]:
    """The groups that the current profile needs: vllm for a teacher with that engine, team for a catalog in PostgreSQL,
    ray for steps, scorers or trainings on Ray.

    A pattern finds them, for before the core is there nothing can read YAML. What is missing says so itself.
    """
    name = os.environ.get("REFLECTION_PROFILE") or "quickstart"
    is_file = "/" in name or name.endswith((".yaml", ".yml"))
    file = Path(name).expanduser() if is_file else root / "profiles" / f"{name}.yaml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return {group for group, said in NEEDED_BY.items() if re.search(rf"^[^#\n]*\b{said}", text, re.MULTILINE)}


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One set-up at a time. The processes it starts hold the lock too: they may outlive a set-up that is killed."""
    with (root / ".venv.lock").open("w") as guard:
        os.set_inheritable(guard.fileno(), True)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another set-up of .venv to end", flush=True)
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Stamp:
    """What a set-up writes down: first without files, when all is installed with them."""

    venv: str  # scripts name it in their first line: in a moved folder they do not run
    variant: str
    groups: list[str]
    files: dict[str, str]  # sha256 of the lock files and of what pyproject.toml says of the project, by name
    packages: list[str]  # <name>-<version>.dist-info of what came from them
    changed_ns: int  # when site-packages changed last: whoever adds or removes a package there changes it


class Environment:
    """The folder .venv of a project."""

    def __init__(self, root: Path, variant: str) -> None:
        self.root = root
        self.variant = variant
        self.locks = root / "requirements"
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "installed.json"

    def bring_up_to(self, groups: set[str]) -> None:
        """Install the core, `groups` and those that were there before; nothing when all of it is there and sound."""
        before = self._read_stamp()
        groups = groups | {*(before.groups if before else ())}
        files = self._files(groups)
        if before and before.files == files and self._is_sound(before):
            return
        started = time.monotonic()
        print(f"Setting up .venv with {', '.join(('the core', *sorted(groups)))} (once; a minute or two)", flush=True)
        if not self._works(before):
            self.stamp.unlink(missing_ok=True)
            self._run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(self.venv)], "making .venv")
            self._run([str(self.python), "-I", "-m", "ensurepip", "--default-pip"], "installing pip")
        stamp = Stamp(str(self.venv.resolve()), self.variant, sorted(groups), files={}, packages=[], changed_ns=0)
        self._write_stamp(stamp)
        self._remove_unsound()
        self._install([self.locks / name for name in files if name.endswith(".lock")])
        packages = sorted(folder.name for folder in self._ours())
        self._write_stamp(replace(stamp, files=files, packages=packages, changed_ns=self._changed_ns()))
        print(f"Environment ready after {time.monotonic() - started:.0f} s", flush=True)

    def _files(self, groups: set[str]) -> dict[str, str]:
        """sha256 by name of the lock files for `groups`, in the order of installation, and of the project itself."""
        names = [name for group in ("core", *sorted(groups)) for name in (f"{group}-{self.variant}", group)]
        locks = [self.locks / f"{name}.lock" for name in ("pip", *names)]
        texts = {lock.name: lock.read_bytes() for lock in locks if lock.is_file()}
        said = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        texts[PROJECT] = json.dumps([said.get("project"), said.get("build-system")]).encode()
        return {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}

    # ---- what is there

    def _read_stamp(self) -> Stamp | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Stamp(**json.loads(self.stamp.read_text()))
        return None

    def _write_stamp(self, stamp: Stamp) -> None:
        fresh = self.stamp.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(stamp), indent=1))
        fresh.replace(self.stamp)

    @property
    def _site_packages(self) -> Path:
        return next(self.venv.glob("lib/python3*/site-packages"), self.venv / "no-site-packages")

    def _changed_ns(self) -> int:
        (self._site_packages / "__pycache__").mkdir(exist_ok=True)  # Python would make it later
        return self._site_packages.stat().st_mtime_ns

    def _is_sound(self, before: Stamp) -> bool:
        """Whether all that was installed is still there; looks at each file only when site-packages changed since."""
        if before.venv != str(self.venv.resolve()) or before.variant != self.variant or not self.python.exists():
            return False
        if not self._site_packages.exists() or before.changed_ns == self._changed_ns():
            return self._site_packages.exists()
        if not all(_is_complete(self._site_packages / package) for package in before.packages):
            return False
        self._write_stamp(replace(before, changed_ns=self._changed_ns()))
        return True

    def _works(self, before: Stamp | None) -> bool:
        """Whether .venv can be built on: it was made here for this variant, its Python runs, its pip is whole."""
        if before and (before.venv, before.variant) != (str(self.venv.resolve()), self.variant):
            return False
        try:
            command = [str(self.python), "-I", "-c", "import sys, pip; print(sys.prefix)"]
            prefix = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return False
        pip_is_whole = any(_is_complete(folder) for folder in self._site_packages.glob("pip-*.dist-info"))
        return pip_is_whole and Path(prefix).resolve() == self.venv.resolve()

    def _ours(self) -> list[Path]:
        """The .dist-info folders of the project and of the packages that a lock file names."""
        names = {PROJECT, *(name for lock in self.locks.glob("*.lock") for name, _ in _pins(lock))}
        folders = self._site_packages.glob("*.dist-info")
        return [folder for folder in folders if folder.name.split("-")[0].replace("_", "-").lower() in names]

    def _remove_unsound(self) -> None:
        """A pip that was killed leaves packages with files missing, and what it was replacing as ~ackage or ~in."""
        for place in (self._site_packages, self._site_packages.parent, self.venv):
            for leftover in place.glob("~*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for folder in self._ours():
            if not _is_complete(folder):
                _remove(folder, inside=self.venv)

    # ---- what makes it

    def _install(self, locks: list[Path]) -> None:
        for stage in ("pip", "core", ""):  # a newer pip is faster, and the core has what builds some of the others
            now = [lock for lock in locks if lock.name.startswith(stage)]
            locks = [lock for lock in locks if lock not in now]
            hashed = [lock for lock in now if "--hash=" in lock.read_text()]
            for lock in (lock for lock in now if lock not in hashed):
                self._install_unhashed(lock)
            if total := sum(len(_pins(lock)) for lock in hashed):
                arguments = [argument for lock in hashed for argument in ("-r", str(lock))]
                what = f"{total} packages" if total > 1 else f"{stage} {_pins(hashed[0])[0][1]}"
                self._pip(["--require-hashes", "--no-build-isolation", *arguments], what, total)
        self._pip(["--no-index", "--no-build-isolation", "-e", str(self.root)], PROJECT)

    def _install_unhashed(self, lock: Path) -> None:
        for name, version in _pins(lock):
            if name != NOT_HASHED:
                raise SetupError(f"requirements/{lock.name}: {name} has no hash; requirements/lock.py adds it.")
            if not any(self._site_packages.glob(f"{name}-{version}*.dist-info")):
                index = ["--extra-index-url", TORCH_CPU_INDEX] if _answers(TORCH_CPU_INDEX) else []
                self._pip([f"{name}=={version}", *index], name)

    def _pip(self, arguments: list[str], what: str, total: int = 1) -> None:
        command = [str(self.python), "-I", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        # Not compiled: Python compiles what it imports, and most of this is never imported.
        self._run([*command, "--no-deps", "--no-compile", *arguments], f"installing {what}", total)

    def _run(self, command: list[str], what: str, total: int = 1) -> None:
        """Run it, show how far it is, and its own words when it fails."""
        print(f"  {what}", flush=True)
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
        started, there = time.monotonic(), self._count()
        with tempfile.TemporaryFile("a+") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                close_fds=False,  # it holds the lock of _alone too
            )
            try:
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(PROGRESS_S)
                        break
                    _show_progress(_read(said), self._count() - there, total, time.monotonic() - started)
            except KeyboardInterrupt:
                process.wait()  # it was interrupted too
                raise
            if process.returncode:
                words = "\n".join(_read(said).splitlines()[-25:])
                raise SetupError(f"{words}\n{what} failed: mend the cause above; the same command goes on from here.")

    def _count(self) -> int:
        return sum(1 for _ in self._site_packages.glob("*.dist-info"))


def _pins(lock: Path) -> list[tuple[str, str]]:
    """Name and version of each package in a lock file."""
    return re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)


def _files_of(package: Path) -> Iterator[tuple[Path, str]]:
    """Path and size ('' when it may vary) of each file that a .dist-info folder records."""
    with (package / "RECORD").open(newline="", encoding="utf-8") as record:
        for path, _, size in csv.reader(record):
            yield Path(os.path.normpath(package.parent / path)), size


def _is_complete(package: Path) -> bool:
    """Whether pip finished installing it (then its record names INSTALLER) and every file has its size."""
    try:
        files = dict(_files_of(package))
        sizes = {file: file.stat().st_size for file in files if file.suffix != ".pyc"}  # Python makes those anew
        return package / "INSTALLER" in files and all(sizes[file] == int(files[file] or sizes[file]) for file in sizes)
    except (OSError, ValueError):
        return False


def _remove(package: Path, inside: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        for file, _ in list(_files_of(package)):
            if file.is_relative_to(inside):
                file.unlink(missing_ok=True)
    shutil.rmtree(package)


def _answers(url: str) -> bool:
    import urllib.request

    if os.environ.get("PIP_NO_INDEX"):
        return False
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=4):
        return True
    return False


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _show_progress(said: str, installed: int, total: int, seconds: float) -> None:
    fetched = min(len(re.findall(r"^(?:Collecting|Processing|Requirement already)", said, re.MULTILINE)), total)
    if total == 1 or not fetched:
        print(f"  {seconds:.0f} s", flush=True)
        return
    done = fetched + min(max(installed, 0), total)
    eta = seconds / done * (2 * total - done)
    print(f"  fetched {fetched}, installed {done - fetched} of {total}, ETA {eta:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
