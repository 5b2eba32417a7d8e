"""Connections to MLflow, a tracking server or a store in files."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from auditor.errors import EnvironmentUnusableError, UsageError, first_line, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # the user has named the folder
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own seven take minutes to say that a server is away
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def check_uri(uri: str) -> str:
    """Return a tracking URI as MLflow understands it; a folder becomes an absolute ``file://`` address.

    Raises:
        UsageError: the URI has another form, or could have a secret, which every process of this machine could read.
    """
    try:
        parts = urlsplit(uri)
        host, is_secret = parts.hostname, parts.username is not None or parts.password is not None
    except ValueError:
        parts, host, is_secret = urlsplit("invalid:"), None, False
    if is_secret or (parts.scheme in ("http", "https") and (parts.query or parts.fragment)):
        raise UsageError(
            "--mlflow: expected an address without user name, password and parameters; set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if (parts.scheme in ("http", "https") and host) or (parts.scheme == "sqlite" and parts.path.strip("/")):
        return uri
    if parts.scheme == "file" and not host and parts.path.startswith("/"):
        return uri
    if not parts.scheme and uri.strip():
        return Path(uri).expanduser().absolute().as_uri()
    raise UsageError(
        "--mlflow: expected the address of a server (http://HOST:5000), sqlite:///FILE or a folder, "
        f"got {one_line(uri)!r}"
    )


def is_local(uri: str) -> bool:
    """Whether a tracking URI is a store in files of this machine, and not a server's address."""
    return urlsplit(check_uri(uri)).scheme not in ("http", "https")


def absolute_uri(uri: str) -> str:
    """Return a tracking URI that means the same in every working directory; a folder becomes an absolute path.

    Raises:
        UsageError: as :func:`check_uri`.

    Example:
        >>> absolute_uri("file:///srv/mlruns"), absolute_uri("http://127.0.0.1:5000")
        ('/srv/mlruns', 'http://127.0.0.1:5000')
    """
    parts = urlsplit(check_uri(uri))
    if parts.scheme == "file":
        return unquote(parts.path)
    if parts.scheme == "sqlite" and not parts.netloc:
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return uri


@contextlib.contextmanager
def mlflow_client(uri: str | None) -> Iterator["MlflowClient"]:
    """Give a client of a tracking URI; None for the server that MLflow's own environment variables name.

    Raises:
        EnvironmentUnusableError: MLflow is not installed, the server does not answer, or refuses a request.
    """
    if find_spec("mlflow") is None:
        raise EnvironmentUnusableError("MLflow is not installed: pip install 'auditor[mlflow]'")
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, about its own plans
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        try:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            yield client
        except (MlflowException, OSError) as error:
            raise EnvironmentUnusableError(f"MLflow: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The innermost cause of a connection that failed, which MLflow and urllib3 wrap in long sentences."""
    line = first_line(error)
    if "Max retries exceeded" not in line:
        return line
    host, _, rest = line.partition("host='")[2].partition("'")
    return f"cannot reach {host}: {rest.rpartition(': ')[2].rstrip(')').rstrip(chr(34))}"
