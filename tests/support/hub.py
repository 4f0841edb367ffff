"""A hub on this machine that takes data sets: repositories are made and files committed as huggingface_hub asks.

It suffices, for what is tested is what is sent and when; not the hub's storage of large files.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.loopback import QuietHandler, on_loopback

TOKEN = "hf_aSecretThatNobodyMayRead"


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"


@dataclass
class TakingHub:
    """repos: by `owner/name`. asked: every path. writers: owners for whom the token may write. errors: of any card."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    writers: tuple[str, ...] = ("me",)
    errors: tuple[str, ...] = ()

    def answer(self, path: str, body: bytes, token: str) -> tuple[int, dict[str, Any], str]:
        """Status, JSON and error code."""
        self.asked.append(path)
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials"}, ""
        match path:
            case "/api/validate-yaml":
                return (400 if self.errors else 200), {"errors": [{"message": one} for one in self.errors]}, ""
            case "/api/repos/create":
                return self._create(json.loads(body))
        return self._of_a_repo(path, body)

    def _of_a_repo(self, path: str, body: bytes) -> tuple[int, dict[str, Any], str]:
        repo, action = next(
            ((name, path.removeprefix(f"/api/datasets/{name}")) for name in self.repos if f"/{name}" in path), ("", "")
        )
        if not repo:
            return 404, {"error": "Repository not found"}, "RepoNotFound"
        if action == "":
            return 200, self._info(repo), ""
        if repo.split("/")[0] not in self.writers:
            return 403, {"error": "Forbidden: you must use a write token"}, ""
        if action == "/preupload/main":
            names = [one["path"] for one in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return 200, {"files": files}, ""
        assert action == "/commit/main", action
        return self._commit(repo, [json.loads(line) for line in body.splitlines()])

    def _create(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        assert wanted["type"] == "dataset"
        if wanted["organization"] not in self.writers:
            return 403, {"error": "Forbidden: you don't have the rights to create a dataset under this namespace"}, ""
        name = f"{wanted['organization']}/{wanted['name']}"
        self.repos[name] = Repo(private=wanted["visibility"] == "private")
        return 200, {"url": f"https://huggingface.co/datasets/{name}"}, ""

    def _info(self, name: str) -> dict[str, Any]:
        repo = self.repos[name]
        siblings = [{"rfilename": file} for file in repo.files]
        return {"id": name, "sha": repo.sha, "private": repo.private, "siblings": siblings, "tags": []}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, Any], str]:
        repo = self.repos[name]
        header = lines[0]["value"]
        assert header["parentCommit"] == repo.sha
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "file":
                repo.files[path] = base64.b64decode(line["value"]["content"])
            else:
                assert line["key"] == "deletedFile"
                del repo.files[path]
        repo.commits.append(header["summary"])
        url = f"https://huggingface.co/datasets/{name}/commit/{repo.sha}"
        return 200, {"commitUrl": url, "commitOid": repo.sha}, ""


@contextmanager
def taking_hub(hub: TakingHub) -> Iterator[str]:
    """Its address."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told, code = hub.answer(urlsplit(self.path).path, body, self.headers.get("Authorization") or "")
            said = json.dumps(told).encode()
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(said))}
            for name, value in {**headers, **({"X-Error-Code": code} if code else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

    with on_loopback(Handler) as address:
        yield address


@contextmanager
def reached_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    """A hub that huggingface_hub calls, with a token that it takes."""
    hub = TakingHub()
    with taking_hub(hub) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
