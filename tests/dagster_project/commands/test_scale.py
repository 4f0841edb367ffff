"""docs/scale.md is what `make scale` would write now, and its arithmetic is that of its rates."""

import re
import subprocess
from dataclasses import replace

import pytest
import yaml

from dagster_project.commands.scale import FOLDER, MARKS, PAGE, Rates, limits, needs, plot, read_rates, tables
from dagster_project.root import PROJECT_ROOT

KINDS = {"measured", "published", "assumed"}


@pytest.fixture(scope="module")
def rates() -> Rates:
    found, _ = read_rates(FOLDER)
    return found


def test_the_page_is_current() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    assert rest.partition(MARKS[1])[0] == tables(FOLDER) + "\n", "run `make scale`"


def test_every_number_says_where_it_comes_from() -> None:
    _, lines = read_rates(FOLDER)
    assert len(lines) > 25
    assert [name for name, _, kind, source in lines if kind not in KINDS or not source.strip()] == []


def test_hours_follow_from_the_rates(rates: Rates) -> None:
    round_numbers = {
        "pair.prompt_tokens": 1000,
        "pair.reply_tokens": 1000,
        "pair.replies": 2,
        "pair.scored_tokens": 1000,
        "pair.trained_tokens": 100,
        "pair.kept_share": 0.5,
        "training.epochs": 2,
        "training.few_rows": 1000,
        "student_parameters": 1e9,
        "teacher_parameters": 2e9,
        "card.flops": 1e15,
        "card.written_tokens_per_s": 10_000,
        "share_of_peak.reading": 0.5,
        "share_of_peak.training": 0.5,
        "hosted_teacher.usd_per_million_prompt_tokens": 1,
        "hosted_teacher.usd_per_million_reply_tokens": 2,
        "lake.rows_per_commit": 1000,
    }
    of_round = replace(rates, values={**rates.values, **round_numbers}, sql_cpu_s=0.001, stored_gb=1e-6)
    found = needs(of_round, 3_600_000, 100)
    assert found.teacher_h == pytest.approx(8 + 100)  # 4e12 operations a pair to read, a tenth of a second to write
    assert found.scoring_h == pytest.approx(4)
    assert found.few_rows_h == pytest.approx(1000 * 200 * 6e9 / 5e14 / 3600)
    assert found.training_h == pytest.approx(1_800_000 * 200 * 6e9 / 5e14 / 3600)
    assert (found.sql_core_h, found.stored_gb) == pytest.approx((1, 3.6))
    assert found.hosted_usd == pytest.approx(3_600_000 * 0.003)
    assert found.replies_per_s == pytest.approx(20)
    assert found.cards == 2


def test_more_pairs_never_take_less(rates: Rates) -> None:
    few, many = needs(rates, 1_000, 10), needs(rates, 1_000_000, 10)
    assert many.teacher_h == pytest.approx(1000 * few.teacher_h)
    assert many.cards >= few.cards >= 1
    assert all(pairs > 0 for _, pairs, _ in limits(rates))


def test_the_plot_is_a_picture() -> None:
    assert plot(FOLDER).startswith(b"\x89PNG")


def test_the_recipes_for_clusters_can_be_read_and_name_the_ray_that_is_pinned() -> None:
    cluster, job = yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text(encoding="utf-8"))
    pinned = re.search(r"^ray==(\S+)", (PROJECT_ROOT / "requirements" / "ray.lock").read_text(), re.MULTILINE)
    assert pinned and cluster["spec"]["rayVersion"] == pinned[1]
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "Job")
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)
