"""A server of the test's own database, in this process, and what it may find there."""

import contextlib
import gzip
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from auditor.cli.schedule import check_remote_scan
from auditor.config import settings
from auditor.data.fashion_mnist import load_split
from auditor.db.session import open_database
from auditor.db.tokens import add_token
from auditor.db.trainings import Trainings
from auditor.records.boosts import BoostOutcome, Comparison, EpochScore, Recipe
from auditor.web import server
from auditor.web.app import create_app
from auditor.web.server import TimedProtocol
from auditor.zoo import find_source
from auditor.zoo.checkpoint import write_checkpoint
from auditor.zoo.digest import state_dict_digest
from tests.workers.team import until

HEAD, BODY = 0.6, 1.0
"""Seconds that the head and the body of a request may take at :func:`shorter_limits`."""


def client(**options: object) -> TestClient:
    """Raises nothing: a crash is a 500, as clients see it. Use it as a context to have its scans ended."""
    app = create_app(open_database(settings().database_url), **{"check_scan": check_remote_scan} | options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def token(scope: str, name: str = "", days: float | None = None) -> dict[str, str]:
    """The header of a new token."""
    return {"Authorization": f"Bearer {add_token(open_database(settings().database_url), name or scope, scope, days)}"}


def few_images(folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the data folder be one with 600 training images, and checkpoints lie beside it."""
    raw = folder / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    pixels, labels = (part[:600].astype(np.uint8) for part in load_split("train", whole))
    for name, part in (("train-images-idx3-ubyte", pixels), ("train-labels-idx1-ubyte", labels)):
        head = struct.pack(">HBB", 0, 8, part.ndim) + struct.pack(f">{part.ndim}I", *part.shape)
        (raw / f"{name}.gz").write_bytes(gzip.compress(head + part.tobytes()))
    monkeypatch.setenv("AUDITOR_DATA", str(folder / "data"))
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(folder / "checkpoints"))
    settings.cache_clear()


def boosted(before: int, after: int) -> bytes:
    """A boost that is done, with its checkpoint, its audits being these two; the bytes of its weights' file."""
    engine, recipe = open_database(settings().database_url), Recipe(method="at", eps=0.1, steps=5, step_size=0.02)
    origin = next(entry for entry in find_source("demo").entries() if entry.model == "demo:standard")
    request = {"recipe": asdict(recipe), "seconds": 60, "scan": {"protocol": "quick", "samples": 20, "device": "cpu"}}
    trainings = Trainings(engine)
    job = trainings.create("boost", "demo:standard", origin, request)
    attempt = trainings.leases.claim(job.training_id)
    assert attempt is not None
    epochs = [
        EpochScore(number=number, loss=2.0 - number, clean_accuracy=0.9, pgd_accuracy=0.1 * number, gap=0.1, seconds=1)
        for number in range(3)
    ]
    assert trainings.note_history(job.training_id, attempt, epochs)
    state = find_source("demo").load(origin).model.state_dict()
    write_checkpoint(
        settings().checkpoints, job.training_id, state, origin, zoo_folder=None, description="fine-tuned", training={}
    )
    weights = settings().checkpoints / str(job.training_id) / "model.safetensors"
    digests = {"parent_sha256": "a" * 64, "weights_sha256": state_dict_digest(state), "data_sha256": "d" * 64}
    made = BoostOutcome(parent="demo:standard", best_epoch=2, stopped=None, versions={"torch": "2.10"}, **digests)
    assert trainings.add_checkpoint(job.training_id, attempt, made)
    compared = Comparison(
        before_audit_id=before, after_audit_id=after, n=20, only_before=0, only_after=12, difference=0.6,
        difference_low=0.3, difference_high=0.8, p_value=0.0005,
    )  # fmt: skip
    assert trainings.finish_boost(job.training_id, attempt, compared, 3.0)
    return weights.read_bytes()


@contextlib.contextmanager
def shorter_limits(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a server as the commands run it, but for shorter limits."""
    monkeypatch.setattr(TimedProtocol, "HEAD_SECONDS", HEAD)
    monkeypatch.setattr(TimedProtocol, "BODY_SECONDS", BODY)
    monkeypatch.setattr(TimedProtocol, "READ_SECONDS", 1.5)
    made: list[uvicorn.Server] = []

    class Kept(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            made.append(self)

    monkeypatch.setattr(uvicorn, "Server", Kept)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=(app, listening))
        thread.start()
        until(lambda: made and made[0].started, 20)
        try:
            yield listening.getsockname()
        finally:
            made[0].should_exit = True
            thread.join(20)


def drip(connection: socket.socket, text: bytes, pause: float = 0.05) -> tuple[bytes, float]:
    """Send byte by byte; what came back, and after how long the connection was closed."""
    began, got = time.monotonic(), b""
    connection.settimeout(pause)
    for byte in text + b"x" * 1000:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(bytes([byte]))
        try:
            piece = connection.recv(65_536)
        except TimeoutError:
            continue
        except ConnectionResetError:
            piece = b""
        got += piece
        if not piece:
            return got, time.monotonic() - began
        if got.startswith(b"HTTP/1.1 200"):
            return got, time.monotonic() - began
    raise AssertionError("it was never closed")
