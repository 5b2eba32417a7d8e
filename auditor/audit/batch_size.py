"""How many images an audit attacks at once: as requested, or measured on a GPU."""

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.attacks.protocols import draws_by_sample, find_protocol
from auditor.audit.timing import gradient_pass, seconds_once
from auditor.compute.fastest_batch import measure_batch_size
from auditor.records import AuditRequest
from auditor.torch_state import default_modes


def batch_size_of(model: nn.Module, images: Tensor, request: AuditRequest) -> int:
    """The requested batch size, or the one at which the model's gradients are fastest.

    It is measured if the request says so, the images ``(N, C, H, W)`` are on a GPU, and the protocol draws by sample:
    ``standard`` and ``full`` draw by batch, so another size could change a verdict.
    """
    measured = request.measure_batch and images.is_cuda and draws_by_sample(find_protocol(request.protocol))
    return fastest_batch_size(model, images) if measured else request.batch_size


def fastest_batch_size(model: nn.Module, images: Tensor) -> int:
    """The number of images, at most N, with which gradient passes have the most images per second.

    In the modes of the attacks: products in TF32 are faster, and favour other sizes.
    """
    devices = [images.device] if images.is_cuda else []
    with default_modes(torch.get_default_dtype()), frozen(model), torch.random.fork_rng(devices):

        def work(size: int) -> None:
            seconds_once(lambda: gradient_pass(model, images[:size]))

        size = measure_batch_size(work, len(images))
    if images.is_cuda:
        torch.cuda.empty_cache()
    return size
