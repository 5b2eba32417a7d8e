"""Checks what an audit needs on this machine; each problem comes with a remedy. Changes and downloads nothing."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from auditor.config import Settings
from auditor.data import CLASSES, check_images
from auditor.data.fashion_mnist import DEBIAN_FOLDER
from auditor.errors import AuditorError, first_line
from auditor.machine.devices import count_cores, count_memory
from auditor.records.versions import installed_version
from auditor.text.numbers import counted

GIB = 2**30
LITTLE_DISK = 5 * GIB
EXTRAS = {
    "zoos": ("robustbench", "RobustBench's and timm's models"),
    "timm": ("timm", "timm's models alone"),
    "hub": ("transformers", "transformers' models on the Hugging Face hub"),
    "onnx": ("onnx", "ONNX files in local zoos"),
    "service": ("celery", "workers and PostgreSQL"),
    "telemetry": ("opentelemetry-exporter-otlp-proto-http", "OpenTelemetry traces"),
    "mlflow": ("mlflow-skinny", "runs and registered models of MLflow"),
    "corruptions": ("imagecorruptions-imaug", "common corruptions that are generated"),
    "evidence": ("securesystemslib", "signed evidence"),
}
"""The package without which an extra is not installed, because extras share others; and what the extra is for."""
TESTED_TIMM = ("1.0.9", "1.0.31")
"""The versions of timm with which RobustBench's models gave the same numbers: docs/robustbench.md."""
State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True)
class Finding:
    """``ok``; ``absent``: only some work needs it; or ``broken``: ``text`` has the remedy."""

    subject: str
    state: State
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Run all checks; a check that raises an error becomes a finding."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _machine, _packages, _hub, _gpu, _database, _broker, _traces, _data_sets, _models, _disk,
    ]  # fmt: skip
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(settings)
        except Exception as error:  # the other checks must still run
            findings.append(Finding(check.__name__.strip("_").replace("_", " "), "broken", first_line(error)))
    return findings


def _machine(_: Settings) -> Iterator[Finding]:
    memory = count_memory() / GIB
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    yield Finding("machine", "ok", f"{count_cores()} cores, {memory:.0f} GiB of memory, {platform.platform()}")


def _packages(_: Settings) -> Iterator[Finding]:
    """Compare installed versions with those that auditor was tested with."""
    requirements = [Requirement(line) for line in requires("auditor") or ()]
    timm = next((one.specifier for one in requirements if one.name == "timm" and _belongs(one, "timm")), None)
    checked: set[tuple[str, str]] = set()  # extras may share a package
    for extra in ("", *EXTRAS):
        group = [one for one in requirements if _belongs(one, extra)]
        if extra and installed_version(EXTRAS[extra][0]) is None:
            yield Finding(f"[{extra}]", "absent", f"for {EXTRAS[extra][1]}, run pip install 'auditor[{extra}]'")
            continue
        for one in group:
            # RobustBench pins timm, but a newer one may be beside it.
            allowed = timm if one.name == "timm" and timm is not None else one.specifier
            found, needed = installed_version(one.name), str(allowed)
            if (one.name, needed) in checked:
                continue
            checked.add((one.name, needed))
            if found is None:
                yield Finding(one.name, "broken", f"not installed: pip install '{one.name}{one.specifier}'")
            elif not allowed.contains(found, prereleases=True):
                yield Finding(one.name, "broken", f"{found} is installed: pip install '{one.name}{one.specifier}'")
            else:
                yield Finding(one.name, "ok", f"{found} ({needed}{_tested(found) if one.name == 'timm' else ''})")


def _tested(timm: str) -> str:
    """Whether this version of timm was tested with RobustBench's models, if they are here."""
    if installed_version("robustbench") is None:
        return ""
    others = " and ".join(TESTED_TIMM)
    return "; tested" if timm in TESTED_TIMM else f"; not tested with RobustBench's models, as {others} are"


def _belongs(one: Requirement, extra: str) -> bool:
    """Whether a requirement belongs to an extra, or for "" to auditor itself."""
    if one.marker is None:
        return not extra
    return one.marker.evaluate({"extra": extra}) and (not extra or not one.marker.evaluate({"extra": ""}))


def _hub(_: Settings) -> Iterator[Finding]:
    """Check that timm can import huggingface_hub; without it, timm silently has no pretrained weights."""
    if installed_version("timm") is None:
        return
    from auditor.zoo.timm import has_hub

    if not has_hub():
        yield Finding("timm's hub", "broken", "no pretrained weights: pip install 'huggingface-hub>=0.36,<2'")
        return
    from huggingface_hub import constants

    offline = "; HF_HUB_OFFLINE is set, so nothing is downloaded" if constants.HF_HUB_OFFLINE else ""
    yield Finding("timm's hub", "ok", f"weights from {constants.ENDPOINT}, kept in {constants.HF_HUB_CACHE}{offline}")


