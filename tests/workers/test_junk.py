"""Whatever lies in a queue, a worker lives: it refuses what is none of auditor's messages, and runs what comes next."""

import base64
import json
import os
import pickle
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.message import Message
from redis import Redis as Client

from auditor.config import settings
from auditor.db.session import open_database
from auditor.jobs.queue import sender_settings
from tests.workers.team import Team, until
from workers.messages import why_refused, why_unreadable

NOTHING: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
HEADERS = {"lang": "py", "task": "auditor.audit", "id": "389fd56d-499c-48c6-8263-ad47796d836f", "timelimit": [20, 10]}
ABSENT = 2_000_000_000


def body(*arguments: Any, **then: Any) -> str:
    return json.dumps([arguments, {}, NOTHING | then])


# Headers, body, content type: of messages that every broker delivers.
JUNK: dict[str, tuple[dict[str, Any], str | bytes, str]] = {
    "not JSON": (HEADERS, "hello", "application/json"),
    "half of it": (HEADERS, '[[1], {}, {"chain"', "application/json"),
    "no UTF-8": (HEADERS, b"\xff\xfe[1]", "application/json"),
    "empty": (HEADERS, "", "application/json"),
    "deep": (HEADERS, "[" * 30_000, "application/json"),
    "huge": (HEADERS, body("x" * 5_000_000), "application/json"),
    "a number": (HEADERS, "17", "application/json"),
    "null": (HEADERS, "null", "application/json"),
    "an object": (HEADERS, '{"id": 1}', "application/json"),
    "another protocol's": ({}, json.dumps({"task": "auditor.audit", "id": "1", "args": [1]}), "application/json"),
    "of this one and another": (HEADERS, json.dumps({"args": [1], "kwargs": {}}), "application/json"),
    "two arguments": (HEADERS, body(1, 2), "application/json"),
    "no argument": (HEADERS, body(), "application/json"),
    "a named argument": (HEADERS, json.dumps([[1], {"audit_id": 2}, NOTHING]), "application/json"),
    "a word": (HEADERS, body("one"), "application/json"),
    "a fraction": (HEADERS, body(1.5), "application/json"),
    "true": (HEADERS, body(True), "application/json"),
    "a list": (HEADERS, body([1]), "application/json"),
    "negative": (HEADERS, body(-1), "application/json"),
    "too large": (HEADERS, body(2**31), "application/json"),
    "far too large": (HEADERS, body(10**4000), "application/json"),
    "not a number": (HEADERS, body(float("nan")), "application/json"),
    "one that sends another": (HEADERS, body(1, chain=[{"task": "auditor.audit"}]), "application/json"),
    "one that calls back": (HEADERS, body(1, callbacks=["x"]), "application/json"),
    "a pickle": (HEADERS, pickle.dumps([[1], {}, NOTHING]), "application/x-python-serialize"),
    "YAML": (HEADERS, "[[1], {}, {}]", "application/x-yaml"),
    "no content type": (HEADERS, body(1), ""),
    "unknown task": (HEADERS | {"task": "os.system"}, body(1), "application/json"),
    "Celery's own task": (HEADERS | {"task": "celery.map"}, body(1), "application/json"),
    "no task": ({"id": "1"}, body(1), "application/json"),
    "a task that is a list": (HEADERS | {"task": ["auditor.audit"]}, body(1), "application/json"),
    "no id": ({"task": "auditor.audit"}, body(1), "application/json"),
    "an id of two lines": (HEADERS | {"id": "a\nb"}, body(1), "application/json"),
    "limits that are words": (HEADERS | {"timelimit": ["a", "b"]}, body(1), "application/json"),
    "one limit": (HEADERS | {"timelimit": [1]}, body(1), "application/json"),
    "a date that is none": (HEADERS | {"eta": "tomorrow", "expires": {}}, body("x"), "application/json"),
    "compressed, it says": (HEADERS | {"compression": "application/x-gzip"}, body(1), "application/json"),
}  # fmt: skip


def envelope(headers: Any, content: str | bytes, kind: str, **changed: Any) -> dict[str, Any]:
    """As kombu puts a message into Redis."""
    content = content.encode() if isinstance(content, str) else content
    properties = {
        "delivery_info": {"exchange": "auditor", "routing_key": "cpu"},
        "delivery_tag": uuid.uuid4().hex,
        "body_encoding": "base64",
        "priority": 0,
    }
    found = {"body": base64.b64encode(content).decode(), "content-encoding": "utf-8", "content-type": kind}
    return found | {"headers": headers, "properties": properties} | changed


def _without(name: str) -> str:
    whole = envelope(HEADERS, body(1), "application/json")
    return json.dumps({key: value for key, value in whole.items() if key != name})


def _with(**properties: Any) -> str:
    whole = envelope(HEADERS, body(1), "application/json")
    return json.dumps(whole | {"properties": whole["properties"] | properties})


