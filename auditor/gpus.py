"""The memory of this machine's GPUs, as nvidia-smi says: it comes with the driver, so no package is needed to ask."""

import subprocess
from typing import NamedTuple

MIB = 2**20
QUERY = (
    "nvidia-smi",
    "--query-gpu=index,name,memory.used,memory.total,utilization.gpu",
    "--format=csv,noheader,nounits",
)


class Gpu(NamedTuple):
    """Bytes; ``busy`` from 0 to 1. None where the driver does not say."""

    number: str
    name: str
    used: int | None
    total: int | None
    busy: float | None


def find_gpus() -> list[Gpu]:
    """Empty where there is no GPU, no driver, or it does not answer."""
    try:
        asked = subprocess.run(QUERY, capture_output=True, text=True, errors="replace", timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in asked.stdout.splitlines() if (gpu := parse(line)) is not None]


def parse(line: str) -> Gpu | None:
    """``0, NVIDIA A100-SXM4-40GB, 1234, 40960, 87``; a card may say [N/A] in place of any number."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) < 5:
        return None
    number, *name, used, total, busy = parts
    percent = _number(busy)
    return Gpu(number, ", ".join(name), _bytes(used), _bytes(total), None if percent is None else percent / 100)


def _bytes(mebibytes: str) -> int | None:
    number = _number(mebibytes)
    return None if number is None else int(number * MIB)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
