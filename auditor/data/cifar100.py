"""CIFAR-100 (Krizhevsky, 2009): its fine classes in the order of the labels, and its test set."""

from pathlib import Path

from auditor.data import cifar
from auditor.data.samples import Samples

CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger",
    "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip


def find(place: Path | None, samples: int | None) -> Samples:  # noqa: ARG001
    """The 10,000 test images; see :func:`auditor.data.cifar.find`."""
    return cifar.find("CIFAR100", CLASSES, place)


def find_training(place: Path | None) -> Samples:
    """The 50,000 training images; see :func:`auditor.data.cifar.find`."""
    return cifar.find("CIFAR100", CLASSES, place, train=True)