# What may lie in a list of Redis beside messages.
ITEMS: dict[str, str | bytes] = {
    "a word": "hello",
    "bytes": b"\x80\x04\x95\xff\x00",
    "nothing": "",
    "half of it": _with()[:100],
    "deep": "[" * 30_000,
    "null": "null",
    "a number": "17",
    "a list": "[1, 2]",
    "an object": "{}",
    "a type that is none": '{"__type__": "datetime", "__value__": "tomorrow"}',
    "another type that is none": '{"__type__": "uuid", "__value__": {"hex": 7}}',
    "no body": _without("body"),
    "no properties": _without("properties"),
    "no headers": _without("headers"),
    "no tag": _with(delivery_tag=None),
    "a tag that is a list": _with(delivery_tag=[]),
    "no delivery": _with(delivery_info=None),
    "half a delivery": _with(delivery_info={"exchange": "auditor"}),
    "no base64": json.dumps(envelope(HEADERS, "", "application/json", body="%%%")),
    "an encoding that is none": _with(body_encoding="rot13"),
    "a body that is an object": json.dumps(envelope(HEADERS, "", "application/json", body={"a": 1})),
    "headers that are a list": json.dumps(envelope(["task"], body(1), "application/json")),
    "huge": json.dumps(envelope(HEADERS, "x" * 5_000_000, "application/json")),
}  # fmt: skip


def test_what_auditor_sends_is_none_of_it() -> None:
    """Each piece of junk is that by one thing alone: without it, it is a message."""
    given: dict[str, Any] = {"content_type": "application/json", "content_encoding": "utf-8"}
    assert why_refused(Message(body=body(1), headers=HEADERS, **given)) is None
    assert why_unreadable(json.loads(_with())) is None


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused_with_a_reason_of_one_line(name: str) -> None:
    headers, content, kind = JUNK[name]
    if "compression" in headers:
        assert Message(body=content, headers=headers).errors
        return
    reason = why_refused(Message(body=content, headers=headers, content_type=kind, content_encoding="utf-8"))
    assert reason is not None
    assert len(reason.splitlines()) == 1
    assert reason.startswith("expected ")


def send_real(app: Celery, queue: str) -> None:
    """A message as auditor sends it, of a job that is not there: who runs it says so."""
    app.send_task("auditor.audit", args=[ABSENT], queue=queue, soft_time_limit=100, time_limit=200)


@pytest.mark.long
def test_a_worker_of_redis_lives_through_junk(team: Team) -> None:
    worker = team.worker().ready()
    pool = worker.pool()
    with Client.from_url(team.broker.url) as client:
        for item in [*ITEMS.values(), *(json.dumps(envelope(*one)) for one in JUNK.values())]:
            client.lpush("cpu", item)
        until(lambda: client.llen("cpu") == 0, 60, "the junk is taken")
        app = Celery(broker=team.broker.url)
        app.conf.update(sender_settings(team.broker.url))
        send_real(app, "cpu")
        until(lambda: f"audit {ABSENT} is not in the database" in worker.read_log(), 30, worker.read_log()[-3000:])
        until(lambda: client.hlen("unacked") == 0, 30, "nothing is left unacknowledged")
    said = worker.read_log()
    assert "Traceback" not in said
    assert said.count("a message is refused: ") == len(ITEMS) + len(JUNK)
    assert worker.process.poll() is None
    assert set(pool) <= set(worker.pool())


@pytest.fixture
def rabbit() -> Iterator[tuple[str, str]]:
    """RabbitMQ, and a queue of one's own."""
    try:
        socket.create_connection(("127.0.0.1", 5672), 3).close()
    except OSError:
        pytest.skip("needs RabbitMQ at 127.0.0.1:5672, which does not answer")
    url, name = "amqp://guest:guest@127.0.0.1:5672//", f"junk-{uuid.uuid4().hex}"
    yield url, name
    with Connection(url) as connection:
        Queue(name, Exchange(name), name).bind(connection.default_channel).delete()
        Exchange(name).bind(connection.default_channel).delete()


# `auditor worker` serves the queues cpu and gpu; this one serves a queue of the test's own.
WORKER = """
import sys
from workers import __main__ as worker
from workers.options import Options

usual = {"gpus": (), "processes": 1, "threads": 1, "max_jobs": 100, "grace": 1.0, "trust_code": False}
Options.resolve = lambda queue: Options(queue=queue, **usual)
worker.main(sys.argv[1])
"""


@pytest.mark.long
def test_a_worker_of_rabbitmq_lives_through_junk(rabbit: tuple[str, str], tmp_path: Path) -> None:
    url, name = rabbit
    open_database(settings().database_url).dispose()
    log = tmp_path / "worker.log"
    with log.open("wb") as file, Connection(url) as connection:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER, name],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "AUDITOR_BROKER_URL": url},
        )
        try:
            until(lambda: " ready." in log.read_text(), 60, "the worker is ready")
            producer = connection.Producer()
            for headers, content, kind in JUNK.values():
                raw = content.encode() if isinstance(content, str) else content
                how = {"headers": headers, "content_type": kind, "content_encoding": "utf-8"}
                producer.publish(raw, routing_key=name, exchange="", **how)
            app = Celery(broker=url)
            app.conf.update({**sender_settings(url), "task_queues": [Queue(name, Exchange(name), name)]})
            send_real(app, name)
            until(lambda: f"audit {ABSENT} is not in the database" in log.read_text(), 60, "the message is taken")
            said = log.read_text()
            assert "Traceback" not in said
            assert said.count("a message is refused: ") == len(JUNK)
            assert worker.poll() is None
        finally:
            worker.terminate()
            worker.wait(30)
