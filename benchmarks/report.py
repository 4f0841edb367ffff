"""How large the report of many pairs is, how long it takes to make, and how long a browser takes to open it.

    python benchmarks/report.py --pairs 50000

Pairs of invented words, a rewrite of each and a better answer, and scores are put into a lake by SQL: one pairing,
three recipes. Then the report is made as `make report` makes it, and the system's Chromium opens it from its file. The
limits: 10 MB, and less than three seconds until the first page can be read. Writes benchmarks/results/report.json.
Needs Playwright and Chromium (`make setup WITH=checks`). Seconds on a busy machine are too high: look at the CPU's.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.report_content import report_content
from models_py.report.page import LARGEST, publish_report

RESULTS = Path(__file__).resolve().parent / "results" / "report.json"
LIMIT_OPEN_S = 3.0
OPENINGS = 3
RECIPES: list[dict[str, object]] = [
    {"recipe": "original", "policy": "original"},
    {"recipe": "paper", "policy": "paper"},
    {"recipe": "paper_top", "policy": "paper", "top_fraction": 0.05},
]
# A number in [0, 1) by a hash of a row and a name; so many words of 3,000.
MACROS = """
create or replace temp macro drawn(n, name) as (hash(n, name) % 1000003) / 1000003.0;
create or replace temp macro said(n, name, words) as array_to_string(
    list_transform(range(words::bigint), lambda k:
        substr(md5((hash(n, name, k) % 3000)::varchar), 1, 2 + (hash(n, name, k) % 7)::bigint)), ' ');
"""
ROWS = """
create or replace temp table invented as
select
    n,
    sha256(n::varchar) as original,
    sha256(concat(n, ' instruction')) as instruction,
    if(drawn(n, 'first') < 0.6, 'instruction', 'original') as base,
    sha256(concat(n, ' twin')) as twin
from range({pairs}) as numbers (n);

insert into raw.raw_pairs by name
select original as pair_id, 'source' as source, 'pairs.jsonl' as file, n + 1 as source_row, '' as system,
    '[]' as history, said(n, 'x', 12 + 20 * drawn(n, 'x')) as instruction, '' as input,
    said(n, 'y', 30 + 160 * drawn(n, 'y')) as output, concat('category ', n % 25) as category, 0 as duplicate_count
from invented;

insert into reflection.instruction_reflections by name
select 'teacher' as teacher, 'v1' as prompt_version, original as pair_id, concat(n, '-1') as request_id,
    'ok' as status, said(n, 'c', 90) as critique, instruction as content_id,
    said(n, 'x2', 40 + 30 * drawn(n, 'x')) as instruction, said(n, 'y2', 150 + 200 * drawn(n, 'y')) as output
from invented;

insert into reflection.response_reflections by name
select 'teacher' as teacher, 'v1' as prompt_version, original as pair_id, base,
    if(base = 'original', original, instruction) as base_content_id, concat(n, '-2') as request_id, 'ok' as status,
    said(n, 'd', 90) as critique, twin as content_id, said(n, 'y3', 200 + 200 * drawn(n, 'y')) as output
from invented;

create or replace temp table texts as
select n, original as content_id, 0.3 + 0.6 * drawn(n, 'ifd') as ifd, 0.5 + 0.4 * drawn(n, 'r') as r_ifd from invented
union all
select n, instruction, if(base = 'instruction', 1.05, 0.8) * (0.3 + 0.6 * drawn(n, 'ifd')), 0.5 + 0.4 * drawn(n, 'r2')
from invented
union all
select n, twin, 0.4 + 0.5 * drawn(n, 'ifd3'), 0.4 + 0.5 * drawn(n, 'r3') from invented;

create or replace temp table terms as
select
    content_id,
    (20 + 400 * drawn(content_id, 'tokens'))::bigint as tokens,
    (8 + 60 * drawn(content_id, 'more'))::bigint as instruction_tokens,
    1.5 + 2 * drawn(content_id, 'nll') as nll,
    ln(ifd) as ln_ifd,
    ln(r_ifd) as ln_r_ifd,
    n
