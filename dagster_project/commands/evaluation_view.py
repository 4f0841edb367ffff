"""What `make evaluate` ends with: every metric of every recipe beside its base, win rates, what was answered."""

from collections.abc import Iterator

import polars as pl
from rich.console import Console
from rich.text import Text

from dagster_project.commands.run_view import profile_argument
from dagster_project.commands.terminal import plain
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.step_progress import duration

_NAME_CHARS = 20
_COMPARED = """
select subject, kind, metric, higher_is_better, value, low, high, minus_base_low, minus_base_high, n, left_out
from evaluation.recipe_comparison
order by metric, kind <> 'base', subject
"""
_WIN_RATES = """
select judge, instruction_set, model_name, opponent_name, wins, ties, losses, unreadable, unjudged, win_rate,
    win_rate_low, win_rate_high, length_controlled_rate, sign_test_p
from evaluation.win_rates
order by judge, instruction_set, model_name, opponent_name
"""
_ANSWERS = """
select name, count(*) as answers, count(*) filter (finish_reason = 'length') as cut,
    count(*) filter (status <> 'ok') as failed, avg(tokens) as tokens
from evaluation.current_answers
group by name
order by name
"""


def print_evaluation(lake: Lake, profile: Profile, console: Console, seconds: float) -> None:
    """A line a metric and recipe, a line a judged pair of models, a line a model that answered."""
    console.print()
    _print_comparison(lake.read(_COMPARED), console)
    _print_win_rates(lake.read(_WIN_RATES), console)
    _print_answers(lake.read(_ANSWERS), console)
    console.print(f"[bold]time[/] {duration(seconds)}\n")
    which = profile_argument(profile)
    for command, purpose in (
        (f'make sql{which} Q="from evaluation.recipe_comparison"', "every metric, seed and interval"),
        (f'make sql{which} Q="from evaluation.current_answers limit 5"', "what the models wrote"),
    ):
        console.print(f"  {command:<62} [dim]{purpose}[/]")


# Of five rows that all say the same one cannot tell: that happens in more than one of twenty cases, 2 / 2^5.
_FEWEST = 6


def _print_comparison(compared: pl.DataFrame, console: Console) -> None:
    """Better or worse than the base only where the interval of the difference, row by row, leaves no doubt."""
    for (metric,), rows in compared.group_by(["metric"], maintain_order=True):
        first = rows.row(0, named=True)
        left_out = f", {first['left_out']:,} left out" if first["left_out"] else ""
        better = "higher" if first["higher_is_better"] else "lower"
        title = Text(plain(str(metric)), style="bold")
        console.print(title + Text(f"   {better} is better, {first['n']:,} rows{left_out}", style="not bold dim"))
        for row in rows.iter_rows(named=True):
            interval = f"{row['low']:.3f} – {row['high']:.3f}"
            line = f"  {row['subject']:<{_NAME_CHARS}}{row['value']:>9.4f}   {interval:<18}"
            console.print(Text(line) + _against_base(row))
        console.print()


def _against_base(row: dict[str, object]) -> Text:
    low, high = row["minus_base_low"], row["minus_base_high"]
    if not isinstance(low, float) or not isinstance(high, float):
        return Text("")
    if not isinstance(n := row["n"], int) or n < _FEWEST:
        return Text("too few rows to tell", style="dim")
    if low <= 0 <= high:
        return Text("as its base, as far as these rows tell", style="dim")
    is_better = (low > 0) == row["higher_is_better"]
    return Text("better than its base", style="green") if is_better else Text("worse than its base", style="yellow")


def _print_win_rates(rates: pl.DataFrame, console: Console) -> None:
    for (judge, instructions), rows in rates.group_by(["judge", "instruction_set"], maintain_order=True):
        console.print(f"[bold]{plain(str(judge))} on {plain(str(instructions))}[/]   [dim]wins / ties / losses[/]")
        for row in rows.iter_rows(named=True):
            console.print("  " + ", ".join(_win_rate(row)), markup=False)
        console.print()


def _win_rate(row: dict[str, object]) -> Iterator[str]:
    pair = plain(f"{row['model_name']} against {row['opponent_name']}")
    yield f"{pair}: {row['wins']} / {row['ties']} / {row['losses']}"
    if row["win_rate"] is not None:
        yield f"win rate {row['win_rate']:.1%} ({row['win_rate_low']:.1%} – {row['win_rate_high']:.1%})"
    if row["length_controlled_rate"] is not None:
        yield f"{row['length_controlled_rate']:.1%} of equal length"
    if row["sign_test_p"] is not None:
        yield f"p = {row['sign_test_p']:.2g}"
    for name in ("unreadable", "unjudged"):
        if row[name]:
            yield f"{row[name]} {name}"


def _print_answers(answers: pl.DataFrame, console: Console) -> None:
    if answers.is_empty():
        return
    console.print("[bold]Answers[/]")
    for row in answers.iter_rows(named=True):
        notes = [f"{row[name]:,} {name}" for name in ("cut", "failed") if row[name]]
        tokens = f", {row['tokens']:.0f} tokens each" if row["tokens"] is not None else ""
        console.print(
            f"  {row['name']:<{_NAME_CHARS}}{row['answers']:>6,}{tokens}" + "".join(f", {one}" for one in notes)
        )
    console.print()
