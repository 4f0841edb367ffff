"""`make sql-readme`: sql/README.md, the models in flow order as a drawn graph, made from the files.

python -m dagster_project.commands.sql_readme
"""

from collections.abc import Iterator

from dagster_project.lakehouse.sql_files import SQL_DIR, Model, load_models, pending_files

README = SQL_DIR / "README.md"
_POLICIES = "policies"
_HEAD = """\
# The SQL of the project, in flow order

Made from the files by `make sql-readme`; do not edit. Boxes are models: views, or stored rows (double frame); rounded
are tables that Python fills; a dotted arrow leads what a paid step has still to do (`pending/`) to its table. The files
of `policies/` are one box; the project's README names them.
"""


def main() -> int:
    """Write sql/README.md."""
    README.write_text(text(), encoding="utf-8")
    return 0


def text() -> str:
    """The page."""
    models = _in_flow_order()
    lines = [_HEAD, "```mermaid", "flowchart TD", *(f"    {line}" for line in _graph(models)), "```", ""]
    lines += ["| model | rows | grain | what it says |", "|---|---|---|---|"]
    lines += [
        f"| [`{model.table}`]({model.file.path.relative_to(SQL_DIR)}) | {model.materialized} "
        f"| {', '.join(model.file.header.grain)} | {_first_sentence(model.description)} |"
        for model in models
        if not model.is_policy
    ]
    return "\n".join(lines) + "\n"


def _in_flow_order() -> list[Model]:
    """A model behind all that it reads, at the same depth by name."""
    models, depth = load_models(), dict[str, int]()
    for table, model in models.items():
        depth[table] = 1 + max((depth.get(read, 0) for read in model.depends_on), default=0)
    return sorted(models.values(), key=lambda model: (depth[model.table], model.table))


def _graph(models: list[Model]) -> Iterator[str]:
    """Nodes in flow order, then what reads what; each edge once."""
    box = {model.table: _POLICIES if model.is_policy else model.name for model in models}
    yield f'{_POLICIES}["policies/*"]'
    yield from (
        f'{model.name}[["{model.name}"]]' if model.materialized == "table" else f'{model.name}["{model.name}"]'
        for model in models
        if not model.is_policy
    )
    edges = {(box.get(read, read), box[model.table]): "-->" for model in models for read in model.depends_on}
    edges |= {
        (box.get(read, read), table): "-.->" for table, file in pending_files().items() for read in file.depends_on
    }
    filled = sorted({end for edge in edges for end in edge if "." in end})
    yield from (f'{table.replace(".", "_")}(["{table}"])' for table in filled)
    yield from (
        f"{start.replace('.', '_')} {arrow} {end.replace('.', '_')}"
        for (start, end), arrow in sorted(edges.items())
        if start != end
    )


def _first_sentence(description: str) -> str:
    return description.split(". ", maxsplit=1)[0].rstrip(".").replace("|", "\\|") + "."


if __name__ == "__main__":
    main()