def _gpu(_: Settings) -> Iterator[Finding]:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if names:
        yield Finding("gpu", "ok", ", ".join(names))
    else:
        yield Finding(
            "gpu", "absent", "torch finds no GPU; audits run on the CPU, where AutoAttack on large models takes days"
        )


def _database(settings: Settings) -> Iterator[Finding]:
    from auditor.db.session import open_database, schema_drift, shown
    from auditor.network.connections import safety

    try:
        engine = open_database(settings.database_url)
        drift = schema_drift(engine)
        engine.dispose()
    except AuditorError as error:
        yield Finding("database", "broken", str(error))
        return
    place = "; ".join(filter(None, (shown(engine.url), safety(engine.url))))
    if drift:
        yield Finding("database", "broken", f"{place}: {drift[0]}; see `auditor db check`")
    else:
        yield Finding("database", "ok", place)


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.broker_url is None:
        yield Finding("broker", "absent", "AUDITOR_BROKER_URL is not set; scans run in the process that starts them")
        return
    from auditor.network.brokers import advice, read_broker

    try:
        broker = read_broker(settings.broker_url)
    except AuditorError as error:
        yield Finding("broker", "broken", str(error))
        return
    from kombu.connection import Connection

    try:
        with Connection(broker.url, connect_timeout=3, ssl=broker.tls or False) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    except Exception as error:
        yield Finding("broker", "broken", f"{broker.shown} does not answer: {first_line(error)}{advice(error)}")
        return
    yield Finding("broker", "ok", "; ".join(filter(None, (broker.shown, broker.safety))))


def _traces(_: Settings) -> Iterator[Finding]:
    from auditor import tracing

    if not tracing.is_requested():
        yield Finding("traces", "absent", f"off; {tracing.ENDPOINTS[-1]} turns them on: see docs/observability.md")
        return
    try:
        tracing.check()
    except AuditorError as error:
        yield Finding("traces", "broken", str(error))
        return
    from auditor.tracing.otlp import shown_endpoint, why_not_taken

    reason = why_not_taken()
    if reason is None:
        yield Finding("traces", "ok", f"sent to {shown_endpoint()}")
    else:
        yield Finding("traces", "broken", f"{shown_endpoint()} does not take spans: {reason}")


def _data_sets(settings: Settings) -> Iterator[Finding]:
    for name in CLASSES:
        places = [settings.data, *([DEBIAN_FOLDER] if name == "fashion_mnist" else [])]
        found = [place for place in places if _has_data(place, name)]
        if found:
            yield Finding(f"data: {name}", "ok", f"in {found[0]}")
        else:
            rest = "; auditor contains 1,000 images" if name == "fashion_mnist" else ""
            yield Finding(f"data: {name}", "absent", f"not in {settings.data}{rest}: see docs/data.md, or use --data")


def _has_data(place: Path, name: str) -> bool:
    try:
        check_images(name, None, place)
    except AuditorError:
        return False
    return True


def _models(settings: Settings) -> Iterator[Finding]:
    folder = settings.robustbench_models
    files = len(list(folder.glob("*/*/*.pt*"))) if folder.is_dir() else 0
    if files:
        yield Finding("models: robustbench", "ok", f"{counted(files, 'file')} in {folder.resolve()}")
    else:
        where = f"none in {folder.resolve()}, they are downloaded when needed; see AUDITOR_ROBUSTBENCH_MODELS"
        yield Finding("models: robustbench", "absent", where)
    if installed_version("huggingface_hub") is not None:
        from huggingface_hub import constants

        cached = len(list(Path(constants.HF_HUB_CACHE).glob("models--*")))
        state: State = "ok" if cached else "absent"
        yield Finding("models: hub", state, f"{cached} in {constants.HF_HUB_CACHE}; others are downloaded when needed")


def _disk(settings: Settings) -> Iterator[Finding]:
    for subject, folder in (("data", settings.data), ("models", settings.robustbench_models)):
        existing = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.is_dir())
        free = shutil.disk_usage(existing).free
        text = f"{free / GIB:.0f} GiB free in {existing}"
        if free < LITTLE_DISK:
            yield Finding(
                f"disk: {subject}", "broken", f"{text}: free some space, because checkpoints take up to 2 GiB each"
            )
        else:
            yield Finding(f"disk: {subject}", "ok", text)
