"""Which data set a model's labels are: a known one, or one of its own."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.data.known import CLASSES
from auditor.errors import ModelLoadError
from auditor.records import CustomData, ZooEntry
from auditor.text.printable import clean_line

KNOWN_SHARE = 0.9
"""The labels are a known data set's if so many of its names are at their places; synonyms differ in the others."""


def data_set_of(name: str, labels: Sequence[str]) -> tuple[str, CustomData | None]:
    """The name of a data set that auditor knows, or ``name`` with classes of its own and one superclass for each.

    >>> data_set_of("me/model", ["plane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"])
    ('cifar10', None)
    """
    for known, classes in CLASSES.items():
        if len(classes) == len(labels):
            same = sum(_plain(label) == _plain(other) for label, other in zip(labels, classes, strict=True))
            if same >= KNOWN_SHARE * len(classes):
                return known, None
    times = Counter(labels)
    classes = tuple(f"{one} ({number})" if times[one] > 1 else one for number, one in enumerate(labels))
    return name, CustomData(path=None, classes=classes, levels=(classes,))


def labels_of(id2label: Any, where: str) -> tuple[str, ...]:
    """The K names of ``id2label``, a mapping from 0 to K - 1, in order.

    Raises:
        ModelLoadError: it is something else, or names fewer than 2 classes.
    """
    names = {str(key): value for key, value in id2label.items()} if isinstance(id2label, Mapping) else {}
    found = [names.get(str(number)) for number in range(len(names))]
    if len(found) < 2 or not all(isinstance(name, str) and name for name in found):
        raise ModelLoadError(
            f"{where}: expected id2label with the names of 2 classes or more, by numbers from 0, got {id2label!r:.60}"
        )
    return tuple(clean_line(str(name).strip()) for name in found)


def class_count(entry: ZooEntry) -> int:
    """K of an entry that :func:`data_set_of` described."""
    return len(entry.own_data.classes if entry.own_data else CLASSES[entry.dataset])


def _plain(name: str) -> str:
    """The first of several synonyms in lower case, without what is in brackets: ImageNet has two cranes."""
    return re.sub(r"\(.*?\)|[\W_]+", " ", name.split(",")[0].casefold()).strip()
