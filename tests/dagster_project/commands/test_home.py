"""Dagster's records: of one machine in its warehouse, of a team in the database of its catalog."""

import os
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.commands.home import DAGSTER_YAML, dagster_home
from dagster_project.commands.killed_runs import BEGAN_TAG, began_in, mark_killed_runs
from dagster_project.commands.ui import _alone_in_team
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.errors import UserError
from tests.support.postgres import run_sql
from tests.support.profiles import SMALLEST, write_profile


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back afterwards, whatever is set meanwhile


def profile_of(folder: Path, catalog: str | None = None) -> Profile:
    lake = {"lake": {"catalog": catalog}} if catalog else {}
    return load_profile(write_profile(folder, {**SMALLEST, **lake}))


@dg.op
def say() -> None:
    """Nothing."""


@dg.job
def one() -> None:
    say()


def test_the_records_of_one_machine_lie_in_its_warehouse(tmp_path: Path) -> None:
    home = dagster_home(profile_of(tmp_path))
    assert home == tmp_path / "house" / ".dagster"
    assert (home / "dagster.yaml").read_text() == DAGSTER_YAML
    assert (home / "history").is_dir()


def test_the_records_of_a_team_lie_beside_its_catalog_and_no_password_in_a_file(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    homes = []
    for machine in ("first", "second"):
        monkeypatch.setenv("DAGSTER_HOME", "")
        dagster_home(profile_of(tmp_path / machine))  # it was alone before
        monkeypatch.setenv("DAGSTER_HOME", "")
        homes.append(dagster_home(profile_of(tmp_path / machine, postgres)))
        with dg.DagsterInstance.get() as instance:
            assert one.execute_in_process(instance=instance, tags={BEGAN_TAG: began_in(homes[-1])}).success
    with dg.DagsterInstance.get() as instance:
        assert {run.tags[BEGAN_TAG] for run in instance.get_runs()} == {began_in(home) for home in homes}
    assert run_sql(postgres, "select count(*) from dagster.runs") == [(2,)]
    assert run_sql(postgres, "select count(*) from pg_tables where schemaname = 'public'") == [(0,)]
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not [text for text in written if b"hunter2" in text]


def test_what_the_user_wrote_stays(postgres: str, tmp_path: Path) -> None:
    own = f"{DAGSTER_YAML}run_monitoring:\n  enabled: true\n"
    home = tmp_path / "house" / ".dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(own)
    dagster_home(profile_of(tmp_path, postgres))
    assert (home / "dagster.yaml").read_text() == own


def test_of_shared_records_only_a_machines_own_runs_are_told_to_be_killed(tmp_path: Path) -> None:
    dagster_home(profile_of(tmp_path))
    home = Path(os.environ["DAGSTER_HOME"])
    with dg.DagsterInstance.get() as instance:
        for began in (began_in(home), began_in(tmp_path), None):
            tags = {"reflection_lake/watch": "a1"} | ({BEGAN_TAG: began} if began else {})
            instance.create_run_for_job(one, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert len(mark_killed_runs(instance, home, shared=True)) == 1
        assert len(mark_killed_runs(instance, home)) == 2


def test_a_team_has_one_ui(postgres: str) -> None:
    with _alone_in_team(postgres):
        told = rf"UI of this team's records runs already: process {os.getpid()} on .*, which has held the lock ui of "
        with pytest.raises(UserError, match=told), _alone_in_team(postgres):
            pass
    with _alone_in_team(postgres), _alone_in_team(None):
        pass
