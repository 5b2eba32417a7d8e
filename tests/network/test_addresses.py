"""URLs of brokers and databases: what is understood, what is refused and how, and that no secret is shown anywhere."""

import json
import os
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from auditor.cli import main
from auditor.config import settings
from auditor.db.session import engine_of, open_database
from auditor.errors import AuditorError, EnvironmentUnusableError, UsageError, first_line
from auditor.machine.doctor import examine
from auditor.network import connections
from auditor.network.addresses import read_address
from auditor.network.brokers import read_broker
from auditor.text import redaction
from auditor.text.redaction import redact, redact_urls

SECRETS = ("hunter2", "swordfish")


def whole(error: BaseException) -> str:
    text = str(error)
    assert len(text.splitlines()) == 1
    assert not [secret for secret in SECRETS if secret in text], text
    return text


@pytest.mark.parametrize("letter", "#/?[]@")
@pytest.mark.parametrize(
    "pattern",
    [
        "hunter2{}swordfish", "{}hunter2", "12{}34hunter2", "hunter2{0}{0}swordfish", "hunter2{0}=x&y=@swordfish",
    ],
)  # fmt: skip
@pytest.mark.parametrize("user", ["", "user.name"])
@pytest.mark.parametrize(
    "url",
    [
        "redis://{}@127.0.0.1:1/0", "rediss://{}@redis.example/0", "amqp://{}@127.0.0.1:1//", "amqps://{}@[::1]:5671/x",
        "postgresql+psycopg://{}@127.0.0.1:1/x", "postgres://{}@db.example/x?sslmode=require", "postgresql://{}@h:5/x",
    ],
)  # fmt: skip
def test_a_password_with_what_ends_a_part_of_a_url(letter: str, pattern: str, user: str, url: str) -> None:
    password = pattern.format(letter)
    read = connections.database_url if url.startswith("postgres") else read_broker
    with pytest.raises(UsageError) as caught:
        read(url.format(f"{user}:{password}"))
    text = whole(caught.value)
    assert "percent-encode" in text
    assert quote(letter, safe="") in text
    read(url.format(f"{user}:{quote(password, safe='')}"))  # as the error says


@pytest.mark.parametrize("password", ["50%off", "100%", "%zz", "a%2", "two words", "tab\there", "line\nhere", "a;b"])
def test_a_password_with_other_letters_that_are_encoded(password: str) -> None:
    with pytest.raises(UsageError, match="percent-encode") as caught:
        read_broker(f"redis://:hunter2{password}@127.0.0.1/0")
    whole(caught.value)
    if ";" not in password:
        with pytest.raises(EnvironmentUnusableError, match="percent-encode") as refused:
            engine_of(f"postgresql://me:hunter2{password}@127.0.0.1/x")
        whole(refused.value)


