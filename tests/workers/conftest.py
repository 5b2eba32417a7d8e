"""Brokers and teams. A worker takes seconds to start: tests that do it no harm share one broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.factories.services import EMPTY, lent
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
def team_with_passwords(
    tmp_path: Path, own_broker: Redis, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Team]:
    """A team whose broker and PostgreSQL have addresses with passwords, which end with "geheim"."""
    password = "br0ker-geheim"
    own_broker.ask("CONFIG", "SET", "requirepass", password)
    own_broker.url = own_broker.url.replace("redis://", f"redis://:{password}@")
    monkeypatch.setenv("REDISCLI_AUTH", password)
    with lent(migrated, *EMPTY) as url:
        address = make_url(url).set(password="db-geheim")
        monkeypatch.setenv("AUDITOR_DATABASE_URL", address.render_as_string(hide_password=False))
        with make_team(tmp_path, own_broker, monkeypatch) as made:
            yield made


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
