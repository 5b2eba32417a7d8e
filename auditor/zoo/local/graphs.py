"""Files that hold a whole network, graph and weights: ONNX files and programs of torch.export.

Their networks are compared with a reference before use, on batches of a size that the file may not have been made for.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auditor.errors import EnvironmentUnusableError, ModelLoadError, describe, file_reason, first_line
from auditor.files import open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["onnx", "export"]
SUFFIXES: dict[str, Kind] = {".onnx": "onnx", ".pt2": "export"}
NAMES: dict[Kind, str] = {"onnx": "an ONNX file", "export": "a program of torch.export"}
LARGEST = 2**31 - 1
"""Bytes of a file with its external data; a protobuf message cannot be larger."""
TOLERANCE = 1e-4
"""The largest difference from the reference's logits that is accepted, relative to the largest of these."""
IMAGES = 4


@dataclass(frozen=True)
class Graph:
    """A network from a file, ``(N, C, H, W)`` to ``(N, K)``, the SHA-256 of what was read, and notes."""

    network: "nn.Module"
    sha256: str
    notes: tuple[str, ...] = ()


def kind_of(weights: str) -> Kind | None:
    """The kind of graph that a file holds, by its suffix; None for other weights."""
    return SUFFIXES.get(Path(weights).suffix.lower())


def load_graph(
    kind: Kind,
    path: Path,
    input_size: tuple[int, int, int],
    preprocessing: dict[str, Any],
    digests: Iterable[str | None] = (),
    beneath: Path | None = None,
) -> Graph:
    """Read the network in a file. **A program of torch.export can run code while it is read.**

    Args:
        input_size: ``(C, H, W)`` of one image.
        preprocessing: mean and std, which the images of the comparison get first.
        digests: SHA-256 of the file, from all who know it.
        beneath: a folder with its links resolved that the file must be in; below it no link is followed.

    Raises:
        ModelLoadError: the file is missing, damaged, too large or not the expected one, the network has an operation
            that cannot be converted, or its logits differ from the reference's.
        EnvironmentUnusableError: the extra ``onnx`` is not installed.
    """
    from auditor.zoo.weights import check_digest

    content = _read(path, beneath)
    found = hashlib.sha256(content).hexdigest()
    for digest in digests:
        check_digest(found, digest, path.name)
    if kind == "export":
        from auditor.zoo.local import exported

        return exported.load(content, path.name, input_size, preprocessing)
    try:
        from auditor.zoo.local import onnx_files
    except ImportError as error:
        raise EnvironmentUnusableError(
            f"ONNX files need onnx, onnxruntime and onnx2pytorch: install auditor[onnx] ({first_line(error)})"
        ) from error
    return onnx_files.load(content, path, input_size, preprocessing)


def _read(path: Path, beneath: Path | None) -> bytes:
    try:
        with open_regular(path, beneath=beneath) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise ModelLoadError(f"{path.name}: expected at most {LARGEST / 1e9:.1f} GB, got {size / 1e9:.1f} GB")
            return file.read()
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot read {path}: {file_reason(error)}") from error


def check_input_size(name: str, shape: tuple[int | None, ...], expected: tuple[int, int, int]) -> None:
    """Compare the shape that a file gives its input with the size of the images; None is any number.

    Raises:
        ModelLoadError: they differ.
    """
    fits = len(shape) == 4 and all(got in (None, want) for got, want in zip(shape[1:], expected, strict=True))
    if not fits:
        got = ["any" if side is None else side for side in shape]
        raise ModelLoadError(f"{name}: expected an input of [N, {', '.join(map(str, expected))}], got {got}")


@dataclass(frozen=True)
class Reference:
    """Computes the logits ``(N, K)`` of images ``(N, C, H, W)`` for a comparison.

    Attributes:
        name: what it is, for messages.
        batch: the size of the batches that it takes; None for any.
    """

    run: "Callable[[Tensor], Tensor]"
    name: str
    batch: int | None


def compare(
    network: "nn.Module",
    reference: Reference,
    name: str,
    input_size: tuple[int, int, int],
    preprocessing: dict[str, Any],
) -> float:
    """Compare a network with a reference on random images, half of them black and white.

    Where the reference takes one size of batches, the network must also give the same logits for another size.

    Returns:
        The largest difference, relative to the reference's largest logit.

    Raises:
        ModelLoadError: one of them does not run, or they differ by more than :data:`TOLERANCE`.
    """
    import torch
    from torch import Tensor, nn

    from auditor.zoo.normalized import normalized

    size = reference.batch
    count = IMAGES + (size == IMAGES)  # never the size that the reference takes
    images = torch.rand(count, *input_size, generator=torch.Generator().manual_seed(0))
    images[::2] = images[::2].round()
    images = normalized(nn.Identity(), preprocessing)(images)

    def logits_of(run: Callable[[Tensor], Tensor]) -> Tensor:
        """The logits of all images at once, or of each image repeated to a batch of the reference's size."""
        parts = [image.expand(size, *image.shape) for image in images] if size else [images]
        outputs = [run(part) for part in parts]
        if not isinstance(outputs[0], Tensor):
            raise ModelLoadError(f"expected logits (N, K) as one tensor, got {type(outputs[0]).__name__}")
        return torch.cat([output[:1] if size else output for output in outputs])

    with torch.no_grad():
        try:
            expected = logits_of(reference.run)
        except Exception as error:
            raise ModelLoadError(f"{name}: {reference.name} cannot run it: {describe(error)}") from error
        try:
            difference = _difference(logits_of(network), expected, reference.name)
        except Exception as error:
            raise ModelLoadError(f"{name}: the converted network is not usable: {describe(error)}") from error
        try:
            return max(difference, _difference(network(images), expected, "single batches")) if size else difference
        except Exception as error:
            raise ModelLoadError(
                f"{name}: it was exported for batches of {size} and does not work for others ({describe(error)}): "
                'export it with a dynamic batch dimension, dynamic_shapes=({0: torch.export.Dim("batch")},)'
            ) from error


def _difference(logits: "Tensor", expected: "Tensor", other: str) -> float:
    if logits.shape != expected.shape:
        raise ModelLoadError(f"expected logits {tuple(expected.shape)}, got {tuple(logits.shape)}")
    difference = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not difference <= TOLERANCE:  # NaN, too
        raise ModelLoadError(
            f"the logits differ from those of {other} by up to {difference:.1e} of the largest logit, expected at most "
            f"{TOLERANCE:g}"
        )
    return difference
