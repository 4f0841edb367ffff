"""sql/README.md is what `make sql-readme` would write now."""

from dagster_project.commands.sql_readme import README, text


def test_the_drawn_order_is_current() -> None:
    assert README.read_text(encoding="utf-8") == text(), "run `make sql-readme`"


def test_it_draws_every_arrow_once_and_a_paid_step_dotted() -> None:
    lines = [line.strip() for line in text().splitlines() if "->" in line]
    assert len(lines) == len(set(lines))
    assert "pairings -.-> scoring_instruction_scores" in lines
    assert "policies --> kept_pairs" in lines
