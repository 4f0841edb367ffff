"""Clusters that are started here: two of them at once, as two runs on one machine have them."""

import time

import pytest

from models_py.ray_cluster import ADDRESS, has_ended, job_client, ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_two_on_one_machine_both_take_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    with ray_cluster(None, jobs=True) as first:
        monkeypatch.delenv(ADDRESS)
        with ray_cluster(None, jobs=True) as second:
            assert first != second
            for address in (first, second):
                client, until = job_client(address), time.monotonic() + 120
                while True:
                    try:
                        job = client.submit_job(entrypoint="true")
                        break
                    except RuntimeError:  # its agent is starting
                        assert time.monotonic() < until
                        time.sleep(0.5)
                while not has_ended(client, job):
                    time.sleep(0.5)
                assert client.get_job_status(job) == "SUCCEEDED"
        monkeypatch.setenv(ADDRESS, first)
