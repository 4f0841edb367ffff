"""Where Dagster's own records of a profile lie: `.dagster` in its warehouse.

    dagster_home(profile)      # warehouse/quickstart/.dagster

So they move with the lake that they tell of, and no UI shows the numbers of another profile. A DAGSTER_HOME of the
environment is the user's own choice and goes before.
"""

import os
from pathlib import Path

import dagster as dg

from dagster_project.profile.schema import Profile
from models_py.lock_file import held
from models_py.publish import published_file

DAGSTER_YAML = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"  # ask nothing, send nothing
HOME_VARIABLE = "DAGSTER_HOME"


def dagster_home(profile: Profile) -> Path:
    """The folder of the records, made and whole: several processes may be the first at once.

    From here on it is the DAGSTER_HOME of this process and of those that it starts.
    """
    home = Path(os.environ.get(HOME_VARIABLE) or profile.dagster_home).absolute()
    os.environ[HOME_VARIABLE] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    with held(home / "records.lock"):
        if not config.exists():
            with published_file(config) as file:
                file.write_text(DAGSTER_YAML, encoding="utf-8")
        # Dagster makes its databases where they are missing, and two processes that do so at once break each other.
        dg.DagsterInstance.get().dispose()
    return home
