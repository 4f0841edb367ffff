"""Wheels of a few lines, and a project that can be set up from them without a network.

This file is also the build backend of that project (PEP 517, editable as in PEP 660): it stands alone.
"""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Write <name>-<version>-py3-none-any.whl; returns its line in a lock file."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tiny\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,{len(text)}\n" for path, text in {**files, **described}.items()) + f"{info}/RECORD,,\n"
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, **described, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def write_project(root: Path) -> dict[str, str]:
    """A project with the core (torch, slow, small) and the group ray (extra); returns the environment for its pip."""
    wheels = root / "wheels"
    for folder in (wheels, root / "requirements", root / "profiles"):
        folder.mkdir(parents=True)
    many = {f"{{}}/part_{number}.py": "x = 1\n" * 50 for number in range(1000)}  # time to be killed in
    write_wheel(wheels, "torch", "2.13.0+tiny", {path.format("torch"): text for path, text in many.items()})
    slow = write_wheel(wheels, "slow", "1.0", {path.format("slow"): text for path, text in many.items()})
    small = write_wheel(wheels, "small", "1.0", {"small/__init__.py": "version = 1\n"})
    write_wheel(wheels, "small", "2.0", {"small/__init__.py": "version = 2\n"})
    write_wheel(wheels, "other", "1.0", {"other.py": ""})
    extra = write_wheel(wheels, "extra", "1.0", {"extra.py": ""})
    (root / "requirements" / "core-cpu.lock").write_text("torch==2.13.0\n")
    (root / "requirements" / "core.lock").write_text(slow + small)
    (root / "requirements" / "ray.lock").write_text(extra)
    shutil.copy(__file__, root / "tiny_wheels.py")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "tiny_wheels"\nbackend-path = ["."]\n'
        '[project]\nname = "reflection-lake"\nversion = "0.1.0"\n'
    )
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    write_wheel(Path(wheel_directory), "reflection-lake", "0.1.0", {"reflection_lake.pth": str(Path.cwd())})
    return "reflection_lake-0.1.0-py3-none-any.whl"


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    raise NotImplementedError("installed editable only")
