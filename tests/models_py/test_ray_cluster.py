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


# The address of the jobs is what a user names; actors are asked of the cluster that this machine is part of.
JOBS = """
import os
from models_py.ray_cluster import ADDRESS, connected, job_client, ray_cluster

with ray_cluster(None, jobs=True) as started:
    jobs = job_client(started).get_address()
    del os.environ[ADDRESS]
    with ray_cluster(jobs), connected(jobs) as machines:
        # At least this one: where other clusters are on the machine Ray chooses among them.
        print(jobs.startswith("http://"), os.environ[ADDRESS] == jobs, len(machines) > 0)
"""


def test_the_address_for_jobs_is_good_for_actors_too() -> None:
    assert finish(python(JOBS)).split() == ["True", "True", "True"]


# Ray's own watch over memory kills whoever works, for the machine is said to be full. It looks every tenth of a second,
# so they work until it has looked.
FULL = """
import os, time
os.environ["RAY_memory_usage_threshold"] = "0.001"
os.environ["RAY_memory_monitor_refresh_ms"] = "100"
from tests.models_py.test_ray_crew import Doubler, doubled
from models_py.errors import UserError
from models_py.ray_crew import remote_actors
from models_py.ray_cluster import connected, ray_cluster

class Slow(Doubler):
    def load(self):
        time.sleep(60)

with ray_cluster(None) as address, connected(address) as machines:
    try:
        doubled(remote_actors(Slow, machines, count=1, gpus=0)[0], [1])
    except UserError as error:
        print(error)
"""


def test_those_that_ray_kills_for_memory_are_replaced_until_it_kills_all() -> None:
    said = finish(python(FULL))
    assert said.startswith("numbers.mine: doublers died 3 times loading the model, as happens when memory runs out: ")
    assert "worker(s) were killed due to the node running low on memory" in said
    assert said.endswith("Run again: what came is kept.\n") and len(said) < 500


# A cluster that is guarded, asked by somebody without its token.
GUARDED = """
import os
os.environ["RAY_NUM_REDIS_GET_RETRIES"] = "1"  # it asks again for a minute
from models_py.errors import UserError
from models_py.ray_cluster import ADDRESS, connected, ray_cluster
import ray  # which looks here for a token, and finds none

with ray_cluster(None) as address:
    try:
        with connected(address):
            pass
    except UserError as error:
        print(error)
"""


def test_why_a_cluster_lets_nobody_in_is_told() -> None:
    said = finish(python(GUARDED))
    assert said.startswith("ray.address: this machine is in no Ray cluster at ") and said.count("\n") == 1
    assert "Authentication token is missing or incorrect" in said
