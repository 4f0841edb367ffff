"""Clusters that are started here: two of them at once, as two runs on one machine have them."""

import pytest

from tests.support.processes import finish, python

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# In a process of its own: Ray reads once, when it is first asked for something, whether clusters want a token.
TWO = """
import os, time
from models_py.ray_cluster import ADDRESS, has_ended, job_client, ray_cluster

def ended(address):
    client, until = job_client(address), time.monotonic() + 90
    while True:
        try:
            job = client.submit_job(entrypoint="true")
            break
        except RuntimeError:  # its agent is starting
            assert time.monotonic() < until
            time.sleep(0.5)
    while not has_ended(client, job):
        time.sleep(0.5)
    return client.get_job_status(job).value

with ray_cluster(None, jobs=True) as first:
    del os.environ[ADDRESS]
    with ray_cluster(None, jobs=True) as second:
        print(first != second, ended(first), ended(second))
"""


def test_two_on_one_machine_both_take_jobs() -> None:
    assert finish(python(TWO)).split() == ["True", "SUCCEEDED", "SUCCEEDED"]
