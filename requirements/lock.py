"""Make the lock files from pyproject.toml. For maintainers; needs uv on the path (`pip install uv`).

    python3 requirements/lock.py [--upgrade]        without --upgrade every pin that still fits stays

A group of pyproject.toml becomes <group>.lock: what it needs beyond the core. What differs between a machine with an
NVIDIA GPU and one without lies in <group>-gpu.lock and <group>-cpu.lock. The groups of a variant are first resolved
together, so that any of them can be installed beside any other.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent / "pyproject.toml"
GROUPS = ("core", "vllm", "evaluation", "ray", "team", "checks")
INSTALLER = "pip"  # the pip that Python brings can be years old and takes several times as long
NOT_HASHED = "torch"  # without a GPU: its CPU build differs by index (2.13.0+cpu on one, 2.13.0 on another)
HEADER = "# Made by requirements/lock.py from pyproject.toml.\n"

Blocks = dict[str, str]  # the lines of a lock file about a package, by its name


def main() -> None:
    """Write requirements/*.lock."""
    kept = {} if "--upgrade" in sys.argv else _blocks("".join(file.read_text() for file in sorted(HERE.glob("*.lock"))))
    found: dict[tuple[str, str], Blocks] = {}
    for variant in ("cpu", "gpu"):
        together = _resolve(variant, GROUPS, kept)
        kept |= together  # the second variant takes the versions of the first
        core = _resolve(variant, ("core",), together)
        for group in GROUPS:
            blocks = core if group == "core" else _resolve(variant, ("core", group), together)
            if alone := _pins(blocks) - _pins(together):
                sys.exit(f"{group} ({variant}) has other versions alone than with all groups: {alone}")
            found[group, variant] = {n: block for n, block in blocks.items() if group == "core" or core.get(n) != block}
        found[INSTALLER, variant] = {INSTALLER: found["core", variant].pop(INSTALLER)}
    for group in (INSTALLER, *GROUPS):
        cpu, gpu = found[group, "cpu"], found[group, "gpu"]
        shared = {name for name in cpu if cpu[name] == gpu.get(name) and name != NOT_HASHED}
        _write(HERE / f"{group}.lock", [cpu[name] for name in sorted(shared)])
        _write(HERE / f"{group}-gpu.lock", [gpu[name] for name in sorted(gpu.keys() - shared)])
        _write(HERE / f"{group}-cpu.lock", [_unhashed(cpu[name]) for name in sorted(cpu.keys() - shared)])


def _resolve(variant: str, groups: tuple[str, ...], kept: Blocks) -> Blocks:
    """What all of `groups` and a set-up need together; versions that `kept` names stay if they fit."""
    extras = [f"vllm-{variant}" if group == "vllm" else group for group in groups if group != "core"]
    with tempfile.TemporaryDirectory() as folder:
        out, build = Path(folder, "out.txt"), Path(folder, "build.in")
        out.write_text("".join(kept.values()))
        build.write_text("\n".join([INSTALLER, *tomllib.loads(PYPROJECT.read_text())["build-system"]["requires"]]))
        settings = HERE / f"uv-{variant}.toml"
        command = ["uv", "--config-file", str(settings), "pip", "compile", str(PYPROJECT), str(build)]
        command += [argument for extra in extras for argument in ("--extra", extra)]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"]
        subprocess.run([*command, "--quiet", "--output-file", str(out)], check=True)
        return _blocks(out.read_text())


def _blocks(text: str) -> Blocks:
    blocks: Blocks = {}
    for block in re.findall(r"^[a-z0-9].*\n(?: .*\n)*", text, re.MULTILINE):
        if not re.search(r" sys_platform == '(win32|emscripten)'", block):  # where neither make nor fcntl is
            name = block.partition("==")[0]
            blocks[name] = blocks.get(name, "") + block  # a package can have another pin for another Python
    return blocks


def _pins(blocks: Blocks) -> set[str]:
    return {pin for block in blocks.values() for pin in re.findall(r"^[a-z0-9.-]+==[^ \n]+", block, re.MULTILINE)}


def _unhashed(block: str) -> str:
    is_exempt = block.startswith(f"{NOT_HASHED}==")
    return block.partition(" \\\n")[0] + "  # no hash: the CPU build differs by index\n" if is_exempt else block


def _write(file: Path, blocks: list[str]) -> None:
    file.unlink(missing_ok=True)
    if blocks:
        file.write_text(HEADER + "".join(blocks))


if __name__ == "__main__":
    main()
