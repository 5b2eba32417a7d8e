"""The client of a server's HTTP API: one method for each operation."""

import base64
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
import msgspec
from httpx_sse import EventSource

from auditor.client import models
from auditor.client.connection import Connection, UnreadableAnswerError
from auditor.client.listing import Listing
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.files import write_atomically
from auditor.records.corruptions import CorruptionsName
from auditor.records.norms import NormName
from auditor.records.protocols import ProtocolName
from auditor.records.results import State
from auditor.records.scans import ACTIVE_STATES

Row = TypeVar("Row", bound=msgspec.Struct)
Job = TypeVar("Job", models.ScanDetail, models.Boost, models.Adaptation)
MatrixKind = Literal["weights", "centred", "deflated", "features"]
POLL_SECONDS = RECONNECT_SECONDS = 2.0
MOST_RECONNECTS = 30
"""Attempts in a row to follow a job whose event stream broke off."""


class ResultFilters(TypedDict, total=False):
    """The filters of ``auditor results list``."""

    scan: int
    model: str
    match: str
    source: str
    dataset: str
    protocol: ProtocolName
    norm: NormName | CorruptionsName
    eps: float
    architecture: str
    training: str
    since: datetime
    until: datetime
    linearization: Literal["remove", "fold"]
    correlation: Literal["exact", "sketch"]
    status: State
    flagged: bool
    history: bool
    sort: str


