"""Imported once by the server of child processes: torch, what torch imports at its first use, and the audit."""

import warnings

warnings.simplefilter("ignore")  # libraries address these to programmers, not to users

import safetensors.torch  # noqa: E402, F401
import torch._dynamo  # noqa: E402
import torch.fx.experimental.symbolic_shapes  # noqa: E402
import torch.nested  # noqa: E402, F401

import auditor.audit.task  # noqa: E402
import auditor.clustering.scores  # noqa: E402
import auditor.clustering.sketch  # noqa: E402
import auditor.zoo.digest  # noqa: E402
import auditor.zoo.weights  # noqa: E402, F401
