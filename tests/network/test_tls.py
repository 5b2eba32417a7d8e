"""TLS against real servers: unsigned certificates and other names are refused before a password is sent."""

import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from auditor.config import settings
from auditor.db.session import make_engine, open_database
from auditor.errors import AuditorError, EnvironmentUnusableError
from auditor.jobs import queue as dispatch
from auditor.machine.doctor import Finding, examine
from tests.factories.services import Cluster, closed_at_the_end
from tests.workers.team import Redis, free_port

PASSWORD = "hunter2"
HERE = "0.0.0.0"  # leads here as well, and is no address of this machine alone


class Authority:
    """Signs certificates, with openssl; ``cert`` is its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cert, self.key = folder, folder / "ca.pem", folder / "ca.key"
        self._openssl("req", "-x509", "-keyout", self.key, "-out", self.cert, "-subj", "/CN=authority")

    def sign(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """Certificate and key for a server of these names."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extension = ["-addext", f"subjectAltName={','.join(alternatives)}", "-addext", "basicConstraints=CA:FALSE"]
        signed = ["-CA", self.cert, "-CAkey", self.key]
        self._openssl("req", "-x509", *signed, "-keyout", key, "-out", cert, "-subj", f"/CN={name}", *extension)
        return cert, key

    def _openssl(self, command: str, *arguments: str | Path) -> None:
        new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subprocess.run(["openssl", command, *new, *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def right(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("right", "IP:127.0.0.1", "DNS:localhost", f"IP:{HERE}")


@pytest.fixture(scope="module")
def wrong(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("wrong", "DNS:other.example")


@contextlib.contextmanager
def redis_with(certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port of a Redis with TLS and a password."""
    port = free_port()
    files = ["--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1])]
    redis = Redis("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    try:
        redis.ask("CONFIG", "SET", "requirepass", PASSWORD)
        yield port
    finally:
        redis.stop()


def ask(monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[str, Finding]:
    """What a sender of jobs hears of a broker, empty where all is well, and what the doctor says."""
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    settings.cache_clear()
    try:
        dispatch.check_broker()
        dispatch.count_waiting("cpu")
        said = ""
    except AuditorError as error:
        said = str(error)
    (finding,) = [one for one in examine(settings()) if one.subject == "broker"]
    assert PASSWORD not in said + finding.text
    return said, finding


@pytest.mark.long
def test_redis_with_tls(
    authority: Authority, right: tuple[Path, Path], wrong: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_with(right) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        said, finding = ask(monkeypatch, url)
        assert "certificate verify failed" in said
        assert "?ssl_ca_certs=FILE or SSL_CERT_FILE" in said
        assert finding.state == "broken"
        said, finding = ask(monkeypatch, f"{url}?ssl_ca_certs={authority.cert}")
        assert (said, finding.state) == ("", "ok")
        assert "TLS, certificate and host name checked" in finding.text
        said, finding = ask(monkeypatch, f"{url}?ssl_cert_reqs=none")
        assert (said, finding.state) == ("", "ok")
        assert "the certificate is NOT checked" in finding.text
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
        assert ask(monkeypatch, url)[0] == ""
        assert ask(monkeypatch, url.replace("127.0.0.1", "localhost"))[0] == ""
        assert "invalid username-password pair" in ask(monkeypatch, url.replace(PASSWORD, "other"))[0]
    with redis_with(wrong) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        assert "IP address mismatch" in ask(monkeypatch, url)[0]
        said, finding = ask(monkeypatch, f"{url}?ssl_check_hostname=false")
        assert (said, finding.state) == ("", "ok")
        assert "host name NOT checked" in finding.text


@contextlib.contextmanager
def stub(certificate: tuple[Path, Path]) -> Iterator[tuple[int, list[bytes]]]:
    """A server with TLS that is none, and what its clients tell it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening, heard = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                with contextlib.suppress(OSError), peer:
                    peer.settimeout(5)
                    with context.wrap_socket(peer, server_side=True) as stream:
                        heard.append(stream.recv(400))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1], heard
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


@pytest.mark.long
def test_rabbitmq_with_tls(
    authority: Authority, right: tuple[Path, Path], wrong: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = f"ssl_ca_certs={authority.cert}"
    for certificate, host, query, words in (
        (right, "127.0.0.1", "", "certificate verify failed"),
        (wrong, "127.0.0.1", trusted, "mismatch"),
        (wrong, "localhost", trusted, "mismatch"),
        (right, "127.0.0.1", trusted, None),
        (right, "localhost", trusted, None),
        (wrong, "127.0.0.1", f"{trusted}&ssl_check_hostname=false", None),
        (right, "127.0.0.1", "ssl_cert_reqs=none", None),
    ):
        with stub(certificate) as (port, heard):
            said, finding = ask(monkeypatch, f"amqps://me:{PASSWORD}@{host}:{port}//?{query}")
        assert bool(heard) == (words is None), (query, said)
        assert words is None or words in said
        assert finding.state == "broken"  # it is no RabbitMQ


@pytest.mark.long
def test_redis_by_a_file_s_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = Redis(socket=tmp_path / "redis.sock")
    try:
        assert ask(monkeypatch, redis.url)[0] == ""
        assert ask(monkeypatch, f"{redis.url}?virtual_host=3")[0] == ""
        redis.ask("CONFIG", "SET", "requirepass", f"{PASSWORD}/#")
        assert "uthentication required" in ask(monkeypatch, redis.url)[0]
        url = redis.url.replace("://", f"://:{PASSWORD}%2F%23@")
        said, finding = ask(monkeypatch, url)
        assert (said, finding.state) == ("", "ok")
    finally:
        redis.stop()


@contextlib.contextmanager
def postgresql_with(folder: Path, certificate: tuple[Path, Path] | None) -> Iterator[Cluster]:
    cluster = Cluster(folder, trusted="127.0.0.0/8")
    try:
        if certificate is not None:
            cluster.stop()
            place = folder / "cluster"
            for source, name in zip(certificate, ("server.crt", "server.key"), strict=True):
                (place / name).write_bytes(source.read_bytes())
                (place / name).chmod(0o600)
                if cluster.as_user:
                    subprocess.run(["chown", "postgres", place / name], check=True)
            with (place / "postgresql.conf").open("a") as conf:
                conf.write("ssl = on\n")
            cluster.start()
        with closed_at_the_end("postgres"):
            yield cluster
    finally:
        cluster.stop()


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[str, bool | None]:
    """What is said where it fails, and whether the connection is encrypted."""
    monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
    settings.cache_clear()
    try:
        open_database(url).dispose()
    except EnvironmentUnusableError as error:
        return str(error), None
    engine = make_engine(url)
    with engine.connect() as connection:
        encrypted = connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar()
    engine.dispose()
    return "", encrypted


@pytest.mark.long
def test_postgresql_with_tls(
    authority: Authority,
    right: tuple[Path, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with postgresql_with(tmp_path_factory.mktemp("postgresql"), right) as cluster:
        url = f"postgresql://postgres:{PASSWORD}@{HERE}:{cluster.port}/postgres"
        said, _ = connect(monkeypatch, url)
        assert "certificate verify failed" in said
        assert "?sslrootcert=FILE or SSL_CERT_FILE" in said
        assert PASSWORD not in said
        assert connect(monkeypatch, f"{url}?sslrootcert={authority.cert}") == ("", True)
        assert connect(monkeypatch, f"{url}?sslmode=require") == ("", True)
        (finding,) = [one for one in examine(settings()) if one.subject == "database"]
        assert (finding.state, "NOT checked (sslmode=require)" in finding.text) == ("ok", True)
        assert connect(monkeypatch, f"{url}?sslmode=disable") == ("", False)
        assert connect(monkeypatch, url.replace(HERE, "127.0.0.1"))[0] == ""
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
        assert connect(monkeypatch, url) == ("", True)
        (finding,) = [one for one in examine(settings()) if one.subject == "database"]
        assert "TLS, certificate and host name checked" in finding.text


@pytest.mark.long
def test_postgresql_with_a_certificate_of_another_name_or_without_tls(
    authority: Authority,
    wrong: tuple[Path, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with postgresql_with(tmp_path_factory.mktemp("postgresql"), wrong) as cluster:
        url = f"postgresql://postgres@{HERE}:{cluster.port}/postgres?sslrootcert={authority.cert}"
        assert "does not match" in connect(monkeypatch, url)[0]
        assert connect(monkeypatch, f"{url}&sslmode=verify-ca") == ("", True)
    with postgresql_with(tmp_path_factory.mktemp("postgresql"), None) as cluster:
        url = f"postgresql://postgres@{HERE}:{cluster.port}/postgres"
        said, _ = connect(monkeypatch, url)
        assert "does not support SSL" in said
        assert "?sslmode=disable" in said
        assert connect(monkeypatch, f"{url}?sslmode=disable") == ("", False)
