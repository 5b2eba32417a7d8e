"""The command that starts the same scan again, from its stored request."""

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.jobs.limits import GIB, HOURS
from auditor.records.corruptions import is_corruptions, threat_model_of
from auditor.records.extra_attacks import attacks_in
from auditor.records.scans import ScanSettings
from auditor.records.sources import is_repository
from auditor.text.eps import format_eps, parse_eps

MOST_MODELS = 100
"""Scans of more models are repeated without naming them."""


def uses_folder(settings: ScanSettings) -> bool:
    """Whether it uses files of some machine, or a zoo's own code: HTTP can neither request nor retry such a scan."""
    request = settings.request
    folder = request.get("folder") and not (settings.source == "hub" and is_repository(str(request["folder"])))
    paths = folder or any(request.get(name) for name in ("data", "adversarials"))
    extra = attacks_in(request.get("extra_attacks"))
    others = extra is not None and (extra.runs_code or any(one.folder for one in extra.transfer))
    return bool(settings.source == "local" or paths or request.get("trust_code") or others)


def scan_command(settings: ScanSettings, models: Sequence[str], *, paths: bool = True) -> list[str]:
    """The words of the command.

    Args:
        settings: of the stored scan.
        models: the models of the scan; more than ``MOST_MODELS`` are not named.
        paths: whether paths of the machine that runs the scan are shown; else ``DIR`` and ``PATH`` stand for them.
    """
    request = settings.request
    words = ["auditor", "scan", settings.source]
    if folder := request.get("folder"):
        words.append(str(folder) if paths else "DIR")
    if len(models) <= MOST_MODELS:
        for model in models:
            words += ["--model", model.partition(":")[2]]
    words += ["--protocol", str(request.get("protocol"))]
    if request.get("samples") and request.get("protocol") != "screen" and not request.get("or_fewer"):
        words += ["--samples", str(request["samples"])]
    norms = {(subject.norm, subject.eps) for subject in settings.subjects}
    if len(norms) == 1:
        norm, eps = norms.pop()
        text = format_eps(eps)
        if is_corruptions(norm):
            return [*words, "--threat-model", threat_model_of(norm), *_options(request, paths)]
        words += ["--norm", norm, "--eps", text if parse_eps(text) == eps else repr(eps)]
    return [*words, *_options(request, paths)]


def _options(request: dict[str, Any], paths: bool) -> list[str]:
    """The options that are not at their defaults."""
    words = []
    if request.get("linearization", "remove") != "remove":
        words += ["--linearization", str(request["linearization"])]
    for name in ("sketch", "triage", "targeted", "certify", "sigma"):
        if request.get(name) is not None:
            words += [f"--{name}", str(request[name])]
    words += early_gate(request)
    words += _extra_attacks(request, paths)
    if request.get("seed"):
        words += ["--seed", str(request["seed"])]
    for name, option in (("data", "--data"), ("adversarials", "--save-adversarials")):
        if request.get(name):
            words += [option, str(request[name]) if paths else "PATH"]
    if request.get("device", "cpu") != "cpu":
        words += ["--device", str(request["device"])]
    seconds = request.get("seconds")
    if seconds is not None and seconds != 3600 * HOURS.get(str(request.get("protocol")), 0):
        words += ["--time-limit", f"{seconds / 60:g}"]
    if request.get("memory"):
        words += ["--memory-limit", f"{request['memory'] / GIB:g}"]
    for name in ("curve", "mixed_precision", "trust_code", "force"):
        if request.get(name):
            words.append(f"--{name.replace('_', '-')}")
    if request.get("reverify"):
        words += ["--reverify", str(len(request["reverify"]))]
    return words


def early_gate(request: Mapping[str, Any]) -> list[str]:
    """The options of the gate that ends an audit once it is decided."""
    if request.get("stop_at") is not None:
        return ["--fail-under", repr(request["stop_at"]), "--sequential"]
    return ["--fail-on-regression", "--sequential"] if request.get("stop_on_regression") else []


def _extra_attacks(request: dict[str, Any], paths: bool) -> list[str]:
    """The options of the attacks beyond the protocol's."""
    extra, words = attacks_in(request.get("extra_attacks")), list[str]()
    if extra is None:
        return words
    for attack in extra.own:
        words += ["--attack", f"{attack.path}:{attack.function}" if paths else f"PATH/{attack.name}"]
    for other in extra.transfer:
        words += ["--transfer-from", other.model]
    folders = {other.folder for other in extra.transfer if other.folder and other.model.startswith("local:")}
    for folder in folders - {request.get("folder")}:
        words += ["--transfer-zoo", folder if paths else "DIR"]
    return words
