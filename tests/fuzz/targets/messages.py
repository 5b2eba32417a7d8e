"""Messages: a broker's to a worker, and a server's answers and events to the client."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import httpx

from auditor.client import Client
from auditor.client import client as client_module
from auditor.jobs.queue import TASKS
from auditor.text.printable import find_unprintable
from tests.fuzz.contract import BrokenPromiseError, Target
from workers.messages import LARGEST_ID, why_refused, why_unreadable

HEADERS = {"task": next(iter(TASKS.values())), "id": "1-2-3", "timelimit": [None, None]}


def queue_message(data: bytes, folder: Path) -> None:  # noqa: ARG001
    """``b``: a body; ``h``: headers; ``r``: an item of a queue of Redis."""
    kind, content = data[:1], data[1:]
    body: bytes | str = content if kind == b"b" else b"[[1], {}, {}]"
    given = _json(content) if kind in (b"h", b"r") else None
    headers = given if kind == b"h" else HEADERS
    message = SimpleNamespace(headers=headers, body=body, content_type="application/json", content_encoding="utf-8")
    reason = why_unreadable(given) if kind == b"r" else why_refused(message)
    if reason is not None and (find_unprintable(reason) or len(reason) > 500):
        raise BrokenPromiseError(f"a reason that cannot be logged: {reason!r:.200}")
    if reason is None and kind == b"b" and not 1 <= json.loads(body)[0][0] <= LARGEST_ID:
        raise BrokenPromiseError(f"a message that names no job: {body!r:.200}")


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def message_seeds() -> Sequence[bytes]:
    item = {"body": "W10=", "headers": {}, "properties": {"delivery_tag": "a", "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "cpu"}}}  # fmt: skip
    bodies = [[[7], {}, {}], [[7], {}, {"callbacks": None}], [["7"], {}, {}], [[7, 8], {"a": 1}, {}]]
    return [*(b"b" + json.dumps(body).encode() for body in bodies), b"h" + json.dumps(HEADERS).encode(),
            b"r" + json.dumps(item).encode()]  # fmt: skip


@functools.cache
def _client() -> tuple[Client, list[httpx.Response]]:
    """A client whose server gives the one answer in the list."""
    answers: list[httpx.Response] = []
    client = Client("http://127.0.0.1:1")
    connection = client._connection
    connection.http = httpx.Client(
        base_url=connection.http.base_url, transport=httpx.MockTransport(lambda _: answers[0])
    )
    return client, answers


def answer(data: bytes, folder: Path) -> None:
    """A server's answer: ``j`` a scan, ``l`` a list, ``e`` an error, ``s`` a stream of events, ``w`` weights."""
    client, answers = _client()
    kind, content = data[:1], data[1:]
    types = {b"s": "text/event-stream", b"w": "application/octet-stream"}
    status = 422 if kind == b"e" else 200
    answers[:] = [
        httpx.Response(status, content=content, headers={"Content-Type": types.get(kind, "application/json")})
    ]
    if kind == b"s":
        with mock.patch.object(client_module, "MOST_RECONNECTS", 0):
            for _ in client.follow_scan(1):
                pass
    elif kind == b"w":
        client.download_weights(1, folder / "a.safetensors")
    elif kind == b"l":
        list(client.list_models(limit=3))
    else:
        client.get_scan(1)


def answer_seeds() -> Sequence[bytes]:
    scan = _scan()
    events = f"event: scan\ndata: {scan}\n\n: ping\n\nevent: end\ndata: {{}}\n\n"
    models = '{"models": [], "next": null}'
    return [b"s" + events.encode(), b"j" + scan.encode(), b"l" + models.encode(), b'e{"detail": "a\\nb"}', b"wabc"]


def _scan() -> str:
    numbers = dict.fromkeys(("scan", "queued", "running", "done", "failed", "cancelled", "reused"), 1)
    words = {"source": "demo", "state": "done", "queue": "cpu", "protocol": "quick", "device": "cpu", "worker": None}
    times = {"silent_since": None, "started_at": "2026-01-01T00:00:00Z", "finished_at": None, "seconds": 1.0}
    return json.dumps(numbers | words | times | {"unserved": False, "seconds_left": None, "audits": []})


TARGETS = (
    Target("queue-message", queue_message, message_seeds, ("json.decoder",), length=1024),
    Target("server-answer", answer, answer_seeds, ("httpx_sse._decoders",), length=2048),
)
