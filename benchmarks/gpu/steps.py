"""The steps of the GPU check in their order: what passes or fails comes before what measures.

The seconds of all checks together leave a minute of eight to make the environment. Measurements share what is left.
"""

from benchmarks.gpu.checks import agreement, card, device_tests, memory, mixed_precision
from benchmarks.gpu.runner import Step
from benchmarks.gpu.speed import (
    autoattack,
    batch_sizes,
    boosting,
    precisions,
    strong,
    templates_of_residual,
    templates_of_transformer,
)
from benchmarks.gpu.workers import two_workers

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("card", "The card and its matrix products", card, 30),
        Step("tests", "Tests of what touches a device", device_tests, 100),
        Step("agreement", "Verdicts, W and C on CPU and GPU", agreement, 80),
        Step("memory", "Memory that runs out, and is given back", memory, 40),
        Step("mixed", "Mixed precision for the search", mixed_precision, 50),
        Step("workers", "Two workers on one GPU", two_workers, 110),
        Step("precisions", "Float32, TF32 and bfloat16", precisions, 25, measures=True),
        Step("resnet", "W and C of ResNet-50", templates_of_residual, 50, measures=True),
        Step("vit", "W and C of ViT-B", templates_of_transformer, 60, measures=True),
        Step("boosting", "Boosting steps a second", boosting, 40, measures=True),
        Step("batches", "Batch size by measuring", batch_sizes, 25, measures=True),
        Step("autoattack", "AutoAttack against pyautoattack", autoattack, 100, measures=True),
        Step("strong", "Protocol strong", strong, 40, measures=True),
    )
}
