"""An object store on loopback that speaks as much of S3 as DuckDB asks for: put (in parts), get, head, list, delete.

It keeps everything in memory and believes every signature.
"""

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class ObjectStore(ThreadingHTTPServer):
    """`objects` by path, `/bucket/key`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectStore

    def do_HEAD(self) -> None:
        found = self.server.objects.get(self.key)
        self.reply(404 if found is None else 200, found or b"")

    def do_GET(self) -> None:
        if "list-type" in self.asked:
            return self.reply(200, self.listing())
        found = self.server.objects.get(self.key)
        if found is None:
            return self.reply(404)
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None:
            return self.reply(200, found)
        first, last = int(part[1]), min(int(part[2] or len(found)), len(found) - 1)
        return self.reply(206, found[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(found)}"})

    def do_PUT(self) -> None:
        if "partNumber" in self.asked:
            self.server.parts[self.asked["uploadId"]][int(self.asked["partNumber"])] = self.body()
        else:
            self.server.objects[self.key] = self.body()
        self.reply(200)

    def do_POST(self) -> None:
        self.body()
        if "uploads" in self.asked:
            upload = str(len(self.server.parts))
            self.server.parts[upload] = {}
            return self.reply(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
        parts = self.server.parts[self.asked["uploadId"]]
        self.server.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
        return self.reply(200, b"<R><ETag>x</ETag></R>")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.key, None)
        self.reply(204)

    @property
    def key(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)

    @property
    def asked(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def listing(self) -> bytes:
        bucket = f"/{self.key.strip('/').split('/')[0]}/"
        found = (key.removeprefix(bucket) for key in self.server.objects if key.startswith(bucket))
        keys = [key for key in found if key.startswith(self.asked.get("prefix", ""))]
        return f"<R>{''.join(f'<Contents><Key>{key}</Key></Contents>' for key in keys)}</R>".encode()

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"x"', **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        thread = Thread(target=store.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
