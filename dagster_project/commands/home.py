"""Where Dagster's own records of a profile lie: `.dagster` in its warehouse.

    dagster_home(profile)      # warehouse/quickstart/.dagster

So they move with the lake that they tell of, and no UI shows the numbers of another profile. A DAGSTER_HOME of the
environment is the user's own choice and goes before.

Of a lake with its catalog in PostgreSQL, runs, events and schedules are a team's: they lie in the same database, in a
schema of their own, and the folder keeps what is this machine's (logs, locks). `dagster.yaml` then names the database,
without a password: libpq takes that from PGPASSWORD or ~/.pgpass. A `dagster.yaml` that is not as this module writes it
is the user's and stays.
"""

import json
import os
from contextlib import closing, nullcontext
from pathlib import Path
from urllib.parse import quote, urlencode

import dagster as dg

from dagster_project.profile.schema import Profile
from models_py.lock_file import held
from models_py.postgres import POSTGRES, connect, driver, held_in_postgres
from models_py.publish import published_file

DAGSTER_YAML = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"  # ask nothing, send nothing
HOME_VARIABLE = "DAGSTER_HOME"
_SHARED = f"{DAGSTER_YAML}# Written from `lake.catalog` of the profile.\nstorage:\n"
_SCHEMA = "dagster"


def dagster_home(profile: Profile) -> Path:
    """The folder of the records, made and whole: several processes may be the first at once.

    From here on it is the DAGSTER_HOME of this process and of those that it starts.
    """
    home = Path(os.environ.get(HOME_VARIABLE) or profile.dagster_home).absolute()
    os.environ[HOME_VARIABLE] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    config, team = home / "dagster.yaml", profile.lake.team
    wanted = DAGSTER_YAML if team is None else _SHARED + _storage(team)
    with held(home / "records.lock"), held_in_postgres(team, "records") if team else nullcontext():
        if team:
            _make_schema(team)
        if not config.exists() or _is_ours(config.read_text("utf-8"), but=wanted):
            with published_file(config) as file:
                file.write_text(wanted, encoding="utf-8")
        # Dagster makes its databases where they are missing, and two processes that do so at once break each other.
        dg.DagsterInstance.get().dispose()
    return home


def _storage(team: str) -> str:
    """The part of dagster.yaml that names a database; every word of the catalog's address but the password."""
    words = driver().extensions.parse_dsn(team.removeprefix(POSTGRES))
    words.pop("password", None)
    words["options"] = f"{words.get('options', '')} -csearch_path={_SCHEMA}".strip()
    address = f"postgresql+psycopg2:///?{urlencode(words, quote_via=quote)}"
    return f"  postgres:\n    postgres_url: {json.dumps(address)}\n"


def _is_ours(text: str, but: str) -> bool:
    """Whether this module wrote the text of a dagster.yaml, and would write another now."""
    return text != but and (text == DAGSTER_YAML or text.startswith(_SHARED))


def _make_schema(team: str) -> None:
    with closing(connect(team)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("select to_regnamespace(%s) is null", [_SCHEMA])
        if cursor.fetchone() == (True,):  # who may not make one may use one
            cursor.execute(f"create schema {_SCHEMA}")
