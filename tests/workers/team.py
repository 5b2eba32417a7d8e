"""A team for a test: a zoo, a broker and workers as real processes, which the test may stop, kill and freeze."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import torch
from amqp.exceptions import ChannelError
from click.testing import CliRunner, Result
from kombu import Connection
from safetensors.torch import save_file
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from auditor.cli import main
from auditor.config import settings
from tests.workers import nets

ENDED = ("done", "failed", "cancelled")


def until(true: Callable[[], Any], seconds: float = 60, what: str = "") -> Any:
    """What ``true`` gives once that is something; the test fails where it takes too long."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Redis:
    """A broker of one's own, which keeps nothing on disk; ``within`` comes before its command, ``options`` after."""

    def __init__(self, *options: str, within: Sequence[str] = (), socket: Path | None = None) -> None:
        self.options, self.within, self.socket = options, within, socket
        if shutil.which("redis-server") is None:
            pytest.skip("needs Debian's package redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0" if socket is None else f"redis+socket://{socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        command = [*self.within, *command, *self.options]
        command += [] if self.socket is None else ["--unixsocket", str(self.socket)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: self.ask("PING") == "PONG", 20, "Redis answers")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL; what it has not written to a file is lost."""
        self.process.kill()
        self.process.wait()

    def ask(self, *words: str) -> str:
        where = ["-p", str(self.port)] if self.socket is None else ["-s", str(self.socket)]
        command = ["redis-cli", *where, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def waiting(self, queue: str) -> int:
        """The messages of a queue that no worker has taken."""
        return int(self.ask("LLEN", queue) or 0)


class Relay:
    """A TCP relay to a port of this machine, whose connections a test may cut."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self.ends += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65_536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> int:
        """Reset all connections; returns their number."""
        ends, self.ends = self.ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return len(ends) // 2

    def close(self) -> None:
        self.listening.close()
        self.cut()


class RabbitMQ:
    """The machine's RabbitMQ behind a relay, with a virtual host of one's own where ``rabbitmqctl`` can make one."""

    def __init__(self) -> None:
        self.direct = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
        address = urlsplit(self.direct)
        self.relay = Relay(address.port or 5672)
        self.host = f"auditor_test_{uuid.uuid4().hex}"
        self.own = _rabbitmqctl("add_vhost", self.host) and _rabbitmqctl(
            "set_permissions", "-p", self.host, address.username or "guest", ".*", ".*", ".*"
        )
        path = self.host if self.own else "/"
        secret = address.netloc.rpartition("@")[0]
        self.direct = f"amqp://{address.netloc}/{path}"
        self.url = f"amqp://{secret}@127.0.0.1:{self.relay.port}/{path}"
        self.purge("cpu")

    def purge(self, queue: str) -> None:
        with Connection(self.direct) as connection, contextlib.suppress(ChannelError):
            connection.default_channel.queue_purge(queue)

    def waiting(self, queue: str) -> int:
        """The messages of a queue that no worker has taken."""
        with Connection(self.direct) as connection:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)

    def close(self) -> None:
        self.relay.close()
        if self.own:
            _rabbitmqctl("delete_vhost", self.host)


def _rabbitmqctl(*words: str) -> bool:
    try:
        return subprocess.run(["rabbitmqctl", *words], capture_output=True, check=False, timeout=120).returncode == 0
    except OSError:
        return False


class Zoo:
    """A local zoo whose models are made of tests/workers/nets.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables: list[str] = []
        folder.mkdir()
        shutil.copy(nets.__file__, folder / "nets.py")

    def add(self, *names: str, function: str = "tiny", **kwargs: Any) -> None:
        for name in names:
            torch.manual_seed(len(self.tables))
            net = nets.Slow(0) if function == "slow" else nets.tiny()
            save_file(net.state_dict(), self.folder / f"{name}.safetensors")
            given = ", ".join(f"{key} = {json.dumps(value)}" for key, value in kwargs.items())
            self.tables.append(
                f'[[models]]\nname = "{name}"\nweights = "{name}.safetensors"\ndataset = "fashion_mnist"\n'
                f'norm = "Linf"\neps = 0.1\nmean = "none"\nstd = "none"\n'
                f'architecture = {{ python = "nets.py:{function}", kwargs = {{ {given} }} }}\n'
            )
        (self.folder / "zoo.toml").write_text("\n".join(self.tables))

    def gate(self, name: str) -> None:
        """A model that is loaded once :meth:`open` is called."""
        self.add(name, function="gated", name=name)

    def open(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def loading(self, name: str, seconds: float = 60) -> int:
        """The process that loads a gated model, once there is one."""
        file = self.folder / f"{name}.loading"
        pid = int(until(lambda: file.exists() and file.read_text(), seconds, f"{name} is being loaded"))
        file.unlink()
        return pid


class Worker:
    """``auditor worker`` as a process, in a session of its own; ``within`` comes before its command."""

    def __init__(
        self,
        folder: Path,
        number: int,
        *options: str,
        trusting: bool = True,
        within: Sequence[str] = (),
        **environment: str,
    ):
        self.log = folder / f"worker-{number}.log"
        program = [*within, sys.executable, "-m", "auditor", "worker", "--queue", "cpu", *options]
        program += ["--trust-code"] if trusting else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                program,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                start_new_session=True,
            )

    def ready(self) -> "Worker":
        until(lambda: " ready." in self.read_log(), 60, f"the worker is ready; it said {self.read_log()}")
        return self

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """The worker and all below it, where they live."""
        try:
            one = psutil.Process(self.process.pid)
            return [one, *one.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pool(self) -> list[int]:
        """The processes of the pool."""
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "workers.reaper" not in child.cmdline()]

    def kill_pool(self) -> None:
        """SIGKILL for the processes of the pool, which the worker replaces."""
        for pid in self.pool():
            os.kill(pid, signal.SIGKILL)

    def signal(self, number: int, *, all_of_it: bool = False) -> None:
        for process in self.family() if all_of_it else [self.process]:
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(process.pid, number)

    def kill(self) -> None:
        """SIGKILL for the worker; what is below it has to notice."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        family = self.family()
        self.signal(signal.SIGCONT, all_of_it=True)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(20)


