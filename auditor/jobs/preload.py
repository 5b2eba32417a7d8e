"""What the server of child processes imports, once for all of them: torch, and what torch imports at its first use."""

import warnings

warnings.simplefilter("ignore")  # what libraries tell their programmers is nothing for who audits models

import safetensors.torch  # noqa: E402, F401
import torch.fx.experimental.symbolic_shapes  # noqa: E402
import torch.nested  # noqa: E402, F401

import auditor.audit.task  # noqa: E402
import auditor.clustering.scores  # noqa: E402
import auditor.clustering.sketch  # noqa: E402
import auditor.zoo.digest  # noqa: E402
import auditor.zoo.weights  # noqa: E402, F401
