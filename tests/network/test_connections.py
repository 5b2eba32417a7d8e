"""Connections over links that are dead end in seconds, on both sides."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from auditor.db.session import make_engine
from auditor.network import connections
from tests.factories.services import BARE, lent


@pytest.mark.parametrize("query", ["", "?options=-c%20work_mem%3D5MB"])
def test_postgresql_itself_gives_up_a_client_that_is_gone(bare: str, query: str) -> None:
    with lent(bare, *BARE) as url:
        engine = make_engine(url + query)
        names = (
            "tcp_user_timeout",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_keepalives_count",
            "work_mem",
        )
        with engine.connect() as connection:
            shown = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
        engine.dispose()
    assert shown[:4] in (["20s", "10", "5", "2"], ["20000", "10", "5", "2"])
    assert shown[4] == ("5MB" if query else "4MB")


def test_a_client_of_redis_asks_a_silent_server() -> None:
    assert sorted(connections.redis().values()) == [2, 5, 10, 20_000]


def test_what_a_url_asks_for_comes_last() -> None:
    url = make_url("postgresql+psycopg://x/y?options=-c a=1")
    assert connections.postgresql(url)["options"].endswith(" -c a=1")
