"""Spans of boosts: one for each attempt, below the command that started or resumed it."""

import json
from dataclasses import asdict
from typing import Any

from auditor import tracing
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.trainings import Trainings
from auditor.errors import MeasurementError
from auditor.jobs.heartbeat import Heartbeat
from auditor.records import AuditRequest, JobContext, Measurement
from auditor.records.boosts import EpochScore, RecipeOptions
from auditor.scans.request import ScanRequest
from auditor.trainings.boost import BoostAttempt, BoostRequest
from auditor.trainings.job import NullReporter, TrainingExecutor
from tests.factories.collector import ListRecorder
from tests.factories.records import entry


def train(source: Any, entry: Any, task: Any, context: JobContext) -> None:  # noqa: ARG001
    score = EpochScore(number=0, loss=1.0, clean_accuracy=0.5, pgd_accuracy=0.1, gap=0.2, seconds=1.0)
    context.save("history", json.dumps([asdict(score)]).encode())
    raise MeasurementError("its process crashed: SIGSEGV")


def test_each_attempt_is_a_part_of_the_command_that_started_it(recorder: ListRecorder) -> None:
    trainings = Trainings(open_database(settings().database_url))
    request = BoostRequest(
        recipe=RecipeOptions().make_recipe(eps=0.1, norm="Linf"),
        scan=ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=3)),
    )
    heartbeat = Heartbeat(trainings.engine, queue="cpu", device="cpu", lease=60)
    executor = TrainingExecutor(
        open_source=lambda *_: None, make_child=lambda *_: train, heartbeat=heartbeat, reporter=NullReporter()
    )
    with tracing.span("boost"):
        job = trainings.create("boost", "demo:standard", entry("standard"), request.to_json(), "cpu")
    for _ in range(2):
        loaded = trainings.load_job(job.training_id)
        assert BoostAttempt(trainings, loaded, request, executor).run().startswith("failed: ")
        with tracing.span("boost"):
            trainings.resume(job.training_id, "cpu")
    commands, attempts = recorder.named("boost"), recorder.named("attempt")
    assert [attempt.parent for attempt in attempts] == [recorder.traceparent(command) for command in commands[:2]]
    for number, attempt in enumerate(attempts, 1):
        assert attempt.kind == "consumer"
        assert attempt.error == "its process crashed: SIGSEGV"
        assert attempt.attributes["auditor.outcome"] == "failed"
        assert attempt.attributes["auditor.job"] == "boost"
        assert attempt.attributes["auditor.attempt"] == number
    (first, second) = recorder.named("train")
    assert (first.parent, second.parent) == tuple(attempts)
    assert first.events == [("epoch", {"auditor.number": 0})]
