"""Which device an audit runs on, and with how many threads."""

import os

from auditor.errors import EnvironmentUnusableError, UsageError


def share_of_threads(processes: int) -> int | None:
    """Threads for each of so many processes; None, all of torch's choice, for one alone."""
    return None if processes == 1 else max(1, (os.cpu_count() or 1) // processes)


def check_device(name: str) -> str:
    """The device's name, once it is known to be there.

    Raises:
        UsageError: it is not the name of a device.
        EnvironmentUnusableError: this machine does not have it.
    """
    if name == "cpu":
        return name
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"expected a device such as cpu, cuda or cuda:1, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"expected a device such as cpu, cuda or cuda:1, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentUnusableError(f"no device {name!r} here: torch sees {torch.cuda.device_count()} GPUs")
    return name