class Client:
    """A client of one auditor server; a context manager that closes its connections.

    Lists are :class:`~auditor.client.listing.Listing`: iterate over them, or call ``to_pandas()``, ``to_polars()``.
    Accuracies are fractions from 0 to 1, radii in units of the [0, 1] pixels, times in UTC; what could not be measured
    is None. Requests that only read are repeated while the server is unavailable, others only if the server has
    certainly not run them.

    Args:
        url: the server's address, such as ``https://audits.example.com``.
        token: a token of ``auditor tokens add``; an open server needs none for reading.
        timeout: seconds to connect, and to wait for each part of a response.
        insecure: whether the token may be sent unencrypted (``http://``) to another machine.

    Raises (every method):
        NotFoundError: the ID or name is unknown.
        ConflictError: the state of the job rules the request out.
        AccessDeniedError: the token is missing, invalid, or does not have the scope that the request needs.
        UsageError: a parameter is out of range, and the base of the three above.
        EnvironmentUnusableError: the server cannot be reached, or its database is not usable.

    Example:
        >>> from auditor.client import Client, ScanBody
        >>> with Client("http://127.0.0.1:8000", token) as client:                                  # doctest: +SKIP
        ...     scan = client.start_scan(ScanBody(source="demo", protocol="quick"))
        ...     client.wait_for_scan(scan.scan)
        ...     table = client.list_results(scan=scan.scan).to_pandas()
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 60.0, insecure: bool = False) -> None:
        self._connection = Connection(url, token, timeout, insecure)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.http.close()

    def get_health(self) -> models.Health:
        """Ask whether the server and its database respond; it needs no token."""
        return self._connection.read("/health", models.Health)

    def list_models(
        self, *, source: str | None = None, dataset: str | None = None, limit: int | None = None
    ) -> Listing[models.Model]:
        """List the models of all scans by name; ``limit`` is the maximum number of rows, here and in all lists."""
        return self._list("/models", "models", models.Model, limit, source=source, dataset=dataset)

    def get_model(self, name: str) -> models.ModelDetail:
        """Read one model by its full name, such as ``demo:standard``, with its newest results."""
        return self._connection.read(f"/models/{_quote(name)}", models.ModelDetail)

    def list_results(self, *, limit: int | None = None, **filters: Unpack[ResultFilters]) -> Listing[models.Result]:
        """List the newest result of each model under each setting; ``sort``: a column, descending with ``-`` before."""
        return self._list("/results", "results", models.Result, limit, **filters)

    def list_audits(self, *, limit: int | None = None, **filters: Unpack[ResultFilters]) -> Listing[models.Result]:
        """List every audit, also those that newer ones have replaced, the newest first."""
        return self._list("/audits", "results", models.Result, limit, **filters)

    def get_result(self, number: int) -> models.ResultDetail:
        """Read one result in full: attacks, scores, matrices, and the verdict on each sample."""
        return self._connection.read(f"/results/{number}", models.ResultDetail)

    def get_matrix(self, number: int, kind: MatrixKind = "weights") -> models.MatrixShown:
        """Read C (``weights``, ``centred``, ``deflated``) or F (``features``), with the order of the dendrogram."""
        return self._connection.read(f"/results/{number}/matrices/{kind}", models.MatrixShown)

    def get_matrix_picture(self, number: int, kind: MatrixKind = "weights") -> bytes:
        """Read the same matrix as the content of a PNG file."""
        return self._connection.get(f"/results/{number}/matrices/{kind}/picture").content

    def get_curve(self, number: int) -> models.Curve:
        """Read the robust accuracy at every radius of an audit with ``curve``."""
        return self._connection.read(f"/audits/{number}/curve", models.Curve)

    def compare(self, a: str, b: str, protocol: ProtocolName | None = None) -> models.Comparison:
        """Compare two models sample by sample; ``NAME@ID`` selects one result."""
        return self._connection.read("/comparison", models.Comparison, a=a, b=b, protocol=protocol)

    def list_scans(
        self,
        *,
        state: Literal["running", "done", "interrupted"] | None = None,
        source: str | None = None,
        limit: int | None = None,
    ) -> Listing[models.Scan]:
        """List scans, the newest first."""
        return self._list("/scans", "scans", models.Scan, limit, state=state, source=source)

    def get_scan(self, number: int) -> models.ScanDetail:
        """Read one scan with its audits."""
        return self._connection.read(f"/scans/{number}", models.ScanDetail)

    def start_scan(self, body: models.ScanBody) -> models.ScanDetail:
        """Start a scan; it needs the scope ``scan``."""
        return self._connection.send("POST", "/scans", models.ScanDetail, body)

    def cancel_scan(self, number: int) -> models.ScanDetail:
        """Cancel the queued audits of a scan, and end the running ones."""
        return self._connection.send("POST", f"/scans/{number}/cancel", models.ScanDetail)

    def retry_scan(self, number: int) -> models.ScanDetail:
        """Run the failed and cancelled audits of a scan again."""
        return self._connection.send("POST", f"/scans/{number}/retry", models.ScanDetail)

    def follow_scan(self, number: int) -> Iterator[models.ScanDetail]:
        """Yield a scan at once and after each change, always with all its audits, until it has ended."""
        audits: dict[int, models.ScanAudit] = {}
        for scan in self._follow(f"/scans/{number}", "scan", models.ScanDetail):
            audits |= {audit.audit: audit for audit in scan.audits}
            yield msgspec.structs.replace(scan, audits=list(audits.values()))

    def wait_for_scan(self, number: int, *, timeout: float | None = None) -> models.ScanDetail:
        """Wait until a scan has ended, and return it. Raises TimeoutError after ``timeout`` seconds."""
        return _wait(lambda: self.get_scan(number), timeout)

    def list_boosts(self, *, limit: int | None = None) -> Listing[models.Boost]:
        """List boosts, the newest first."""
        return self._list("/boosts", "boosts", models.Boost, limit)

    def get_boost(self, number: int) -> models.Boost:
        """Read one boost, with the validation scores of each epoch."""
        return self._connection.read(f"/boosts/{number}", models.Boost)

    def start_boost(self, body: models.BoostBody) -> models.Boost:
        """Start a boost; it needs the scope ``boost``."""
        return self._connection.send("POST", "/boosts", models.Boost, body)

    def cancel_boost(self, number: int) -> models.Boost:
        """Cancel a boost. Its last saved epoch is kept."""
        return self._connection.send("POST", f"/boosts/{number}/cancel", models.Boost)

    def resume_boost(self, number: int) -> models.Boost:
        """Resume a failed or cancelled boost from its last saved epoch."""
        return self._connection.send("POST", f"/boosts/{number}/resume", models.Boost)

    def follow_boost(self, number: int) -> Iterator[models.Boost]:
        """Yield a boost at once and after each change, until it has ended."""
        return self._follow(f"/boosts/{number}", "boost", models.Boost)

    def wait_for_boost(self, number: int, *, timeout: float | None = None) -> models.Boost:
        """Wait until a boost has ended, and return it. Raises TimeoutError after ``timeout`` seconds."""
        return _wait(lambda: self.get_boost(number), timeout)

    def list_adaptations(
        self,
        *,
        state: State | None = None,
        limit: int | None = None,
    ) -> Listing[models.Adaptation]:
        """List adaptations, the newest first."""
        return self._list("/adaptations", "adaptations", models.Adaptation, limit, state=state)

    def get_adaptation(self, number: int) -> models.Adaptation:
        """Read one adaptation with its scores."""
        return self._connection.read(f"/adaptations/{number}", models.Adaptation)

    def cancel_adaptation(self, number: int) -> models.Adaptation:
        """Cancel an adaptation. It saves no progress."""
        return self._connection.send("POST", f"/adaptations/{number}/cancel", models.Adaptation)

    def follow_adaptation(self, number: int) -> Iterator[models.Adaptation]:
        """Yield an adaptation at once and after each change, until it has ended."""
        return self._follow(f"/adaptations/{number}", "adaptation", models.Adaptation)

    def list_checkpoints(self, *, limit: int | None = None) -> Listing[models.Checkpoint]:
        """List the checkpoints of boosts, the newest first, with the audits before and after."""
        return self._list("/checkpoints", "checkpoints", models.Checkpoint, limit)

    def get_checkpoint(self, number: int) -> models.CheckpointDetail:
        """Read one checkpoint, with the digest of its file."""
        return self._connection.read(f"/checkpoints/{number}", models.CheckpointDetail)

    def download_weights(self, number: int, path: Path | str) -> Path:
        """Download a checkpoint's safetensors file to ``path``; it appears there once its digest has been checked.

        Raises:
            EnvironmentUnusableError: the download broke off, or its content does not have the digest.
            OSError: the file cannot be written.
        """
        path, digest = Path(path), hashlib.sha256()
        try:
            with self._connection.stream(f"/checkpoints/{number}/weights") as response, write_atomically(path) as file:
                for piece in response.iter_bytes(1 << 20):
                    digest.update(piece)
                    file.write(piece)
                expected = response.headers.get("Repr-Digest", "")
                if expected != f"sha-256=:{base64.b64encode(digest.digest()).decode()}:":
                    raise EnvironmentUnusableError(
                        f"checkpoint {number} was changed on its way: its SHA-256 is not the one that the server "
                        "announced; download it again"
                    )
        except httpx.HTTPError as error:
            raise self._connection.unreachable(error) from error
        return path

    def list_schedules(self) -> list[models.Schedule]:
        """List all schedules by name."""
        return self._connection.read("/schedules", models.Schedules).schedules

    def put_schedule(self, name: str, body: models.ScheduleBody) -> models.Schedule:
        """Create or replace a schedule; it needs the scope ``admin``."""
        return self._connection.send("PUT", f"/schedules/{_quote(name)}", models.Schedule, body)

    def run_schedule(self, name: str) -> models.Schedule:
        """Run the command of a schedule now."""
        return self._connection.send("POST", f"/schedules/{_quote(name)}/run", models.Schedule)

    def delete_schedule(self, name: str) -> None:
        """Remove a schedule. Its scans stay."""
        self._connection.send("DELETE", f"/schedules/{_quote(name)}", type(None))

    def list_workers(self) -> models.Workers:
        """Read the processes that run jobs, and the workers' queues."""
        return self._connection.read("/workers", models.Workers)

    def _list(self, path: str, key: str, row_type: type[Row], limit: int | None, **query: Any) -> Listing[Row]:
        page_type = msgspec.defstruct("Page", [(key, list[row_type]), ("next", str | None)])  # type: ignore[valid-type]

        def read_page(cursor: str | None, size: int) -> tuple[list[Row], str | None]:
            page: Any = self._connection.read(path, page_type, cursor=cursor, limit=size, **query)
            return getattr(page, key), page.next

        return Listing(row_type, read_page, limit)

    def _follow(self, path: str, name: str, job_type: type[Job]) -> Iterator[Job]:
        """Yield the events of a job; a stream that breaks off is opened again, and then begins with the whole job."""
        failures = 0
        while True:
            try:
                with self._connection.stream(f"{path}/events", Accept="text/event-stream") as response:
                    for event in EventSource(response).iter_sse():
                        failures = 0
                        if event.event == "end":
                            return
                        if event.event == name:
                            yield self._connection.decode(event.data, job_type)
                failure: Exception = EnvironmentUnusableError(f"the event stream of {path} ended before the job did")
            except UnreadableAnswerError:
                raise
            except EnvironmentUnusableError as error:
                failure = error
            except httpx.HTTPError as error:
                failure = self._connection.unreachable(error)
            failures += 1
            if failures > MOST_RECONNECTS:
                raise failure
            time.sleep(RECONNECT_SECONDS)


def _quote(name: str) -> str:
    """Encode a name for a path; the slashes of a model's name stay."""
    if not name:
        raise UsageError("name: expected a name, got an empty text")
    return quote(name, safe="/:")


def _wait(read: Callable[[], Job], timeout: float | None) -> Job:
    """Read a job until it has ended."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    while (job := read()).state in ACTIVE_STATES:
        if time.monotonic() > end:
            raise TimeoutError(f"the job has not ended within {timeout:g} s; its state is {job.state}")
        time.sleep(POLL_SECONDS)
    return job
