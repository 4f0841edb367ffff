"""What the pages of SQL assets show beside their rows: pictures, and figures that Dagster plots over time.

An entry of `PICTURES` is a table and what is shown of it. Counts and bins are made by SQL, points are drawn by their
hash, so a page costs the same whatever the lake holds.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dagster_project.lakehouse.lake import Lake
from dagster_project.steps.plots import bars_plot, histograms_plot, remembered, scatter_plot

_BIN = 0.05  # of IFD and reversed IFD
_LAST_BIN = 30  # all that is higher is counted there: 1.5
_POINTS = 2_000

_HISTOGRAMS = f"""
with statistics as (
    select candidate, 'IFD' as statistic, ifd as value from selection.candidate_scores
    union all
    select candidate, 'reversed IFD' as statistic, r_ifd as value from selection.candidate_scores
),

bins as (
    select statistic, candidate, least(floor(value / {_BIN})::bigint, {_LAST_BIN}) as bin, count(*) as texts
    from statistics
    where value is not null and not isnan(value)
    group by statistic, candidate, bin
)

from bins order by statistic, selection.candidate_order(candidate), bin
"""
_FIRST_CHOICES = f"""
select ifd_original as before, ifd_instruction as after, choice = 'instruction' as is_taken, count(*) over () as choices
from selection.instruction_choices
where ifd_original is not null and ifd_instruction is not null
order by md5(pair_id), teacher, student
limit {_POINTS}
"""
_SECOND_CHOICES = f"""
select
    r_ifd_base as before, r_ifd_reflected as after, choice in ('response', 'both') as is_taken,
    count(*) over () as choices
from selection.response_choices
where r_ifd_base is not null and r_ifd_reflected is not null
order by md5(pair_id), teacher, student
limit {_POINTS}
"""
_SUMMARY = """
select
    recipe, kept, kept_share, kept_original, kept_instruction, kept_response, kept_both,
    instruction_vetoed, response_vetoed, answer_chars_before, answer_chars_after
from selection.selection_summary
order by recipe
"""
_MEANS = """
select recipe, avg(ifd) as mean_ifd, avg(r_ifd) as mean_r_ifd
from selection.recycled_pairs
group by recipe
order by recipe
"""
_SPENT = """
select concat(teacher, ' ', phase) as phase, sum(replies)::bigint as replies, sum(cost_usd) as cost_usd
from reflection.teacher_costs
group by all
order by all
"""


def shown_of(lake: Lake, table: str) -> dict[str, Any]:
    """Metadata for the page of the asset that makes `table`: {} where there is nothing to show."""
    return PICTURES[table](lake) if table in PICTURES else {}


def _candidate_scores(lake: Lake) -> dict[str, Any]:
    panels: dict[str, dict[str, dict[float, int]]] = {}
    for statistic, candidate, place, texts in lake.recall(_HISTOGRAMS).iter_rows():
        panels.setdefault(statistic, {}).setdefault(candidate, {})[round(place * _BIN, 2)] = texts
    return (
        {"histograms": remembered(lake, histograms_plot, "selection.candidate_scores", panels, _BIN)} if panels else {}
    )


def _instruction_choices(lake: Lake) -> dict[str, Any]:
    words = ("IFD of the original", "IFD of the rewritten instruction", "above the line the rewrite wins")
    return _before_and_after(lake, "first choice", _FIRST_CHOICES, words)


def _response_choices(lake: Lake) -> dict[str, Any]:
    words = ("reversed IFD of the first choice", "of the rewritten answer", "below the line the rewrite wins")
    return _before_and_after(lake, "second choice", _SECOND_CHOICES, words)


def _before_and_after(lake: Lake, whose: str, query: str, words: tuple[str, str, str]) -> dict[str, Any]:
    """The scatter of a choice; the picture says how many pairs it draws of how many."""
    rows = lake.recall(query).rows()
    if not rows:
        return {}
    across, up, told = words
    points = [(before, after, is_taken) for before, after, is_taken, _ in rows]
    title = f"{told}; {len(points):,} of {rows[0][-1]:,} pairs"
    return {"before_and_after": remembered(lake, scatter_plot, whose, points, (across, up, title))}


def _selection_summary(lake: Lake) -> dict[str, Any]:
    rows = lake.recall(_SUMMARY).to_dicts()
    if not rows:
        return {}
    names = ("original", "instruction", "response", "both")
    outcomes = {row["recipe"]: {name: row[f"kept_{name}"] or 0 for name in names} for row in rows}
    lengths = {
        f"{row['recipe']}, {when}": {"characters": row[f"answer_chars_{when}"]}
        for row in rows
        for when in ("before", "after")
        if row[f"answer_chars_{when}"] is not None
    }
    figures: dict[str, Any] = {}
    for row in rows:
        for name in ("kept", "kept_share", "instruction_vetoed", "response_vetoed"):
            if row[name] is not None:
                figures[f"{name}/{row['recipe']}"] = row[name]
    for recipe, *means in lake.recall(_MEANS).iter_rows():
        for name, value in zip(("mean_ifd", "mean_r_ifd"), means, strict=True):
            if value is not None:
                figures[f"{name}/{recipe}"] = value
    panels = {"rows by the text they keep": outcomes, "mean characters of their answers": lengths}
    return {"outcomes": remembered(lake, bars_plot, "selection.selection_summary", panels), **figures}


def _teacher_costs(lake: Lake) -> dict[str, Any]:
    rows = lake.recall(_SPENT).rows()
    spent = [cost for _, _, cost in rows if cost is not None]
    replies = {phase: {"replies": count} for phase, count, _ in rows}
    dollars = {phase: {"US dollars": cost} for phase, _, cost in rows if cost is not None}
    panels = {"replies": replies, **({"US dollars": dollars} if dollars else {})}
    return {
        **({"spend": remembered(lake, bars_plot, "reflection.teacher_costs", panels)} if rows else {}),
        **({"spent_usd": float(sum(spent))} if spent else {}),
    }


PICTURES: Mapping[str, Callable[[Lake], dict[str, Any]]] = {
    "selection.candidate_scores": _candidate_scores,
    "selection.instruction_choices": _instruction_choices,
    "selection.response_choices": _response_choices,
    "selection.selection_summary": _selection_summary,
    "reflection.teacher_costs": _teacher_costs,
}
