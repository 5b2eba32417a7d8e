"""Where keys stand in a TOML text, against the slow way: the shortest beginning of the text that has the key."""

import tomllib

import pytest

from auditor.zoo.local.lines import Key, line_of, lines_of

TEXT = '''# a comment
top = 1
"quoted key" = { inner = 2, list = [1, { deep = 3 }] }   # [not a table]

[datasets.pets]
classes = [
  "a",  # ]
  "]",
  "b",
]
text = """
[[models]]
name = "not a key"
"""
superclasses.one = ["a"]
superclasses.two = ["b"]

[[models]]
name = "first"
[models.architecture]
timm = "resnet18"

[[models.dataset.superclasses]]
a = 1
[[models.dataset.superclasses]]
a = 2

[[ models ]]
name = 'second'
eps = 1
[[models.dataset.superclasses]]
a = 3
'''


def _keys(value: object, path: Key = ()) -> list[Key]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [key for name, item in items for key in [(*path, name), *_keys(item, (*path, name))]]


def _slowly(text: str) -> dict[Key, int]:
    """The statement that first brings a key begins after the longest valid text without it."""
    found: dict[Key, int] = {}
    last_valid = 0
    lines = text.split("\n")
    for number in range(1, len(lines) + 1):
        try:
            keys = _keys(tomllib.loads("\n".join(lines[:number]).removesuffix("\r")))
        except tomllib.TOMLDecodeError:
            continue
        for key in keys:
            found.setdefault(key, last_valid + 1)
        last_valid = number
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_key_has_the_line_of_the_statement_that_brings_it(end: str) -> None:
    text = TEXT.replace("\n", end)
    slowly, found = _slowly(text), lines_of(text)
    assert set(found) <= set(slowly)
    assert {key: line_of(key, found) for key in found} == {key: slowly[key] for key in found}
    leaves = [key for key in slowly if not any(other[: len(key)] == key for other in slowly if other != key)]
    assert set(leaves) <= set(found)
    assert found["models", 1, "eps"] == 30
    assert found["models", 0, "dataset", "superclasses", 1, "a"] == 26


def test_what_is_missing_has_the_line_of_its_table() -> None:
    found = lines_of(TEXT)
    assert line_of(("models", 1, "weights"), found) == 28
    assert line_of(("datasets", "pets", "path"), found) == 5
    assert line_of(("nothing",), found) == 1
