"""The alerts, by promtool on series that must fire each and that must not; the dashboard, by Grafana's own types."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus-alerts.yml"

# By alert: the minute of the question, and by series the values of each minute: those that fire it, and those that
# must not. ``axb`` is promtool's short form: a value, steps and their number.
CASES: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    "AuditorDatabaseAway": (10, {"auditor_up": "1x5 0x9"}, {"auditor_up": "1x8 0 1x9"}),
    "AuditorMetricsAway": (20, {"auditor_up": "1x5 _x20"}, {"auditor_up": "1x25"}),
    "AuditorBrokerAway": (
        20,
        {'auditor_broker_up{job="a"}': "1x5 0x20"},
        {'auditor_broker_up{job="a"}': "1x17 0x3"},
    ),
    "AuditorNobodyWorks": (
        20,
        {'auditor_queue_depth{queue="gpu"}': "3x30", 'auditor_workers{queue="gpu"}': "0x30"},
        {
            'auditor_queue_depth{queue="gpu"}': "3x30",
            'auditor_workers{queue="gpu"}': "1x30",
            'auditor_workers{queue="cpu"}': "0x30",
        },
    ),
    "AuditorQueueStands": (
        5,
        {'auditor_oldest_queued_seconds{queue="cpu"}': "86401x9"},
        {'auditor_oldest_queued_seconds{queue="cpu"}': "86000x9"},
    ),
    "AuditorMessagesMissing": (
        30,
        {'auditor_queue_depth{queue="cpu"}': "5x40", 'auditor_broker_messages{queue="cpu"}': "3x40"},
        {'auditor_queue_depth{queue="cpu"}': "5x25 0x20", 'auditor_broker_messages{queue="cpu"}': "5x40"},
    ),
    "AuditorWorkersAreLost": (
        90,
        {"auditor_leases_expired_total": "9x60 14x40"},
        {"auditor_leases_expired_total": "9x60 11x40"},
    ),
    "AuditorAuditsFail": (
        90,
        {  # old failures are tried again, and new ones come
            'auditor_audits{state="failed"}': "40x40 8x60",
            'auditor_audits_ended_within_hour{state="failed",queue="cpu"}': "0x40 8x60",
            'auditor_audits_ended_within_hour{state="done",queue="gpu"}': "0x40 4x60",
        },
        {  # all old failures, and more of them than audits were ever done
            'auditor_audits{state="failed"}': "0x40 90x60",
            'auditor_audits_ended_within_hour{state="failed",queue="cpu"}': "0x40 4x60",
            'auditor_audits_ended_within_hour{state="done",queue="gpu"}': "0x40 8x60",
        },
    ),
    "AuditorGpuIsFull": (
        20,
        {'auditor_gpu_memory_used_bytes{gpu="0"}': "98x30", 'auditor_gpu_memory_bytes{gpu="0"}': "100x30"},
        {'auditor_gpu_memory_used_bytes{gpu="0"}': "98x5 50x30", 'auditor_gpu_memory_bytes{gpu="0"}': "100x40"},
    ),
}


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: install Debian's package prometheus")
    return found


def _expand(values: str) -> str:
    """Promtool's series: each part ``VxN`` is V, N times."""
    parts = []
    for part in values.split():
        value, _, number = part.partition("x")
        parts.append(part if value == "_" or not number else f"{value}+0x{int(number) - 1}")
    return " ".join(parts)


def _test(promtool: str, folder: Path, alert: str, series: dict[str, str], minute: int, labels: Any) -> None:
    """Run the rules on the series; ``labels`` are those of the alert that must fire, None if none may."""
    fires = {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []}
    if labels is not None:
        fires["exp_alerts"] = [{"exp_labels": labels}]
    inputs = [{"series": name, "values": _expand(values)} for name, values in series.items()]
    one = {"interval": "1m", "input_series": inputs, "alert_rule_test": [fires]}
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [one]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


LABELS: dict[str, dict[str, str]] = {
    "AuditorBrokerAway": {"job": "a"},
    "AuditorNobodyWorks": {"queue": "gpu"},
    "AuditorQueueStands": {"queue": "cpu"},
    "AuditorMessagesMissing": {"queue": "cpu"},
    "AuditorGpuIsFull": {"gpu": "0"},
}


@pytest.mark.parametrize("alert", CASES)
def test_each_alert_fires_when_it_must_and_only_then(alert: str, promtool: str, tmp_path: Path) -> None:
    minute, bad, good = CASES[alert]
    _test(promtool, tmp_path, alert, bad, minute, LABELS.get(alert, {}))
    _test(promtool, tmp_path, alert, good, minute, None)


def test_every_alert_is_tested_and_documented(promtool: str) -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == set(CASES)
    page = (DEPLOY.parent / "docs" / "observability.md").read_text()
    assert all(f"`{rule['alert']}`" in page for rule in rules)
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    register_default_plugins()  # the types of queries and panels
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    assert list(_missing(board, again)) == []


def _missing(given: Any, read: Any, path: str = "") -> Any:
    """Places in ``given`` that ``read`` has not, or has another value for."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            yield from _missing(value, read[name], f"{path}.{name}") if name in read else [f"{path}.{name}"]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, pair in enumerate(zip(given, read, strict=True)):
            yield from _missing(*pair, f"{path}[{number}]")
    elif given != read:
        yield path
