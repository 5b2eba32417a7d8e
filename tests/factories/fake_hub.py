"""A server that answers as the Hugging Face hub does to its client's downloads, from a folder ``owner/name/files``."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class FakeHub:
    """The address of the server, and the commit of all its repositories."""

    url: str
    revision: str = "a" * 40


def _digest(content: bytes | Path) -> str:
    return hashlib.sha1(content.read_bytes() if isinstance(content, Path) else content).hexdigest()


@contextlib.contextmanager
def serve_hub(folder: Path) -> Iterator[FakeHub]:
    """Serve the repositories in a folder until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, *, body: bool) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                files = sorted((folder / parts[2] / parts[3]).glob("*"))
                about: object = {
                    "id": "/".join(parts[2:4]),
                    "sha": FakeHub.revision,
                    "siblings": [{"rfilename": path.name} for path in files],
                }
                if "tree" in parts:
                    about = [
                        {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _digest(path)}
                        for path in files
                    ]
                self.send(200 if files else 404, json.dumps(about).encode(), body)
            elif len(parts) == 5 and parts[2] == "resolve" and (folder / parts[0] / parts[1] / parts[4]).is_file():
                self.send(200, (folder / parts[0] / parts[1] / parts[4]).read_bytes(), body)
            else:
                self.send(200 if len(parts) == 2 else 404, b"", body)

        def send(self, status: int, content: bytes, body: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{_digest(content)}"')
            self.send_header("X-Repo-Commit", FakeHub.revision)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield FakeHub(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
