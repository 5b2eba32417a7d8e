"""A job as its task sees it: progress, saved state, the lease, and when to end."""

from collections.abc import Callable
from dataclasses import dataclass

from auditor.records.audits import Verdicts

LOCAL_QUEUE = "here"
"""The stored queue name of jobs that no worker runs, but the process that made them."""

Progress = Callable[[str, int, int], None]
"""Told the part of an audit that is under way, how far it is, and of how much."""


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """The connection of a running task to its job. Whatever these functions raise ends the task.

    Attributes:
        progress: report the part of the task that runs now, how much of it is done, and of how much.
        needs_measuring: whether an audit of this identity has to be measured; called once the model is loaded.
        earlier: the ID and the verdicts of the model's last complete result under the same setting; None without one.
        models: the number of models of the scan.
        renew_lease: renew the job's lease; False if the job belongs to another process now.
        load: what an earlier attempt saved under this key; None if there is nothing, or it has another key.
        save: store a state under a key for a later attempt, in place of the last one; an empty state says that the
            loaded one was of no use.
        stopped: called several times a second while a child process runs; raises when the task has to end.
    """

    progress: Progress = lambda *_: None
    needs_measuring: Callable[[str], bool] = lambda _: True
    earlier: "Callable[[], tuple[int, Verdicts] | None]" = lambda: None
    models: Callable[[], int] = lambda: 1
    renew_lease: Callable[[], bool] = lambda: True
    load: Callable[[str], bytes | None] = lambda _: None
    save: Callable[[str, bytes], None] = lambda *_: None
    stopped: Callable[[], None] = lambda: None
