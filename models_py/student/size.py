"""How much disk a student takes, before it is made: roughly, and without loading or fetching anything.

    weights_in_name("meta-llama/Llama-2-7b-hf")      # 7e9
    disk_use(Student("qwen", model="Qwen/Qwen3-0.6B-Base"), students_dir)
    # DiskUse(to_make=0, to_fetch=1_200_000_000, checkpoint=1_200_000_000, by_name=True)

A checkpoint is as large as the model that it was made from: weights alone, no state of an optimizer.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from models_py.paths import is_hub_id
from models_py.student.gguf import is_gguf, locate
from models_py.student.gguf_header import DamagedHeaderError, read_header
from models_py.student.shards import weight_files
from models_py.student.spec import Student

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_PUBLISHED_BYTES = 2  # a weight, as most of the hub's models are stored
_IN_NAME = re.compile(r"(?:^|[-_/. ])(\d+(?:[.p]\d+)?)(b|m)(?=$|[-_/. ])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes. to_make: of the folder below the warehouse that is still to be written. to_fetch: into the hub's cache.

    checkpoint: of one recipe's. by_name: guessed from the weights that the model's name counts.
    """

    to_make: int
    to_fetch: int
    checkpoint: int
    by_name: bool = False


def weights_in_name(model: str) -> float | None:
    """The number of weights that a model's name tells, such as 0.6B, 135M, 7b; the first where it tells several."""
    found = _IN_NAME.search(model)
    return float(found[1].replace("p", ".")) * (1e9 if found[2].lower() == "b" else 1e6) if found else None


def disk_use(spec: Student, students_dir: Path) -> DiskUse | None:
    """What a student takes; None where nobody can say before it is here. Raises UserError as `locate` does."""
    if spec.scratch is not None:
        scratch = spec.scratch
        # Embeddings; a layer's four square matrices of attention and three of about 8/3 the width.
        weights = scratch.vocab_size * scratch.hidden_size + 12 * scratch.layers * scratch.hidden_size**2
        return DiskUse(4 * weights, 0, 4 * weights)
    if is_gguf(str(spec.model)):
        return _of_gguf(spec, students_dir)
    if is_hub_id(str(spec.model)):
        return _of_hub(spec, students_dir)
    return DiskUse(0, 0, _weight_bytes(Path(str(spec.model))))


def _of_gguf(spec: Student, students_dir: Path) -> DiskUse | None:
    try:
        header = read_header(locate(str(spec.model), f"students.{spec.name}.model"))
    except DamagedHeaderError:
        return None
    size = header.weights * _BYTES.get(spec.dtype, 4)
    return DiskUse(0 if _is_converted(students_dir, size) else size, 0, size)


def _of_hub(spec: Student, students_dir: Path) -> DiskUse | None:
    from models_py.student.hub import fetched

    if there := fetched(spec, students_dir):
        return DiskUse(0, 0, _weight_bytes(there))
    if (named := weights_in_name(str(spec.model))) is None:
        return None
    size = int(named * _PUBLISHED_BYTES)
    return DiskUse(0, size, size, by_name=True)


def _weight_bytes(folder: Path) -> int:
    """Of the files that are loaded."""
    return sum(path.stat().st_size for path in weight_files(folder) if path.is_file())


def _is_converted(students_dir: Path, size: int) -> bool:
    """Whether a folder of that size was made here of some GGUF file: which, only the file's hash would tell."""
    return any(_weight_bytes(folder) >= size for folder in students_dir.glob("gguf-*"))
