"""sql/README.md is what `make sql-readme` would write now."""

import re

from dagster_project.commands.sql_readme import README, text
from dagster_project.lakehouse.sql_files import load_models, pending_files, pending_reads


def test_the_drawn_order_is_current() -> None:
    assert README.read_text(encoding="utf-8") == text(), "run `make sql-readme`"


def test_every_model_and_paid_step_has_a_line_behind_what_it_reads() -> None:
    lines = re.findall(r"^\| \[`([a-z_.]+)`\]\(([a-z_/]+\.sql)\)", text(), re.MULTILINE)
    place = {table: number for number, (table, _) in enumerate(lines)}
    assert place.keys() == {*load_models(), *pending_files()}
    assert all((README.parent / path).is_file() for _, path in lines)
    for table, number in place.items():
        reads = pending_reads(table) if table in pending_files() else load_models()[table].depends_on
        assert all(place.get(read, -1) < number for read in reads)


def test_an_arrow_is_drawn_where_no_longer_way_leads() -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+)$", text(), re.MULTILINE)
    assert len(arrows) == len(set(arrows))
    assert ("selection_current_instruction_reflections", "selection_instruction_candidates") in arrows
    assert ("selection_pairings", "scoring_instruction_scores") in arrows
    assert ("raw_raw_pairs", "selection_instruction_candidates") not in arrows  # the reflections lead there
    assert ("policies__", "selection_kept_pairs") in arrows