@pytest.mark.parametrize("password", ["a:b", "a$b", "a!b*c", "ü", "a+b", "a&b=c", "it's", "a,b", "%2523"])
def test_a_password_that_is_read_as_it_stands(password: str) -> None:
    given = read_address("X", f"redis://me:{password}@h:6379/0")
    assert given.password == password.replace("%25", "%")
    assert (
        make_url(f"postgresql://me:{password}@h/x").password
        == connections.database_url(f"postgres://me:{password}@h/x").password
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sentinel://a:26379;sentinel://b:26379", "sentinel:// is not supported"),
        ("unix:///run/redis.sock", "use redis+socket:///run/redis.sock"),
        ("redis+socket://run/redis.sock", "three slashes"),
        ("redis://h:hunter2/0", "no number as the port"),
        ("redis://h:99999/0", "no number as the port"),
        ("redis://h/hunter2", "the number of Redis's database"),
        ("redis://h/0?password=hunter2", "put user name and password before the host"),
        ("redis://h/0?ssl_cert_reqs=required", "go with rediss://"),
        ("rediss://h/0?ssl_cert_reqs=hunter2", "expected required or none"),
        ("rediss://h/0?ssl_check_hostname=hunter2", "expected true or false"),
        ("rediss://h/0?ssl_ca_certs=/no/such/file", "no such file: /no/such/file"),
        ("amqps://h/?ssl_password=hunter2", "is not known for amqps://"),
        ("rediss://h/0;redis://h2/0", "of one kind"),
        ("localhost:6379", "expected redis://… or amqp://…"),
        ("'redis://:hunter2@h/0'", "got quotes around it: remove them"),
    ],
)
def test_a_broker_that_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_broker(url)
    assert words in whole(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://~/x.db", "three slashes"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///~nobody_here/x.db", "home folder after sqlite:/// does not exist"),
        ("sqlite:///", "expected a file after sqlite:///, got none: is a variable empty?"),
        ("sqlite:///?timeout=3", "expected a file after sqlite:///"),
        ("sqlite:///$HOME/x.db", "a variable after sqlite:/// was not replaced"),
        ("sqlite:///what?.db", "expected name=value after the ?"),
        ("sqlite:///x.db?mode=ro", "SQLite does not know mode after the ?; it takes timeout, uri"),
        ("sqlite:///x.db?timeout=soon", "one of its parameters has a wrong value (ValueError)"),
        ('"sqlite:///x.db"', "got quotes around it: remove them"),
        ("'postgresql://me:hunter2@h/x'", "got quotes around it: remove them"),
        (" postgresql://me:hunter2@h/x", "got a space before it"),
        ("postgresql://me:hunter2@a:5432,b:5432/x", "write several hosts as ?host=a:5432&host=b:5432"),
        ("mysql://me:hunter2@h/x", "got 'mysql'"),
        ("postgresql+asyncpg://me:hunter2@h/x", "got 'postgresql+asyncpg'"),
        ("/var/lib/x.db", "got no such URL"),
        ("postgresql://h/x?hunter2=1", "PostgreSQL does not know a parameter"),
        ("postgresql://h/x?user=a&password=hunter2&swordfish", "name=value"),
        ("postgresql://%2Frun%2Fpostgresql/x", "?host=/run/postgresql"),
    ],
)
def test_a_database_that_is_refused(url: str, words: str) -> None:
    with pytest.raises(EnvironmentUnusableError) as caught:
        engine_of(url)
    assert words in whole(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///x%3Fy.db?timeout=3", "sqlite:///file:x%3Fy.db?mode=rwc&uri=true", "sqlite:///:memory:"]
)
def test_files_of_sqlite_with_parameters(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_database(url).dispose()


@pytest.mark.parametrize("url", ["postgres://me@h/x", "POSTGRESQL://me@h/x", "postgres+psycopg://me@h/x"])
def test_postgresql_by_its_other_names(url: str) -> None:
    assert str(connections.database_url(url)) == "postgresql+psycopg://me@h/x"


@pytest.mark.parametrize("url", ["sqlite:///~/deep/x.db", "sqlite:///~/deep/x.db?timeout=3", "SQLite:///~/deep/x.db"])
def test_the_home_folder_is_understood(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    open_database(url).dispose()
    assert (tmp_path / "home" / "deep" / "x.db").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("user=me&password=hunter2", "user=***&password=***"),
        ("sslmode=require&sslpassword=hunter2", "sslmode=require&sslpassword=***"),
        ("password=hunter2%26swordfish&host=127.0.0.1", "password=***&host=127.0.0.1"),
        ("passfile=/x&options=-c%20a=1", "passfile=***"),
    ],
)
def test_secrets_in_a_query_are_shown_by_nothing(query: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+psycopg://127.0.0.1:1/x?{query}"
    monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
    settings.cache_clear()
    (finding,) = [one for one in examine(settings()) if one.subject == "database"]
    results = [CliRunner().invoke(main, words) for words in (["results", "list"], ["db", "upgrade"])]
    said = [finding.text, *(one.output for one in results), redact(f"at {url}"), first_line(ValueError(f"no {url}"))]
    assert {one.exit_code for one in results} == {3}
    for text in said:
        assert not [secret for secret in SECRETS if secret in text], text
    assert shown in redact_urls(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("get https://me:hunter2@h/x?a=1", "get https://***@h/x?a=1"),
        ("get https://h/x.pth?token=hunter2&v=2", "get https://h/x.pth?token=***&v=2"),
        ("https://h/x?X-Amz-Signature=hunter2#k", "https://h/x?X-Amz-Signature=***#k"),
        ("https://h/cb#access_token=hunter2", "https://h/cb#access_token=***"),
        ("https://h/@someone/model", "https://h/@someone/model"),
        ("redis://:a#hunter2/b@h:1/0 is away", "redis://***@h:1/0 is away"),
        ("(amqp://me:hunter2@swordfish@h//)", "(amqp://***@h//)"),
        ("host=h password=hunter2 dbname=x", "host=h password=*** dbname=x"),
        ("sslpassword='hunter2 swordfish'", "sslpassword=***"),
        ("postgresql://h/x?user=me&password=hunter2&swordfish", "postgresql://h/x?user=***&password=***&***"),
        (
            "cannot use postgresql://h/x?password=hunter2: it is away",
            "cannot use postgresql://h/x?password=***: it is away",
        ),
        ("(see https://h/x?token=hunter2).", "(see https://h/x?token=***)."),
        ("nothing: at all?", "nothing: at all?"),
    ],
)
def test_a_text_without_secrets(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown
    assert str(AuditorError(text)) == shown


def test_texts_of_any_length_are_redacted_in_no_time() -> None:
    for text in ("a" * 10**6, "a." * 500_000, "a://" * 200_000, "token" * 200_000, "x=@" * 300_000):
        redact(text[:200_000])


def test_a_secret_is_hidden_however_it_is_written() -> None:
    redaction.hide_secrets_of("redis://:hunter%2F2%22%C3%BC@h/0")
    for text in ('hunter/2"ü', "hunter%2F2%22%C3%BC", json.dumps('hunter/2"ü')):
        assert "hunter" not in redact(f"WRONGPASS {text}")


def test_tls_of_redis_and_rabbitmq(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    found = read_broker(f"rediss://:pw@h/0?ssl_ca_certs={authority}")
    assert found.url == "rediss://:pw@h/0"
    assert found.tls == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": str(authority)
    }  # fmt: skip
    assert read_broker("rediss://h").tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert read_broker("amqps://h//").tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "h"}
    assert read_broker("amqps://localhost//").tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}
    assert read_broker("amqps://h//?ssl_check_hostname=false").tls == {"cert_reqs": ssl.CERT_REQUIRED}
    for off in ("none", "CERT_NONE"):
        assert read_broker(f"amqps://h//?ssl_cert_reqs={off}").tls == {"cert_reqs": ssl.CERT_NONE}
        assert "NOT checked" in read_broker(f"rediss://h/?ssl_cert_reqs={off}").safety
    assert read_broker("redis://127.0.0.1").safety == ""
    assert read_broker("redis://h").safety == "not encrypted"
    assert read_broker("amqp://a//;amqp://b//").url == "amqp://a//;amqp://b//"


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://db.example/x", "verify-full"),
        ("postgresql://10.0.0.7:5432/x", "verify-full"),
        ("postgresql:///x?host=db.example", "verify-full"),
        ("postgresql://127.0.0.1/x?host=127.0.0.1,db.example:5433", "verify-full"),
        ("postgresql://localhost/x?hostaddr=10.0.0.7", "verify-full"),
        ("postgresql://db.example/x?sslmode=require", "require"),
        ("postgresql://db.example/x?sslmode=disable", "disable"),
        ("postgresql://localhost/x?sslmode=verify-ca", "verify-ca"),
        ("postgresql://127.0.0.1/x", None),
        ("postgresql://[::1]:5432/x", None),
        ("postgresql://localhost/x", None),
        ("postgresql:///x", None),
        ("postgresql:///x?host=/run/postgresql", None),
    ],
)
def test_tls_of_postgresql(url: str, mode: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    parsed = connections.database_url(url)
    assert connections.sslmode(parsed) == mode
    options = connections.postgresql(parsed)
    assert options.get("sslmode") == (None if "sslmode" in url else mode)
    assert ("sslrootcert" in options) == ((mode or "").startswith("verify"))
    assert ("NOT checked" in connections.safety(parsed)) == (mode in ("require", "verify-ca"))
    monkeypatch.setenv("PGSSLMODE", "allow")
    assert connections.sslmode(parsed) == ("allow" if "sslmode" not in url else mode)


def test_the_password_of_an_encoded_url_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("redis://:hunter2%23swordfish@127.0.0.1:1/0", "amqp://me:hunter2%2Fswordfish@127.0.0.1:1//"):
        monkeypatch.setenv("AUDITOR_BROKER_URL", url)
        settings.cache_clear()
        result = CliRunner().invoke(main, ["scan", "demo", "--protocol", "screen", "--queue"])
        assert (result.exit_code, "***@127.0.0.1:1" in result.output) == (3, True)
        assert not [secret for secret in SECRETS if secret in result.output]
