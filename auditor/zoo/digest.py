"""The digest of a model's weights, which does not depend on the format of their file."""

import hashlib
from collections.abc import Mapping

from torch import Tensor


def state_dict_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.view(-1).numpy().tobytes())
    return digest.hexdigest()