class Team:
    """All of it, on the test's own database."""

    def __init__(
        self, folder: Path, broker: Redis | RabbitMQ, monkeypatch: pytest.MonkeyPatch, lease: float = 3
    ) -> None:
        self.folder, self.broker = folder, broker
        self.zoo = Zoo(folder / "zoo")
        self.workers: list[Worker] = []
        monkeypatch.setenv("AUDITOR_BROKER_URL", broker.url)
        monkeypatch.setenv("AUDITOR_LEASE_SECONDS", str(lease))
        settings.cache_clear()
        self.url = os.environ["AUDITOR_DATABASE_URL"]

    def worker(self, *options: str, trusting: bool = True, within: Sequence[str] = (), **environment: str) -> Worker:
        made = Worker(self.folder, len(self.workers), *options, trusting=trusting, within=within, **environment)
        self.workers.append(made)
        return self.workers[-1]

    def auditor(self, *arguments: object) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    def scan(self, *options: object) -> int:
        """``auditor scan local ZOO --queue``; the scan's number."""
        result = self.auditor("scan", "local", self.zoo.folder, "--queue", "--trust-code", *options)
        assert result.exit_code == 0, result.output
        return max(row["scan"] for row in self.rows("SELECT MAX(id) AS scan FROM scans"))

    def rows(self, query: str) -> list[dict[str, Any]]:
        engine = create_engine(self.url, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return [dict(row._mapping) for row in connection.execute(text(query))]
        finally:
            engine.dispose()

    def audits(self, scan_id: int) -> dict[str, dict[str, Any]]:
        """A scan's audits by the model's name."""
        (scan,) = json.loads(self.auditor("scans", "show", scan_id, "--format", "json").stdout)
        return {row["model"].removeprefix("local:"): row for row in scan["audits"]}

    def ended(self, scan_id: int, seconds: float = 90) -> dict[str, dict[str, Any]]:
        """A scan's audits, once all have ended: none is lost, none stored twice, and the queue drains."""
        query = f"SELECT state FROM scans WHERE id = {scan_id} AND state <> 'running'"
        until(lambda: self.rows(query), seconds, f"scan {scan_id} ends; {self.read_log()}")
        found = self.audits(scan_id)
        assert {row["state"] for row in found.values()} <= set(ENDED)
        assert all(row["reason"] for row in found.values() if row["state"] != "done")
        twice = self.rows("SELECT audit_id, kind FROM clusterings GROUP BY audit_id, kind HAVING COUNT(*) > 1")
        assert twice == []
        scored = Counter(
            row["audit_id"] for row in self.rows("SELECT audit_id FROM clusterings WHERE kind = 'weights'")
        )
        done = {row["audit"] for row in found.values() if row["state"] == "done"}
        assert done <= set(scored)
        assert not {row["audit"] for row in found.values() if row["state"] != "done"} & set(scored)
        until(lambda: self.broker.waiting("cpu") == 0, 120, "the queue drains")
        assert self.rows("SELECT audit_id FROM attack_progress") == []
        return found

    def read_log(self) -> str:
        """The last words of all workers."""
        return "\n".join(worker.read_log()[-2000:] for worker in self.workers)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


@contextlib.contextmanager
def make_team(
    folder: Path, broker: Redis | RabbitMQ, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[Team]:
    team = Team(folder, broker, monkeypatch, **options)
    try:
        yield team
    finally:
        team.end()
