"""How a handed-out checkpoint is loaded: code for its card."""

from auditor.checkpoints.origin import normalizes_itself
from auditor.records import ZooEntry

_NORMALIZED = "It takes images in [0, 1] after `(x - mean) / std` with mean {mean} and std {std}, as in `config.json`."
_RAW = "It takes images in [0, 1] as they are: the normalization is inside."


def usage(entry: ZooEntry, began: ZooEntry) -> str:
    """Markdown: code that makes the network with these weights, and what images it takes."""
    known = [part for part in ("timm", "name", "robustbench", "python") if part in entry.architecture]
    code = _timm(entry, began) if "timm" in known else _CODE[known[0]](entry) if known else _AUDITOR
    takes = _RAW if normalizes_itself(began) else _NORMALIZED.format(**entry.preprocessing)
    size = " × ".join(map(str, entry.input_size))
    return f"{code}\n\n{takes} Their size is {size}."


def timm_name(entry: ZooEntry, began: ZooEntry) -> str:
    """What ``timm.create_model`` is to be asked for; the tag may decide the number of classes and the size."""
    return began.model.removeprefix("timm:") if began.source == "timm" else str(entry.architecture["timm"])


def _timm(entry: ZooEntry, began: ZooEntry) -> str:
    kwargs = entry.architecture.get("kwargs", {})
    arguments = "".join(f", {key}={value!r}" for key, value in kwargs.items())
    code = _python(
        "import timm",
        "",
        f'model = timm.create_model({timm_name(entry, began)!r}{arguments}, checkpoint_path="model.safetensors")',
        "model.eval()",
    )
    return (
        f'{code}\n\nFrom the hub, `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)` reads `config.json`, too.'
    )


def _demo(entry: ZooEntry) -> str:
    return _python(
        "from auditor.zoo.demo.networks import ARCHITECTURES",
        "from safetensors.torch import load_file",
        "",
        f"model = ARCHITECTURES[{entry.architecture['name']!r}]().eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    )


def _robustbench(entry: ZooEntry) -> str:
    dataset, threat_model, name = entry.architecture["robustbench"].split("/", 2)
    return _python(
        "from robustbench.utils import load_model",
        "from safetensors.torch import load_file",
        "",
        f"model = load_model({name!r}, dataset={dataset!r}, threat_model={threat_model!r}).eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    )


def _own_code(entry: ZooEntry) -> str:
    file, _, function = entry.architecture["python"].rpartition(":")
    return (
        f"The network is what `{function}` in `{file}` of the zoo where it began makes, with the arguments in "
        "`config.json`; that code is not in this folder. Its state dict is `model.safetensors`."
    )


_AUDITOR = "The network's state dict is `model.safetensors`; `config.json` says what the network is."
_CODE = {"name": _demo, "robustbench": _robustbench, "python": _own_code}


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])
