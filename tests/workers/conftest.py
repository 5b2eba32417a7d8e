"""Brokers and teams. A worker takes seconds to start: tests that do it no harm share one broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.team import RabbitMQ, Redis, Team, make_team


@pytest.fixture(scope="session")
def broker() -> Iterator[Redis]:
    """For tests that leave it alive; each empties it first."""
    redis = Redis()
    yield redis
    redis.stop()


@pytest.fixture
def own_broker() -> Iterator[Redis]:
    """To be stopped and emptied."""
    redis = Redis()
    yield redis
    redis.stop()


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    made = RabbitMQ()
    yield made
    made.close()


@pytest.fixture
def team(tmp_path: Path, broker: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    broker.ask("FLUSHALL")
    with make_team(tmp_path, broker, monkeypatch) as made:
        yield made
