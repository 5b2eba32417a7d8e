"""All readers under fuzzing, by name."""

from tests.fuzz.contract import Target
from tests.fuzz.targets import evidence, files, images, messages, texts, web, weights

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (weights, images, files, evidence, texts, messages, web)
    for target in module.TARGETS
}
