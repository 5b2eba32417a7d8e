"""AutoAttack-standard verdicts: auditor's `standard` against pyautoattack's own standard run.

    OMP_NUM_THREADS=1 python -m benchmarks.autoattack [--images 64] [--repeats 3]
    OMP_NUM_THREADS=1 python -m benchmarks.autoattack --images 500 --store benchmarks/runs/autoattack    # resumable

Same demo model, Fashion-MNIST test images, batch, threads and seed, the two sides in turn. Timed here is the whole of
`evaluate_robustness`, with its flags and with FGSM, PGD-20 and CW-20, which pyautoattack does not run; there
`run_standard_evaluation`. Seconds are of the CPU, all threads' together: with one thread they are those of the clock on
an idle machine. A robust model is measured once, since that takes minutes, batch by batch of 64 images; with `--store`
each batch's result is kept as it ends, and not made again. A standard one is attacked on 500 images, `--repeats` times,
in batches of 64 too: an audit looks once, on its first batch, whether the model is deterministic.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, evaluate_robustness
from auditor.data.fashion_mnist import load_split
from auditor.files import write_atomically
from auditor.zoo.demo import DemoZoo

EPS, BATCH = 0.1, 64
ROBUST, STANDARD = "at-eps0.10", "standard"
STANDARD_IMAGES = 500
REACH = {ROBUST: 0.5, STANDARD: 0.05}


def load(name: str) -> nn.Module:
    zoo = DemoZoo()
    entry = next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")
    return zoo.load(entry).model.eval().requires_grad_(False)


def test_images(count: int) -> tuple[Tensor, Tensor]:
    """The first of Fashion-MNIST's test images, ``(N, 1, 28, 28)`` in [0, 1], and their labels."""
    pixels, numbers = load_split("test")
    return torch.from_numpy(pixels[:count].copy()).unsqueeze(1).float() / 255, torch.from_numpy(numbers[:count])


def ours(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=EPS, protocol="standard", batch_size=BATCH)
    return found.survived


def theirs(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    suite = AutoAttack(model, norm="Linf", eps=EPS, seed=0, version="standard", device="cpu")
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        adversarials, _ = suite.run_standard_evaluation(images.clone(), labels.clone(), batch_size=BATCH)
    with torch.no_grad():
        survived: Tensor = model(adversarials).argmax(1) == labels
    return survived


def measure(model: nn.Module, images: Tensor, labels: Tensor, repeats: int) -> dict[str, Any]:
    """Verdicts, and the seconds of each repeat, of both sides."""
    ours(model, images[:4], labels[:4])  # neither side pays for what torch sets up once
    found: dict[str, Any] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for side in (ours, theirs):
            began = time.process_time()
            survived = side(model, images, labels)
            found[side.__name__].append(time.process_time() - began)
            found[f"{side.__name__}_survived"] = survived.int().tolist()
    return found


def batches(name: str, count: int, repeats: int, store: Path | None) -> Iterator[dict[str, Any]]:
    model, (images, labels) = load(name), test_images(count)
    step = BATCH if name == ROBUST else count
    for first in range(0, count, step):
        file = store / f"{name}_{first}-{min(first + step, count)}.json" if store else None
        if file and file.exists():
            yield json.loads(file.read_text())
            continue
        found = measure(model, images[first : first + step], labels[first : first + step], repeats)
        if file:
            with write_atomically(file) as out:
                out.write(json.dumps(found).encode())
        yield found


def lines(images: int = 64, repeats: int = 3, store: Path | None = None) -> Iterator[str]:
    for name, count in ((ROBUST, images), (STANDARD, STANDARD_IMAGES)):
        found = list(batches(name, count, 1 if name == ROBUST else repeats, store))
        seconds = {side: sum(statistics.median(one[side]) for one in found) for side in ("ours", "theirs")}
        mine, other = ([bit for one in found for bit in one[f"{side}_survived"]] for side in ("ours", "theirs"))
        equal = sum(a == b for a, b in zip(mine, other, strict=True)) / len(mine)
        ratio = seconds["ours"] / seconds["theirs"]
        what = f"AutoAttack-standard on demo:{name}, {count} images"
        yield f"{what}: {ratio:.3f} of pyautoattack's time, reach at most {REACH[name]}"
        yield (
            f"  {seconds['ours']:.1f} s and {seconds['theirs']:.1f} s; robust {sum(mine)} and {sum(other)}, "
            f"verdicts equal on {equal:.1%} (reach: at least 99 %, and at most one robust image more)"
        )
    yield f"  each survivor, here: {', '.join(_effort())}"
    yield f"  each survivor, there: {', '.join(_their_effort())}"


def _effort() -> Iterator[str]:
    for attack in PROTOCOLS["standard"].attacks:
        if attack.engine == "autoattack":
            each = attack.parameters.get("iterations", attack.parameters.get("queries"))
            yield f"{attack.name} {attack.parameters.get('targets', 1)} x {each}"


def _their_effort() -> Iterator[str]:
    suite = AutoAttack(nn.Identity(), norm="Linf", eps=EPS, version="standard", device="cpu")
    yield f"apgd-ce {suite.apgd.n_restarts} x {suite.apgd.n_iter}"
    yield f"apgd-t {suite.apgd_targeted.n_target_classes} x {suite.apgd_targeted.n_iter}"
    yield f"fab-t {suite.fab.n_target_classes} x {suite.fab.n_iter}"
    yield f"square {suite.square.n_restarts} x {suite.square.n_queries}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoattack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, default=None, help="folder of the batches that are done")
    options = parser.parse_args()
    for line in lines(options.images, options.repeats, options.store):
        print(line, flush=True)


if __name__ == "__main__":
    main()
