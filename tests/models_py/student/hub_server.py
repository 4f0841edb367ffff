"""A hub on this machine: one repository, as many commits as a test makes, nothing but what huggingface_hub asks of it.

It suffices, for what is tested is which files are fetched, and which commit is found again; not the hub's transport.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.loopback import QuietHandler, on_loopback


class Hub:
    """commits: the folder of each commit (40 hex digits), the last one being `main`. fetched: file names, as served."""

    def __init__(self, name: str, kind: str = "models") -> None:
        self.api = f"/api/{kind}/{name}"
        self.files = f"/{name}" if kind == "models" else f"/{kind}/{name}"
        self.name = name
        self.commits: dict[str, Path] = {}
        self.fetched: list[str] = []

    def answer(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """Body and headers; None for what is not there."""
        main = list(self.commits)[-1]
        if path == f"{self.api}/revision/main":
            return json.dumps({"id": self.name, "sha": main, "siblings": []}).encode(), {}
        for commit, folder in self.commits.items():
            if path == f"{self.api}/revision/{commit}":
                return json.dumps({"id": self.name, "sha": commit, "siblings": []}).encode(), {}
            if path.rstrip("/") == f"{self.api}/tree/{commit}":
                files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
                tree = [
                    {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": "0"}
                    for file in files
                ]
                return json.dumps(tree).encode(), {}
            name = path.removeprefix(f"{self.files}/resolve/{commit}/")
            if name != path and (folder / name).is_file():
                content = (folder / name).read_bytes()
                return content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        return None


@contextmanager
def serving_hub(hub: Hub) -> Iterator[str]:
    """Its address."""

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            found = hub.answer(urlsplit(self.path).path)
            body, headers = found or (b"{}", {})
            if with_body and "ETag" in headers:
                hub.fetched.append(self.path.split("/resolve/")[1].split("/", 1)[1])
            self.send_response(200 if found else 404)
            if not found and self.path.startswith("/api/") and not self.path.startswith(hub.api):
                headers = {"X-Error-Code": "RepoNotFound"}
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    with on_loopback(Handler) as address:
        yield address