from texts;
"""
SCORES = """
insert into scoring.{table} by name
select 'student' as student, 'fp' as student_fingerprint, content_id, 'ok' as status, false as truncated, {terms}
from terms {where};
"""
FIRST = "where content_id not in (select twin from invented)"
SECOND = """
where content_id in (
    select if(base = 'original', original, instruction) from invented
    union all
    select twin from invented
)
"""
# As a rule the IFD of a better answer is asked for where it wins.
WON = """
where content_id in (
    select twin from invented
    where 0.4 + 0.5 * drawn(n, 'r3') < 0.5 + 0.4 * drawn(n, if(base = 'original', 'r', 'r2'))
)
"""
ANSWER = "tokens as answer_tokens, tokens * nll as answer_nll, tokens * (nll + ln_ifd) as answer_nll_given_instruction"
INSTRUCTION = (
    "instruction_tokens, instruction_tokens * nll as instruction_nll, "
    "instruction_tokens * (nll + ln_r_ifd) as instruction_nll_given_answer"
)


def invent(lake: Lake, pairs: int) -> None:
    """The lake as it would be after a run without training."""
    versions = {"instruction_prompt_version": "v1", "response_prompt_version": "v1"}
    student = {"student": "student", "model": "none", "max_length": 2048, "student_fingerprint": "fp"}
    common = {"teacher": "teacher", "student": "student", "mix": 0.0, "seed": 1}
    more = {"response_reflection": "selected", "first_choice": "ifd"}
    names = [column.name for column in TABLES_BY_NAME["profile.recipes"].columns]
    lake.append(
        {
            "profile.teachers": [{"teacher": "teacher", "engine": "none", "identity": "none", **versions}],
            "profile.students": [{**student, "scored_by": "student", "scorer_fingerprint": "fp"}],
            "profile.recipes": [{**dict.fromkeys(names), **common, **more, **recipe} for recipe in RECIPES],
        },
        Commit("profile of the benchmark"),
    )

    def rows(connection: Any) -> None:
        connection.execute(MACROS + ROWS.format(pairs=pairs))
        connection.execute(SCORES.format(table="instruction_scores", terms=ANSWER, where=FIRST))
        connection.execute(SCORES.format(table="response_scores", terms=INSTRUCTION, where=SECOND))
        connection.execute(SCORES.format(table="chosen_scores", terms=ANSWER, where=WON))

    lake.write(rows, Commit("what teacher and student would have done"))
    for model in load_models().values():
        lake.refresh(model, Commit(f"rows of {model.table}"))


def made(lake: Lake, file: Path) -> dict[str, float]:
    """Make the report as `make report` does; what it took and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    with report_content(lake, "benchmark") as content:
        written = publish_report(content, file)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    return {
        **took,
        "peak_gib": peak_gib,
        "bytes": written.size,
        "pairs": written.pairs,
        "pairs_with_texts": written.pairs_with_texts,
    }


def opened(file: Path) -> dict[str, float]:
    """Seconds until the overview can be read, then until the pairs can, then until a word is found; medians."""
    from playwright.sync_api import sync_playwright

    took: dict[str, list[float]] = {"overview_s": [], "pairs_s": [], "search_s": []}
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(OPENINGS):
            page = chromium.new_context().new_page()
            begun = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("body[data-state=open]")
            took["overview_s"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            page.click("a[href='#pairs']")
            page.wait_for_selector("#page-pairs[data-state=made]")
            took["pairs_s"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            page.fill("#search", "no such word")
            page.locator("#found", has_text="0 of ").wait_for()
            took["search_s"].append(time.perf_counter() - begun)
            page.close()
        chromium.close()
    return {name: median(times) for name, times in took.items()}


def main() -> int:
    """Measure, print, write the results; exit status 1 where a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where the lake is made and kept (default: a temporary one)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        lake = Lake(folder / "warehouse")
        if not lake.exists():
            invent(lake, options.pairs)
        making = made(lake, folder / "report.html")
        opening = opened(folder / "report.html")
    for what, value in (making | opening).items():
        print(f"{what:<20}{value:>14,.2f}" if isinstance(value, float) else f"{what:<20}{value:>14,}")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps({"made": making, "opened": opening}, indent=1) + "\n", encoding="utf-8")
    return int(making["bytes"] > LARGEST or opening["overview_s"] >= LIMIT_OPEN_S)


if __name__ == "__main__":
    raise SystemExit(main())
