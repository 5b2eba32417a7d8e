"""The protocols `strong` and `standard`, pyautoattack and a long search, side by side: passes, time and accuracy.

    OMP_NUM_THREADS=1 python -m benchmarks.attacks [--images 500] [--sides strong standard search pyautoattack]

Three robust demo models of one architecture and one of another, on Fashion-MNIST test images from number 500 on;
`strong` was tuned on others. `strong` attacks all images in one run, because the random part that FAB and Square
attack depends on their number. The other sides attack them in parts of 100, which changes nothing but the batches. All
have the same seed and batches of 100. What is measured is stored in `benchmarks/attacks.json`, part by part, and is not
run again; a run that is stopped continues there. `--print` runs nothing. `--models` also takes the weaker demo models.

A pass is one image through the network, forward or backward, counted around the model. Seconds are of the CPU. Counted
and timed is all of `evaluate_robustness`, with its flags. The long search shows how far the others are above the truth:
ascents of 100 iterations from 20 random and diverse starts with each loss, on samples that lack less than a fifth of
eps, and towards each of their targets that does.
"""

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.protocols import Attack
from auditor.data.fashion_mnist import load_split
from auditor.files import write_atomically
from benchmarks.autoattack import EPS, load

MODELS = ("at-eps0.10", "trades-eps0.10", "at-cluster-eps0.10", "plain-at-eps0.10")
WEAKER = ("at-eps0.08", "at-eps0.05", "trades-eps0.05", "at-eps0.02")
FIRST, PART = 500, 100
STORE = Path(__file__).with_suffix(".json")
PASSES_REACH, SECONDS_REACH = 0.2, 0.25
_LONG = {"iterations": 100, "targets": 9, "explore": 0.5, "explore_iterations": 100, "pairs": 9}
_LONG["rounds"] = [[0.2, 60]]
LONG = Protocol("long search", None, (*PROTOCOLS["quick"].attacks, Attack("search", "search", _LONG)), "")

Side = Callable[[nn.Module, Tensor, Tensor, Sequence[int]], tuple[Tensor, dict[str, int]]]
"""Model, images, labels and their numbers to the survivors ``(N,)`` and the samples that each attack broke."""


class Passes:
    """Images that went forward and backward through a model and through all copies of it."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Passes":
        return self


class Counted(nn.Module):
    """A model that counts its passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.passes = model, Passes()

    def forward(self, images: Tensor) -> Tensor:
        self.passes.forward += len(images)
        if images.requires_grad:
            images.register_hook(self._count_backward)  # type: ignore[no-untyped-call]
        logits: Tensor = self.model(images)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.passes.backward += len(gradient)


def test_images(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST's test images from this number on, ``(N, 1, 28, 28)`` in [0, 1], and their labels."""
    pixels, numbers = load_split("test")
    chosen = slice(first, first + count)
    return torch.from_numpy(pixels[chosen].copy()).unsqueeze(1).float() / 255, torch.from_numpy(numbers[chosen])


def of_protocol(protocol: str | Protocol) -> Side:
    def evaluate(
        model: nn.Module, images: Tensor, labels: Tensor, numbers: Sequence[int]
    ) -> tuple[Tensor, dict[str, int]]:
        found = evaluate_robustness(
            model, images, labels, norm="Linf", eps=EPS, protocol=protocol, batch_size=PART, indices=numbers
        )
        return found.survived, {score.attack: score.broken for score in found.attacks}

    return evaluate


def pyautoattack(model: nn.Module, images: Tensor, labels: Tensor, _: Sequence[int]) -> tuple[Tensor, dict[str, int]]:
    suite = AutoAttack(model, norm="Linf", eps=EPS, seed=0, version="standard", device="cpu")
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        adversarials, _ = suite.run_standard_evaluation(images.clone(), labels.clone(), batch_size=PART)
    with torch.no_grad():
        survived: Tensor = model(adversarials).argmax(1) == labels
    return survived, {}


SIDES: dict[str, Side] = {
    "strong": of_protocol("strong"),
    "standard": of_protocol("standard"),
    "search": of_protocol(LONG),
    "pyautoattack": pyautoattack,
}


def measure(side: str, model: nn.Module, images: Tensor, labels: Tensor, first: int) -> dict[str, Any]:
    counted = Counted(model)
    began = time.process_time()
    survived, broken = SIDES[side](counted, images, labels, range(first, first + len(images)))
    return {
        "seconds": round(time.process_time() - began, 2),
        "forward": counted.passes.forward,
        "backward": counted.passes.backward,
        "broken": broken,
        "survived": "".join(str(int(bit)) for bit in survived),
    }


def measure_missing(images: int, sides: Sequence[str], models: Sequence[str], store: Path) -> None:
    """Run and store what is not stored: `strong` in one run, the others part by part."""
    for first in range(FIRST, FIRST + images, PART):
        for name in models:
            for side in sides:
                size = images if side == "strong" else PART
                stored = read(store).get(name, {}).get(side, {}).get(str(first), {})
                if len(stored.get("survived", "")) >= size or (side == "strong" and first > FIRST):
                    continue
                part = measure(side, load(name), *test_images(first, size), first)
                results = read(store)
                results.setdefault(name, {}).setdefault(side, {})[str(first)] = part
                with write_atomically(store) as out:
                    out.write(json.dumps(results, indent=1).encode())


def read(store: Path) -> dict[str, Any]:
    """By model, side and first image: what was measured."""
    results: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    return results


def lines(store: Path = STORE) -> Iterator[str]:
    """Each side beside `strong`: verdicts on the images that both have attacked, costs for each image."""
    for name, sides in read(store).items():
        strong = sides.get("strong", {}).get(str(FIRST))
        for side, parts in sides.items():
            if side == "strong" or strong is None:
                continue
            pairs = [(verdict, other) for first, part in parts.items() for verdict, other in zip(
                strong["survived"][int(first) - FIRST :], part["survived"], strict=False)]  # fmt: skip
            ours, theirs = _costs([strong]), _costs(parts.values())
            reach = f" (reach: at most {PASSES_REACH} and {SECONDS_REACH})" if side == "standard" else ""
            yield (
                f"demo:{name}: for each image strong needs {ours[1] / theirs[1]:.3f} of the passes and "
                f"{ours[2] / theirs[2]:.3f} of the time of {side}{reach}"
            )
            yield (
                f"  robust of {len(pairs)}: strong {sum(a == '1' for a, _ in pairs)}, "
                f"{side} {sum(b == '1' for _, b in pairs)}; {pairs.count(('0', '1'))} broken by strong alone, "
                f"{pairs.count(('1', '0'))} by {side} alone"
            )
            for who, (images, passes, seconds) in (("strong", ours), (side, theirs)):
                yield f"  {who}, {images} images: {passes:,.0f} passes and {seconds:.3f} s for each"


def _costs(parts: Iterable[dict[str, Any]]) -> tuple[int, float, float]:
    """Images; passes and seconds for each."""
    parts = list(parts)
    images = sum(len(part["survived"]) for part in parts)
    passes = sum(part["forward"] + part["backward"] for part in parts)
    return images, passes / images, sum(part["seconds"] for part in parts) / images


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--models", nargs="+", choices=(*MODELS, *WEAKER), default=list(MODELS))
    parser.add_argument("--store", type=Path, default=STORE, help="file of the parts that are done")
    parser.add_argument("--print", action="store_true", help="print what is stored; run nothing")
    options = parser.parse_args()
    if not options.print:
        measure_missing(options.images, options.sides, options.models, options.store)
    for line in lines(options.store):
        print(line, flush=True)


if __name__ == "__main__":
    main()
