"""evaluation.win_rates: wins, ties and losses of evaluation.verdict_outcomes, and what they are worth.

A table and no view: intervals and regressions are no SQL. Nothing in it is paid for.
"""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.code_version import code_version
from dagster_project.steps.plots import rates_plot, remembered
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, table_result
from models_py.evaluation.intervals import Values
from models_py.evaluation.length_control import LengthControlled
from models_py.evaluation.win_rate import rates

TABLE = "evaluation.win_rates"
_OUTCOMES = "evaluation.verdict_outcomes"
_KEYS = ("judge", "model", "opponent", "instruction_set")
_OF_OUTCOMES = f"""
select outcomes.*, coalesce(models.name, model) as model_name, coalesce(others.name, opponent) as opponent_name
from {_OUTCOMES} as outcomes
left join evaluation.models as models using (model)
left join evaluation.models as others on others.model = outcomes.opponent
order by judge, model_name, opponent_name, instruction_set, instruction_id
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=[asset_key(_OUTCOMES), asset_key("evaluation.models")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def win_rates(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    outcomes = lake.read(_OF_OUTCOMES)
    groups = outcomes.group_by(_KEYS, maintain_order=True)
    rows = [_rates_of(dict(zip(_KEYS, map(str, key), strict=True)), group) for key, group in groups]
    lake.mirror({TABLE: rows}, Commit("win rates", asset=TABLE, run_id=context.run_id))
    shown = {
        f"{row['model_name']} / {row['opponent_name']} ({row['judge']}, {row['instruction_set']})": (
            row["win_rate"],
            row["win_rate_low"],
            row["win_rate_high"],
        )
        for row in rows
        if row.get("win_rate") is not None
    }
    metadata: dict[str, Any] = {}
    if told := _told(rows):
        metadata[TOLD_KEY] = "\n".join(told)
    if shown:
        metadata["rates_plot"] = remembered(lake, rates_plot, TABLE, shown)
    return table_result(lake, TABLE, metadata=metadata)


def _rates_of(keys: dict[str, str], outcomes: pl.DataFrame) -> dict[str, Any]:
    """One row of the table from its outcomes, one an instruction."""
    known = outcomes.drop_nulls("preference")
    counts = dict(outcomes.group_by("outcome").len().iter_rows())
    first, second = (int(outcomes[name].sum()) for name in ("first_wins", "second_wins"))
    row: dict[str, Any] = {
        **keys,
        "model_name": outcomes["model_name"][0],
        "opponent_name": outcomes["opponent_name"][0],
        "wins": counts.get("win", 0),
        "ties": counts.get("tie", 0),
        "losses": counts.get("loss", 0),
        "identical": outcomes["identical"].sum(),
        "unreadable": counts.get("unreadable", 0),
        "unjudged": counts.get("unjudged", 0),
        "first_position_share": first / (first + second) if first + second else None,
        "chars": outcomes["chars"].mean(),
        "opponent_chars": outcomes["opponent_chars"].mean(),
        "length_controlled_reason": "nothing is judged",
    }
    if known.is_empty():
        return row
    has_lengths = not known.select("chars", "opponent_chars").null_count().sum_horizontal().item()
    lengths = [_values(known[name].fill_null(0)) for name in ("chars", "opponent_chars")]
    found = rates(_values(known["preference"]), *lengths)
    controlled = found.length_controlled
    if not has_lengths:
        controlled = LengthControlled(reason="the lengths of some answers are unknown")
    return row | {
        "win_rate": found.win_rate.value,
        "win_rate_low": found.win_rate.low,
        "win_rate_high": found.win_rate.high,
        "paper_rate": found.paper_rate,
        "sign_test_p": found.sign_test_p,
        "length_controlled_rate": controlled.rate,
        "length_controlled_low": controlled.low,
        "length_controlled_high": controlled.high,
        "length_controlled_reason": controlled.reason,
    }


def _values(column: pl.Series) -> Values:
    values: Values = column.cast(pl.Float64).to_numpy()
    return np.ascontiguousarray(values)


def _told(rows: list[dict[str, Any]]) -> list[str]:
    """What a person should know of the rates, a sentence each."""
    if not rows:
        return ["Nobody has judged any answers: name a judge under evaluation.judges, or verdicts under annotations."]
    words = {"unreadable": "have a verdict that cannot be read", "unjudged": "are not judged in both orders"}
    return [
        f"{row['model_name']} against {row['opponent_name']} ({row['judge']}, {row['instruction_set']}): "
        f"{row[name]:,} instructions {said}, and are in no rate"
        for row in rows
        for name, said in words.items()
        if row[name]
    ]
