"""An object store that speaks S3's protocol, as the environment names it, by the names that AWS's own tools read.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN       who asks
    AWS_REGION (or AWS_DEFAULT_REGION), AWS_ENDPOINT_URL              where; without an address it is Amazon's

Nothing of it is written to a file, printed or shown.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from models_py.errors import UserError

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_REGION = "us-east-1"  # what stores of one place call it, and AWS's oldest


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Where objects are kept, and by whom they are asked for. endpoint: host and port, None for Amazon's."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    endpoint: str | None
    is_encrypted: bool

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """None where no key is set. Raises UserError for half a key, and for an address that is none."""
        given = [name for name in KEYS if variables.get(name)]
        if not given:
            return None
        if len(given) < len(KEYS):
            (lacking,) = {*KEYS} - {*given}
            raise UserError(f"{given[0]} is set and {lacking} is not; set both, or neither.")
        address = urlsplit(variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or "")
        if (address.scheme or address.path) and (address.scheme not in ("http", "https") or not address.hostname):
            raise UserError("AWS_ENDPOINT_URL is no address; it begins with http:// or https://, then a host")
        return cls(
            key_id=variables[KEYS[0]],
            secret=variables[KEYS[1]],
            token=variables.get("AWS_SESSION_TOKEN") or None,
            region=variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or _REGION,
            endpoint=address.netloc.rpartition("@")[2] or None,
            is_encrypted=address.scheme != "http",
        )

    @property
    def duckdb_options(self) -> dict[str, str]:
        """What DuckDB calls it, in `create secret`."""
        here = {"endpoint": self.endpoint, "url_style": "path"} if self.endpoint else {}
        named = {"key_id": self.key_id, "secret": self.secret, "session_token": self.token, "region": self.region}
        said = {**named, **here, "use_ssl": str(self.is_encrypted).lower()}
        return {name: value for name, value in said.items() if value is not None}

    def filesystem(self) -> Any:
        """A pyarrow.fs.S3FileSystem."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=self.key_id,
            secret_key=self.secret,
            session_token=self.token,
            region=self.region,
            endpoint_override=self.endpoint,
            scheme="https" if self.is_encrypted else "http",
            connect_timeout=10,
            request_timeout=60,
        )
