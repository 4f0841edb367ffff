"""Why some replies of a teacher cannot be used: on the page of an asset as a table, in the terminal as lines.

Both are plain text: what a server said is nobody's Markdown.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from dagster_project.steps.results import TOLD_KEY
from models_py.teacher.unusable import Reason, in_lines

KEY = "why_unusable"  # of an asset's metadata

_COLUMNS = {"teacher": "string", "pairs": "int", "status": "string", "reason": "string"}


def why_unusable(found: Mapping[str, Sequence[Reason]]) -> dict[str, dg.MetadataValue]:
    """Metadata that tells the reasons by teacher; nothing where there are none."""
    if not any(found.values()):
        return {}
    records = [
        dg.TableRecord({"teacher": teacher, "pairs": one.pairs, "status": one.status, "reason": one.words})
        for teacher, all_ in found.items()
        for one in all_
    ]
    schema = dg.TableSchema([dg.TableColumn(name, type_) for name, type_ in _COLUMNS.items()])
    lines = [f"{teacher}: {line}" for teacher, all_ in found.items() for line in in_lines(all_)]
    return {KEY: dg.MetadataValue.table(records, schema), TOLD_KEY: dg.MetadataValue.text("\n".join(lines))}
