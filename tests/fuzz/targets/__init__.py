"""All readers under fuzzing, by name."""

from tests.fuzz.contract import Target
from tests.fuzz.targets import evidence, files, graphs, images, messages, texts, web, weights

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (weights, graphs, images, files, evidence, texts, messages, web)
    for target in module.TARGETS
}
