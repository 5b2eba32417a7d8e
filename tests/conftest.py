"""Shared by all tests. In CI a skipped test is a failure, unless what it misses is an accelerator."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis_settings

from auditor import logs, tracing
from auditor.config import settings
from auditor.data.fashion_mnist import DEBIAN_FOLDER, load_demo
from auditor.text import redaction
from tests.factories.collector import collector, recorder  # noqa: F401
from tests.factories.migrated import copied_instead, template  # noqa: F401
from tests.factories.services import EMPTY, bare, lent, migrated, server  # noqa: F401

hypothesis_settings.register_profile("auditor", deadline=None)  # these machines are noisy
hypothesis_settings.load_profile("auditor")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("sqlite", "postgresql"), default="sqlite", help="what each test's own database is"
    )
    parser.addoption("--device", default="cpu", help="where the tests of tests/devices run their models, e.g. cuda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL, what is about SQLite's files is left out, and what is tried on both databases anyway."""
    if config.getoption("--database") == "sqlite":
        return
    left_out = [item for item in items if item.get_closest_marker("sqlite") or "[sqlite" in item.name]
    left_out += [item for item in items if "[postgresql" in item.name]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "accelerator" not in reason:
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where everything must be there: {reason}"
    return report


@pytest.fixture(autouse=True)
def _own_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has a database of its own, and settings of nobody else."""
    for name in [name for name in os.environ if name.startswith(("AUDITOR_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "_settings", None)
    root = logging.getLogger()
    level = root.level
    with _own_database(request, tmp_path) as url, _quick_migrations(request):
        monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
        settings.cache_clear()
        redaction.forget()
        yield
        tracing.shut_down()
        settings.cache_clear()
        redaction.forget()
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, logs._ToStderr)]
    root.setLevel(level)


def _own_database(request: pytest.FixtureRequest, folder: Path) -> contextlib.AbstractContextManager[str]:
    if request.config.getoption("--database") == "sqlite":
        return contextlib.nullcontext(f"sqlite:///{folder}/auditor.db")
    return lent(request.getfixturevalue("migrated"), *EMPTY)


def _quick_migrations(request: pytest.FixtureRequest) -> contextlib.AbstractContextManager[None]:
    if request.node.get_closest_marker("migrations"):
        return contextlib.nullcontext()
    return copied_instead(request.getfixturevalue("template"))


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("needs the whole of Fashion-MNIST: install Debian's package dataset-fashion-mnist")
    return DEBIAN_FOLDER


@pytest.fixture(scope="session")
def demo_images() -> tuple[torch.Tensor, torch.Tensor]:
    """The shipped images ``(1000, 1, 28, 28)`` in [0, 1] and labels."""
    pixels, labels, _ = load_demo()
    return torch.from_numpy(pixels.astype(np.float32) / 255)[:, None], torch.from_numpy(labels)
