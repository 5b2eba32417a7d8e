"""zoo.toml: what it becomes, and all mistakes at once, each with its line."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.cli import main
from auditor.data import hierarchy_of
from auditor.errors import UsageError
from auditor.records import Transform
from auditor.zoo.local import EXAMPLE, LocalZoo
from tests.factories.local_zoo import HEAD, MODEL, changed, only, zoo


def test_an_entry_has_what_its_table_says(tmp_path: Path) -> None:
    entry = only(tmp_path, changed(description='"words"', threat_model='"corruptions"', sha256=f'"{"A" * 64}"'))
    assert (entry.model, entry.source, entry.dataset, entry.description) == ("local:net", "local", "pets", "words")
    assert (entry.norm, entry.eps, entry.threat_model) == ("Linf", pytest.approx(8 / 255), "corruptions")
    assert entry.preprocessing == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert entry.file_sha256 == "a" * 64
    assert entry.architecture.keys() == {"python", "kwargs", "sha256"}
    assert entry.input_size == (3, 8, 8)
    assert entry.transform == Transform(resize=8, crop=(8, 8), interpolation="bilinear")
    hierarchy = hierarchy_of(entry)
    assert hierarchy.classes == ("cat", "dog", "cow")
    assert hierarchy.superclasses == ("small", "small", "large")
    assert pickle.loads(pickle.dumps(LocalZoo(tmp_path))).entries() == [entry]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resize": '"none"'}, None),
        ({"resize": "10", "interpolation": '"bicubic"'}, Transform(resize=10, crop=(8, 8), interpolation="bicubic")),
        ({"resize": "[9, 10]", "crop": "8"}, Transform(resize=(9, 10), crop=(8, 8))),
        ({"resize": "[8, 8]", "crop": '"none"'}, Transform(resize=(8, 8), crop=None)),
        ({"resize": '"none"', "crop": "8"}, Transform(resize=None, crop=(8, 8))),
        ({"dataset": '"fashion_mnist"', "mean": "[0.5]", "std": "[0.5]"}, None),
        (
            {"dataset": '"fashion_mnist"', "mean": '"none"', "std": '"none"', "input_size": "[1, 32, 32]"},
            Transform(resize=32, crop=(32, 32)),
        ),
    ],
)
def test_how_pictures_become_the_input(tmp_path: Path, changes: dict, expected: Transform | None) -> None:
    assert only(tmp_path, changed(**changes)).transform == expected


def test_classes_and_levels_can_be_borrowed(tmp_path: Path) -> None:
    entry = only(tmp_path, changed(dataset='{ path = "my.npz", classes = "fashion_mnist", input_size = [3, 8, 8] }'))
    borrowed, shipped = (
        hierarchy_of(entry),
        hierarchy_of(only(tmp_path, changed(dataset='"fashion_mnist"', mean='"none"', std='"none"'))),
    )
    assert entry.dataset == "my"
    assert entry.own_data.path == str(tmp_path / "my.npz")
    assert (borrowed.classes, borrowed.levels, borrowed.headline) == (shipped.classes, shipped.levels, shipped.headline)


def test_levels_and_headline(tmp_path: Path) -> None:
    levels = '[{ a = ["x"], b = ["y"], c = ["z"] }, { low = ["x", "y"], high = ["z"] }]'
    table = (
        f'{{ name = "xyz", classes = ["x", "y", "z"], superclasses = {levels}, headline = 1, input_size = [3, 8, 8] }}'
    )
    hierarchy = hierarchy_of(only(tmp_path, changed(dataset=table)))
    assert hierarchy.name == "xyz"
    assert hierarchy.levels == (("a", "b", "c"), ("low", "low", "high"))
    assert hierarchy.superclasses == ("low", "low", "high")


def test_without_superclasses_each_class_stands_alone(tmp_path: Path) -> None:
    table = '{ classes = ["x", "y"], input_size = [3, 8, 8] }'
    assert hierarchy_of(only(tmp_path, changed(dataset=table))).superclasses == ("x", "y")


def own(text: str) -> dict[str, str]:
    return {"dataset": f"{{ {text}, input_size = [3, 8, 8] }}"}


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"epss": "1"}, 15, "models[0].epss: unknown key; did you mean eps?"),
        ({"qqq": "1"}, 15, "models[0].qqq: unknown key; expected one of: name, weights, norm, eps"),
        ({"weights": None}, 6, "models[0].weights: missing: the name of the weight file in the folder"),
        ({"eps": None}, 6, "models[0].eps: missing: the attack radius, such as '8/255'"),
        ({"dataset": None}, 6, "models[0].dataset: missing"),
        ({"eps": "0"}, 11, "models[0].eps: expected a radius above 0, in units of the [0, 1] pixels, got 0"),
        ({"eps": "-0.1"}, 11, "expected a radius above 0"),
        ({"eps": "nan"}, 11, "expected a radius above 0"),
        ({"eps": "2"}, 11, "models[0].eps: expected an Linf radius of at most 1"),
        ({"eps": '"8/0"'}, 11, "expected a number such as 0.03 or 8/255, got '8/0'"),
        ({"eps": '"much"'}, 11, "expected a number such as 0.03 or 8/255, got 'much'"),
        ({"eps": "true"}, 11, "expected a number such as 0.03 or 8/255, got True"),
        ({"eps": "[0.1]"}, 11, "expected a number such as 0.03 or 8/255, got [0.1]"),
        ({"norm": '"linf"'}, 10, "models[0].norm: expected Linf, L2 or L1, got 'linf'; did you mean Linf?"),
        ({"dataset": '"fashion-mnist"'}, 9, "no data set named 'fashion-mnist'; did you mean fashion_mnist?"),
        ({"dataset": '"pet"'}, 9, "no data set named 'pet'; did you mean pets?"),
        ({"dataset": "3"}, 9, "models[0].dataset: expected the name of a data set, or a table, got 3"),
        ({"name": '"a b"'}, 7, "models[0].name: expected letters, digits and"),
        ({"name": "3"}, 7, "models[0].name: expected text, got 3"),
        ({"mean": "[0.5]"}, 13, "models[0].std: expected 1 numbers, as many as in mean, got 3"),
        ({"mean": "[0.5]", "std": "[0.5]"}, 12, "mean: expected 3 numbers, one for each channel of [3, 8, 8]"),
        ({"mean": "[123.7, 116.3, 103.5]"}, 12, "expected means of [0, 1] pixels, got [123.7, 116.3, 103.5]"),
        ({"std": "[0.5, 0.5, 0.0]"}, 13, "expected standard deviations of [0, 1] pixels, above 0, got [0.5, 0.5, 0.0]"),
        ({"std": None}, 6, "models[0].std: missing: one number for each channel, for [0, 1] pixels, or 'none'"),
        ({"mean": "0.5"}, 12, "expected a list of numbers, one for each channel, or 'none', got 0.5"),
        ({"input_size": "[8, 8]"}, 15, "models[0].input_size: expected [channels, height, width], got [8, 8]"),
        ({"sha256": '"abc"'}, 15, "models[0].sha256: expected 64 hexadecimal digits"),
        ({"interpolation": '"nearest"'}, 15, "interpolation: expected 'bilinear' or 'bicubic', got 'nearest'"),
        ({"resize": "0"}, 15, "models[0].resize: expected pixels, [height, width] or 'none', got 0"),
        ({"resize": "4"}, 15, "models[0].resize: expected at least the size of the crop, [8, 8], got 4"),
        ({"crop": "4"}, 15, "models[0].crop: expected [8, 8], the size of input_size, got [4, 4]"),
        ({"weights": '"../net.pt"'}, 8, "models[0].weights: '../net.pt' leads out of the folder"),
        ({"weights": '"/etc/passwd"'}, 8, "models[0].weights: '/etc/passwd' leads out of the folder"),
        ({"weights": '"a/../../net.pt"'}, 8, "models[0].weights: 'a/../../net.pt' leads out of the folder"),
        ({"weights": '""'}, 8, "models[0].weights: '' leads out of the folder"),
        ({"weights": '"https://h/w.pt?token=hunter2"'}, 8, "weights: expected the name of a file in the folder"),
        ({"mean": '"none"', "std": "[0.5, 0.5, 0.5]"}, 13, "expected 'none' for both mean and std, or numbers"),
        ({"mean": "[0.5, 0.5, 0.5]", "std": '"none"'}, 13, "expected 'none' for both mean and std, or numbers"),
        ({"threat_model": '""'}, 15, "models[0].threat_model: expected at least 1 characters, got ''"),
        ({"weights": '"a\\u0000b"'}, 8, "with the control character U+0000"),
        ({"key": "3"}, 15, "models[0].key: expected text, got 3"),
        ({"prefix": '["a"]'}, 15, 'models[0].prefix: expected text, got ["a"]'),
        ({"architecture": '{ python = "../nets.py:make" }'}, 14, "'../nets.py' leads out of the folder"),
        ({"architecture": '{ python = "out.py:make" }'}, 14, "'out.py' leads out of the folder"),
        ({"architecture": '{ python = "none.py:make" }'}, 14, "there is no file 'none.py' in the folder"),
        ({"architecture": '{ python = "nets.py" }'}, 14, "expected 'file.py:function', got 'nets.py'"),
        ({"architecture": "{}"}, 14, "models[0].architecture: expected either timm or python"),
        ({"architecture": '{ tim = "resnet18" }'}, 14, "models[0].architecture.tim: unknown key; did you mean timm?"),
        ({"architecture": '"resnet18"'}, 14, "models[0].architecture: expected"),
        ({"architecture": '{ timm = "hf-hub:some/where" }'}, 14, "expected one of timm's own names"),
        (
            {"architecture": '{ timm = "resnet18", kwargs = { pretrained = true } }'},
            14,
            "models[0].architecture.kwargs: pretrained cannot be set here, because the weights come only from the file",
        ),
        ({"architecture": '{ timm = "resnet18", kwargs = { day = 2020-01-01 } }'}, 14, "expected only finite numbers"),
        (own('classes = ["x"]'), 9, "models[0].dataset.classes: expected 2 classes or more, got 1"),
        (own('classes = ["x", "y", "x"]'), 9, "dataset.classes: expected each class once, these are named twice: x"),
        (own('classes = "fashion"'), 9, "no data set named 'fashion'; did you mean fashion_mnist?"),
        (own('classes = 3'), 9, "expected a list of names, or the name of a known data set, got 3"),
        (own('path = "x"'), 9, "models[0].dataset.classes: missing: a list of names in the order of the logits"),
        (
            own('classes = ["x", "y", "z"], superclasses = { a = ["x"], b = ["y"] }'),
            9,
            "models[0].dataset.superclasses: 1 of 3 classes are in no group (z)",
        ),
        (
            own('classes = ["cat", "dog"], superclasses = { a = ["cat", "dgo"] }'),
            9,
            "1 of 2 classes are in no group (dog); 'dgo' is not a class; did you mean dog?",
        ),
        (own('classes = ["x", "y"], superclasses = { a = ["x", "y"], b = ["x"] }'), 9, "in two groups: x"),
        (own('classes = ["x", "y"], superclasses = 3'), 9, "expected a table of groups, or a list of such"),
        (
            own('classes = ["x", "y"], superclasses = [{ a = ["x", "y"] }, { a = ["x"] }]'),
            9,
            "level 1: 1 of 2 classes are in no group (y)",
        ),
        (
            own('classes = ["x", "y"], superclasses = [{ a = ["x", "y"] }, { a = ["x"], b = ["y"] }]'),
            9,
            "expected the levels in order, the one with most groups first",
        ),
        (own('classes = ["x", "y"], superclasses = { a = ["x", "y"] }, headline = 1'), 9, "expected a level from 0"),
        (own('classes = "cifar10", headline = 9'), 9, "expected a level from 0 to 1, got 9"),
        (own('classes = ["x", "y"], headline = -1'), 9, "expected a level from 0 to 0, got -1"),
        ({"dataset": '{ classes = ["x", "y"] }'}, 6, "models[0].input_size: missing: [channels, height, width]"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, changes: dict, line: int, message: str) -> None:
    (tmp_path / "zoo").mkdir()
    for name in ("out.pt", "out.py"):
        (tmp_path / name).touch()
        (tmp_path / "zoo" / name).symlink_to(tmp_path / name)
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        zoo(tmp_path / "zoo", changed(**changes)).entries()
    (said,) = str(caught.value).splitlines()
    assert said.startswith(f"zoo.toml:{line}: models[0].")


def test_all_mistakes_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = HEAD.replace('"cow"] }', '"cwo"] }') + MODEL.replace("eps", "epss") + "\n" + MODEL.replace("8/255", "8/0")
    text += 'arch = 1\n[model]\nname = "x"\n'
    with pytest.raises(UsageError) as caught:
        zoo(tmp_path, text).entries()
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in lines] == [
        "zoo.toml:3 datasets.pets.superclasses",
        "zoo.toml:6 models[0].eps",
        "zoo.toml:11 models[0].epss",
        "zoo.toml:17 models[1].name",
        "zoo.toml:21 models[1].eps",
        "zoo.toml:25 models[1].arch",
        "zoo.toml:26 model",
    ]
    assert "expected a unique name, got 'net', the name of models[0]" in lines[3]
    assert lines[-1].endswith("unknown key; did you mean models?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "zoo.toml:1: models: expected at least one [[models]] table"),
        ("[models]\n", "zoo.toml:1: models: expected at least one [[models]] table"),
        ("models = [1]\n", "expected at least one [[models]] table"),
        ("datasets = 3\n" + MODEL, "zoo.toml:1: datasets: expected tables: [datasets.NAME]"),
        ("[datasets]\npets = 3\n" + MODEL, "zoo.toml:2: datasets.pets: "),
        ("[models]\na = 1\n", "zoo.toml:1: models: expected at least one [[models]] table; [models] is one table"),
        ("[[models]\n", "zoo.toml:1: expected [TABLE] or [[TABLE]]"),
        ('a = 1\nb = "\n', "zoo.toml:2: expected a text to end with the quote it began with"),
        ("a = " + 2000 * "[" + 2000 * "]", "zoo.toml is not TOML: "),
    ],
)
def test_files_that_are_no_zoo(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        zoo(tmp_path, text).entries()


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no zoo.toml in .*`auditor zoo init"):
        LocalZoo(tmp_path).entries()
    (tmp_path / "zoo.toml").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*zoo.toml"):
        LocalZoo(tmp_path).entries()


@pytest.mark.long
@pytest.mark.parametrize("architecture", ['{ python = "nets.py:make" }', '{ timm = "resnet18" }'])
def test_listing_runs_no_code_and_imports_no_torch_where_all_is_said(tmp_path: Path, architecture: str) -> None:
    zoo(tmp_path, changed(architecture=architecture, resize='"none"'))
    code = (
        "import sys\nfrom auditor.cli import main\n"
        f"try:\n    main(['zoo', 'list', 'local', {str(tmp_path)!r}])\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "local:net" in done.stdout


def test_the_example_is_valid_and_so_are_its_alternatives(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert [entry.model for entry in zoo(tmp_path, text).entries()] == ["local:pets-resnet18"]
    (tmp_path / "networks.py").touch()
    whole = re.sub(r"^#(?=\S)", "", text, flags=re.M)
    entries = zoo(tmp_path, whole).entries()
    assert [entry.model.removeprefix("local:") for entry in entries] == ["pets-resnet18", "mine", "borrowed"]
    known = set(re.findall(r"^(\w+) = ", whole, flags=re.M))
    from auditor.zoo.local.datasets import DatasetTable
    from auditor.zoo.local.tables import Model

    assert set(Model.model_fields) | set(DatasetTable.model_fields) <= known


def test_init_makes_a_zoo_once(tmp_path: Path) -> None:
    from click.testing import CliRunner

    folder = tmp_path / "new" / "zoo"
    first = CliRunner().invoke(main, ["zoo", "init", str(folder)])
    assert (first.exit_code, (folder / "zoo.toml").read_bytes()) == (0, EXAMPLE.read_bytes())
    (folder / "zoo.toml").write_text("mine")
    again = CliRunner().invoke(main, ["zoo", "init", str(folder)])
    assert again.exit_code == 2
    assert "already exists and was not changed" in again.stderr
    assert (folder / "zoo.toml").read_text() == "mine"
    (tmp_path / "file").touch()
    assert CliRunner().invoke(main, ["zoo", "init", str(tmp_path / "file" / "zoo")]).exit_code == 2


def test_every_key_is_documented() -> None:
    from auditor.zoo.local.datasets import DatasetTable
    from auditor.zoo.local.tables import Architecture, Model

    text = (Path(__file__).parent.parent.parent / "docs" / "local-zoos.md").read_text()
    for table in (Model, DatasetTable, Architecture):
        for key in table.model_fields:
            assert f"`{key}`" in text


def test_the_documented_examples_are_valid(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    blocks = re.findall(r"```toml\n(.*?)```", (root / "docs" / "local-zoos.md").read_text(), flags=re.S)
    *zoos, example = blocks
    (tmp_path / "networks.py").touch()
    models = [entry.model for text in zoos for entry in zoo(tmp_path, text).entries()]
    assert sorted(models) == ["local:clothes", "local:narrow", "local:pets-resnet18", "local:wide"]
    script = (root / "examples" / "efficientnet_lite0.py").read_text()
    assert set(example.splitlines()) <= set(script.splitlines())  # which has a test of its own
