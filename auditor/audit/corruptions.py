"""Accuracy under common corruptions: every corruption of every image at every severity, without an attack."""

import io
import logging
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.attacks.classifier import Classifier
from auditor.attacks.gradient import frozen
from auditor.attacks.wrong_data import check_data
from auditor.audit.resume import SavedAttempt
from auditor.compute.batches import in_batches
from auditor.data import CorruptedImages, ImageSet
from auditor.errors import InputError
from auditor.records import AuditRequest
from auditor.records.corruptions import SEVERITIES, CorruptionScore
from auditor.statistics import mean_interval
from auditor.torch_state import default_modes, trackable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CorruptionResult:
    """A model's answers to N images and to their corruptions.

    Attributes:
        logits: ``(N, K)``, of the clean images.
        correct: ``(N,)``, whether the clean image is classified correctly.
        survived: ``(N,)``, whether the image and all its corruptions are.
        accuracy, low, high: the mean over corruptions and severities, and its 95 % interval over images.
        scores: one for each corruption and severity, in order.
        batch_size: the largest number of images in one pass.
    """

    logits: NDArray[np.floating]
    correct: NDArray[np.bool_]
    survived: NDArray[np.bool_]
    accuracy: float
    low: float
    high: float
    scores: tuple[CorruptionScore, ...]
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    batch_size: int


def measure_corruptions(
    model: torch.nn.Module, images: ImageSet, corrupted: CorruptedImages, request: AuditRequest, saved: SavedAttempt
) -> CorruptionResult:
    """Classify the clean images and all their corruptions.

    The verdicts are saved after each corruption. A resumed audit continues after the last saved one.

    Raises:
        InputError: the model's output is not ``(N, K)`` and finite on the clean images.
    """
    predictor = _Predictor(model, request)
    done = _load_progress(saved, len(images.labels))
    with default_modes(), trackable(model), frozen(model), torch.random.fork_rng(predictor.gpus):
        torch.manual_seed(request.seed)
        predictor.choose_dtype(images.images[:1])
        logits = predictor.logits(images.images)
        if not torch.isfinite(logits).all():
            raise InputError("expected finite logits (N, K), the model gives NaN or infinite ones on clean images")
        for number, name in enumerate(corrupted.names):
            saved.context.progress(f"corruption {name}", 0, len(SEVERITIES))
            if name in done:
                continue
            torch.manual_seed(request.seed + number)  # of a randomized model, for an audit that is resumed, too
            right = []
            for severity, pixels in zip(SEVERITIES, corrupted.load(name), strict=True):
                right.append(predictor.logits(pixels).argmax(1).numpy() == images.labels)
                saved.context.progress(f"corruption {name}", severity, len(SEVERITIES))
            done[name] = np.stack(right)
            _save_progress(saved, done)
    flags, notes = check_data(torch.from_numpy(images.images), logits, torch.from_numpy(images.labels))
    return _result(logits, images.labels, {name: done[name] for name in corrupted.names}, flags, predictor, notes)


def _result(
    logits: Tensor,
    labels: NDArray[np.int64],
    done: dict[str, NDArray[np.bool_]],
    flags: list[str],
    predictor: "_Predictor",
    notes: list[str],
) -> CorruptionResult:
    correct = logits.argmax(1).numpy() == labels
    right = np.concatenate(list(done.values()))
    accuracy, low, high = mean_interval(right.mean(0))
    scores = [
        CorruptionScore(corruption=name, severity=severity, n=len(labels), right=int(verdicts.sum()), verdicts=verdicts)
        for name, rows in done.items()
        for severity, verdicts in zip(SEVERITIES, rows, strict=True)
    ]
    return CorruptionResult(
        logits=logits.numpy(),
        correct=correct,
        survived=correct & right.all(0),
        accuracy=accuracy,
        low=low,
        high=high,
        scores=tuple(scores),
        flags=tuple(flags),
        notes=(*notes, *predictor.notes),
        batch_size=predictor.batch_size,
    )


class _Predictor:
    """A model's logits on any number of images; smaller batches if memory runs out."""

    def __init__(self, model: torch.nn.Module, request: AuditRequest) -> None:
        self.classifier = Classifier(model, torch.get_default_dtype())
        self.device, self.batch_size = torch.device(request.device), request.batch_size
        self.gpus = [self.device] if self.device.type == "cuda" else []
        self.notes: list[str] = []

    def choose_dtype(self, image: NDArray[np.float32]) -> None:
        self.classifier.choose_dtype(torch.from_numpy(image).to(self.device))

    def logits(self, images: NDArray[Any]) -> Tensor:
        """Logits ``(N, K)`` on the CPU, of bytes or of float32 in [0, 1]."""

        def classify(place: slice) -> Tensor:
            part = np.ascontiguousarray(images[place])
            batch = torch.from_numpy(part if part.dtype == np.float32 else np.divide(part, 255, dtype=np.float32))
            with torch.no_grad():
                logits: Tensor = self.classifier(batch.to(self.device)).cpu()
            return logits

        def halved(size: int) -> None:
            self.batch_size = size
            self.notes.append(f"out of memory: batch size {size}")

        parts = in_batches(classify, len(images), self.batch_size, halved=halved)
        return torch.cat([logits for _, logits in parts])


def _save_progress(saved: SavedAttempt, done: dict[str, NDArray[np.bool_]]) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, **done)  # type: ignore[arg-type]
    saved.save(stream.getvalue())


def _load_progress(saved: SavedAttempt, n: int) -> dict[str, NDArray[np.bool_]]:
    """The verdicts ``(5, N)`` of the corruptions that an earlier attempt finished."""
    state = saved.load()
    if state is None:
        return {}
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("saved progress cannot be read, and the audit starts again: %s", error)
        return {}
    fitting = all(rows.shape == (len(SEVERITIES), n) and rows.dtype == np.bool_ for rows in found.values())
    return found if fitting else {}
