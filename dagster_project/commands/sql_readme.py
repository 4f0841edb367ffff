"""`make sql-readme`: sql/README.md, the models in flow order as a drawn graph, made from the files.

python -m dagster_project.commands.sql_readme
"""

import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

from dagster_project.lakehouse.sql_files import SQL_DIR, load_models, pending_files, pending_reads
from dagster_project.lakehouse.tables import TABLES_BY_NAME

README = SQL_DIR / "README.md"
_POLICIES = "policies/*"  # one box
_FIRST_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")
_HEAD = """\
# The SQL of the project, in flow order

Made from the files by `make sql-readme`; do not edit. Boxes are models: views, or stored rows (double frame); cylinders
are tables that Python fills, paid steps with what their file in `pending/` selects. An arrow leads to what reads; where
a longer way of arrows leads there too, it is left out, and so are the tables of the profile, which most models read.
The files of `policies/` are one box.
"""


def main() -> int:
    """Write sql/README.md."""
    README.write_text(text(), encoding="utf-8")
    return 0


def text() -> str:
    """The page."""
    models, pending = load_models(), pending_files()
    lines = [_HEAD, "```mermaid", "flowchart TD", *(f"    {line}" for line in _graph()), "```", ""]
    lines += ["| what | as | one row a | what it says |", "|---|---|---|---|"]
    for table in _flow():
        file = models[table].file if table in models else pending.get(table)
        if file is not None:
            kind = models[table].materialized if table in models else "pending"
            says = _FIRST_SENTENCE.split(file.description)[0].replace("|", "\\|")
            link = f"[`{table}`]({file.path.relative_to(SQL_DIR)})"
            lines.append(f"| {link} | {kind} | {', '.join(file.header.grain)} | {says} |")
    return "\n".join(lines) + "\n"


def _reads() -> dict[str, tuple[str, ...]]:
    """Every model, and every table that a paid step fills, with what it is made from."""
    made = {table: model.depends_on for table, model in load_models().items()}
    made |= {table: pending_reads(table) for table in pending_files()}
    return {table: made[table] for table in sorted(made)}


def _flow() -> list[str]:
    """All that is read or made, each behind what it is made from."""
    return list(TopologicalSorter(_reads()).static_order())


def _graph() -> Iterator[str]:
    """The lines of the drawing: boxes in flow order, then arrows."""
    models = load_models()
    box = {table: _POLICIES if table in models and models[table].is_policy else table for table in _flow()}
    reads: dict[str, set[str]] = {name: set() for name in box.values() if not name.startswith("profile.")}
    for table, read in _reads().items():
        reads[box[table]] |= {box[name] for name in read} & reads.keys() - {box[table]}
    for name in reads:
        if name in TABLES_BY_NAME:
            yield f'{_id(name)}[("{name}")]'
        elif name in models and models[name].materialized == "table":
            yield f'{_id(name)}[["{name}"]]'
        else:
            yield f'{_id(name)}["{name}"]'
    for name, direct in reads.items():
        around = set().union(*(_above(read, reads) for read in direct))
        yield from (f"{_id(read)} --> {_id(name)}" for read in reads if read in direct - around)


def _above(name: str, reads: Mapping[str, set[str]]) -> set[str]:
    """All that a box is made from, directly or not."""
    return reads[name].union(*(_above(read, reads) for read in reads[name]))


def _id(name: str) -> str:
    return re.sub(r"\W", "_", name)


if __name__ == "__main__":
    main()
