"""Runs experiments one after the other; what cannot be run says why, and the others go on."""

import importlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auditor.data import CLASSES
from auditor.errors import AuditorError, NotFoundError
from auditor.reproduce.bench import Bench
from auditor.reproduce.catalogue import Experiment
from auditor.reproduce.records import ADAPTATION_DATA, ExperimentResult, Settings
from auditor.reproduce.work import Report, Work


def reproduce(
    experiments: Sequence[Experiment], settings: Settings, folder: Path, report: Report = lambda _: None
) -> list[ExperimentResult]:
    """The results of the experiments in their order; finished trainings and parts in ``folder`` are used again.

    Raises:
        UsageError: a setting is invalid, or the path of the work folder is a file.
        EnvironmentUnusableError: the work folder cannot be written.
        AuditorError: no experiment could run; the error is that of the first.
    """
    settings.check()
    if settings.dataset not in CLASSES:
        raise NotFoundError(f"no data set named {settings.dataset!r:.60}; expected one of: {', '.join(CLASSES)}")
    bench = Bench(settings, Work(folder, report))
    results, missing = [], []
    for experiment in experiments:
        started = time.perf_counter()
        report(f"{experiment.name}: {experiment.summary}")
        dataset = ADAPTATION_DATA.get(settings.dataset, settings.dataset) if experiment.adapts else settings.dataset
        try:
            result = importlib.import_module(f"auditor.reproduce.{experiment.name}").run(bench)
        except AuditorError as error:
            report(f"{experiment.name}: not run: {error}")
            missing.append(error)
            result = ExperimentResult(experiment=experiment.name, dataset=dataset, missing=str(error))
        results.append(replace(result, seconds=time.perf_counter() - started))
    if len(missing) == len(experiments):
        raise missing[0]
    return results
