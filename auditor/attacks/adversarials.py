"""The images that broke a model: collected while a cascade runs, and saved as an .npz file."""

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Part = dict[str, NDArray[Any]]
"""Arrays of one length: ``positions``, ``images``, ``labels``, ``predicted``."""


def select_part(chosen: "Tensor", positions: "Tensor", images: "Tensor", labels: "Tensor", predicted: "Tensor") -> Part:
    """The chosen samples of a batch, on the CPU."""
    tensors = {"positions": positions, "images": images, "labels": labels, "predicted": predicted}
    return {name: tensor[chosen].cpu().numpy() for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Adversarials:
    """One adversarial image for each of the M samples that an attack broke, in the samples' own order.

    Attributes:
        images: ``(M, C, H, W)`` in [0, 1], in the budget, in the dtype of the images attacked.
        indices: ``(M,)`` int64, the samples' numbers in their data set.
        labels, predicted: ``(M,)`` int64, the true class, and the class that the model predicts for this image.
        attacks: ``(M,)`` the names of the attacks that broke them.
        clean: ``(M, C, H, W)`` the images before the attack: uint8 if they are whole levels of 255, else float32.
    """

    images: NDArray[Any]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    attacks: NDArray[np.str_]
    clean: NDArray[Any] | None = None

    @classmethod
    def join(cls, parts: list[tuple[str, Part]], numbers: NDArray[np.int64], empty: Part) -> "Adversarials":
        """Join the parts of all attacks; ``empty`` is a part without samples, with the same shapes and dtypes."""
        chosen = [part for _, part in parts]
        joined = {name: np.concatenate([empty[name], *(part[name] for part in chosen)]) for name in empty}
        names = np.array([name for name, part in parts for _ in part["positions"]], np.str_)
        order = joined["positions"].argsort(kind="stable")
        return cls(
            images=joined["images"][order],
            indices=numbers[joined["positions"][order]],
            labels=joined["labels"][order],
            predicted=joined["predicted"][order],
            attacks=names[order],
        )

    def beside(self, images: NDArray[np.float32], numbers: NDArray[np.int64]) -> "Adversarials":
        """With the clean images of the samples, of all images in the same order and their numbers."""
        chosen = images[np.isin(numbers, self.indices)]
        levels = np.rint(chosen * 255).astype(np.uint8)
        whole = np.array_equal(np.divide(levels, np.float32(255), dtype=np.float32), chosen)
        return replace(self, clean=levels if whole else chosen.astype(np.float32, copy=False))


def adversarials_file(folder: Path, model: str, identity: str) -> Path:
    """The file of an audit's adversarial images. Characters that file names may not contain become ``_``."""
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', model)}-{identity[:12]}.npz"


def keep_adversarials(
    folder: Path, adversarials: Adversarials, *, model: str, identity: str, norm: str, eps: float
) -> tuple[str | None, list[str]]:
    """Write an audit's file, and return its path. An error becomes a note: a full disk must not cost the audit."""
    path = adversarials_file(folder, model, identity)
    try:
        save_adversarials(path, adversarials, model=model, identity=identity, norm=norm, eps=eps)
    except OSError as error:
        return None, [f"adversarial images not saved: {error}"]
    return str(path.absolute()), []


def save_adversarials(path: Path, adversarials: Adversarials, **facts: str | float) -> None:
    """Write ``path`` completely or not at all: float32 images, the other arrays, and ``facts`` as 0-d arrays.

    ``numpy.load(path, allow_pickle=False)`` reads it.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {key: np.array(value) for key, value in facts.items()}
    if adversarials.clean is not None:
        arrays["clean"] = adversarials.clean
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".unfinished-", suffix=".npz")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                images=adversarials.images.astype(np.float32, copy=False),
                indices=adversarials.indices,
                labels=adversarials.labels,
                predicted=adversarials.predicted,
                attacks=adversarials.attacks,
                **arrays,
            )
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
