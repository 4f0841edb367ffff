"""A real S3 server on loopback (moto's), one a worker, as the environment of a test names it; a bucket of its own."""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from models_py.s3 import ObjectStore

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Its address. It believes every key."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a fresh bucket, `s3://...`, for this process and those that it starts."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIATEAM"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2/s3cret'"),
        ("AWS_ENDPOINT_URL", s3_server),
    ):
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    bucket = f"bucket{next(_numbers)}"
    files().create_dir(bucket)
    return f"s3://{bucket}"


def files() -> Any:
    """The server of the environment, as one who may make buckets."""
    from pyarrow.fs import S3FileSystem

    store = ObjectStore.of_environment()
    assert store is not None
    return S3FileSystem(
        access_key=store.key_id,
        secret_key=store.secret,
        endpoint_override=store.endpoint,
        scheme="http",
        region=store.region,
        allow_bucket_creation=True,
    )
