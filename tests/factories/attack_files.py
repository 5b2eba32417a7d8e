"""Files with attacks of users, good and bad."""

from pathlib import Path

ATTACKS = """\
import torch

import steps


def brighter(model, images, labels, *, norm, eps, seed):
    return (images + steps.size(eps)).clamp(0, 1)


def shape(model, images, labels, *, norm, eps, seed):
    return images[:, :, 1:]


def raises(model, images, labels, *, norm, eps, seed):
    raise KeyError("no such step")


def leaves(model, images, labels, *, norm, eps, seed):
    raise SystemExit("enough")


def weights(model, images, labels, *, norm, eps, seed):
    with torch.no_grad():
        next(model.parameters()).zero_()
    return images


def few(model, images):
    return images


def for_ever(model, images, labels, *, norm, eps, seed):
    while True:
        model(images)


def prints(model, images, labels, *, norm, eps, seed):
    import random
    print("drawn", random.random() < 1)
    return images


number = 3
"""


def attack_file(folder: Path, text: str = ATTACKS) -> Path:
    """The file, and a module beside it that it imports."""
    folder.mkdir(exist_ok=True)
    (folder / "steps.py").write_text("def size(eps):\n    return eps\n")
    (folder / "mine.py").write_text(text)
    return folder / "mine.py"
