"""A running server of the test's own database."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from auditor.config import settings
from auditor.db.session import open_database
from auditor.web.app import create_app
from tests.workers.team import until


@pytest.fixture
def url() -> Iterator[str]:
    """The address of the server, which anybody may read from."""
    app = create_app(open_database(settings().database_url), per_minute=1_000_000)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started, 60)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
