"""zoo.toml as editors and people write it: other encodings are read, and what is not TOML is named with its line."""

from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.zoo.local import LocalZoo
from tests.factories.local_zoo import HEAD, MODEL, changed, zoo

GOOD = HEAD + MODEL.replace('"net"', '"né"')


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "utf-32", "utf-32-be-mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_that_say_what_they_are_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    zoo(tmp_path, "")
    text = GOOD.replace("\n", end)
    mark = "\ufeff" if encoding.endswith("-mark") else ""
    (tmp_path / "zoo.toml").write_bytes((mark + text).encode(encoding.removesuffix("-mark")))
    assert [entry.model for entry in LocalZoo(tmp_path).entries()] == ["local:né"]
    (tmp_path / "zoo.toml").write_bytes((mark + text.replace("eps", "epss")).encode(encoding.removesuffix("-mark")))
    with pytest.raises(UsageError, match=r"zoo.toml:11: .*did you mean eps"):
        LocalZoo(tmp_path).entries()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            GOOD.encode("latin-1"),
            "zoo.toml:7: expected UTF-8, got byte 0xe9 (Latin-1, Windows-1252?): save the file as UTF-8",
        ),
        ((HEAD + "# “x”\n").encode("cp1252"), "zoo.toml:6: expected UTF-8, got byte 0x93"),
        (GOOD.encode("utf-16-le"), "zoo.toml:1: expected UTF-8, got UTF-16 or UTF-32 without a byte order mark"),
        (GOOD.encode("utf-16-be"), "zoo.toml:1: expected UTF-8, got UTF-16"),
        (GOOD.encode("utf-16")[:-1], "expected UTF-16-LE, because of the byte order mark, got byte 0x"),
        (HEAD.encode() + b"# \x00\n", "zoo.toml:6: expected text, got a NUL character"),
    ],
)
def test_encodings_that_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "zoo.toml").write_bytes(raw)
    with pytest.raises(UsageError) as caught:
        LocalZoo(tmp_path).entries()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("radius = 8/255", 'expected a fraction in quotes, "8/255"'),
        ("radius = 4.0 / 255  # Linf", 'expected a fraction in quotes, "4.0 / 255"'),
        ("kwargs = { eps = 1/255 }", 'expected a fraction in quotes, "1/255"'),
        ("radius = 0,03", "expected a decimal point, not a comma, got 0,03"),
        ("radius = .03", "expected a digit before the decimal point, such as 0.03"),
        ("radius = 08", "expected a number without leading zeros, got 08"),
        ('description = “words”', "expected straight quotes, got typographic ones"),
        ("description = ‘words’", "expected straight quotes, got typographic ones"),
        ("description = „words“", "expected straight quotes, got typographic ones"),
        ("kwargs = { bias = True }", "expected true or false, in small letters"),
        ("kwargs = { bias = FALSE }", "expected true or false, in small letters"),
        ("kwargs = { bias = yes }", "expected true or false, in small letters"),
        ("sha256 = None", "TOML has no null: leave the key out"),
        ("sha256 = null", "TOML has no null: leave the key out"),
        ("description = words", "expected texts in quotes"),
        ("path = ../data", "expected texts in quotes"),
        ("path = ~/data", "expected texts in quotes"),
        (r'path = "C:\Users\me"', "in double quotes a backslash begins an escape"),
        (r'path = "C:\data"', "in double quotes a backslash begins an escape"),
        (r'path = "C:\data\"', "in double quotes a backslash begins an escape"),
        (r'path = "\u12"', "in double quotes a backslash begins an escape"),
        ('description = "words', "expected a text to end with the quote it began with"),
        ("description = 'words", "expected a text to end with the quote it began with"),
        ("description = 'words\nname = 'net'", "expected a text to end with the quote it began with"),
        ('description = """words', "expected a text to end with the quote it began with"),
        ("description = 'it's'", "expected one value on a line, got more after it"),
        ("norm = 1", "norm is defined twice"),
        ("[datasets.pets]", "[datasets.pets] is defined twice; begin each model with [[models]]"),
        ("[models]", "[models] is defined twice; begin each model with [[models]]"),
        ("description: words", "expected = between key and value, got :"),
        ("my key = 1", "a key with spaces needs quotes"),
        ("// words", "expected # before a comment"),
        ("seed = 1 // words", "expected # before a comment"),
        ("resize = (8, 8)", "expected a list in [ ], got one in ( )"),
        ("resize = 8,", "expected no comma at the end of a line"),
        ("kwargs = { a = 1, }", "expected no comma before }"),
        ("kwargs = {", "expected an inline table { … } to end on the line on which it begins"),
        ("[[models]", "expected [TABLE] or [[TABLE]]"),
        ("[a b]", "expected [TABLE] or [[TABLE]]"),
        ("resize =", "expected a value after ="),
        ("größe = 1", "expected a key of plain letters"),
        ("<<<<<<< HEAD", "expected TOML, got another format"),
        ("resize = 8\rcrop = 8", "expected lines that end with a line feed, got bare carriage returns"),
        ("resize =\u00a08", "expected printable characters, got U+00A0 in column 9"),
        ('description = "a\x07b"', "expected printable characters, got U+0007 in column 17"),
        ("resize = 8x", "expected one value on a line, got more after it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_is_not_toml_is_named_with_its_line(tmp_path: Path, line: str, message: str, end: str) -> None:
    zoo(tmp_path, "")
    (tmp_path / "zoo.toml").write_bytes((HEAD + MODEL + line + "\nlast = 1\n").replace("\n", end).encode())
    with pytest.raises(UsageError) as caught:
        LocalZoo(tmp_path).entries()
    said = str(caught.value)
    assert said.startswith("zoo.toml:15: ")
    assert message in said
    assert "\n" not in said


def test_a_list_that_is_not_closed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"zoo.toml:17: expected \] at the end of a list, and a comma between its items"
    ):
        zoo(tmp_path, HEAD + MODEL + "resize = [\n8\n8\n]\n").entries()


def test_tabs_and_trailing_commas_are_toml(tmp_path: Path) -> None:
    text = HEAD + MODEL.replace("\n", "\n\t").replace("0.5, 0.5, 0.5]", "0.5,\t0.5, 0.5,\n]")
    assert [entry.model for entry in zoo(tmp_path, text).entries()] == ["local:net"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": r'"runs\best.pt"'}, r"models[0].weights: expected a path, got 'runs\x08est.pt' with \b, "),
        ({"weights": r'"runs\new.pt"'}, r"with \n, a line feed: in double quotes a backslash begins an escape"),
        ({"weights": r'"runs\teacher.pt"'}, r"with \t, a tab"),
        ({"weights": r'"runs\full.pt"'}, r"with \f, a form feed"),
        ({"weights": r'"a\u0000b"'}, "with the control character U+0000"),
        ({"weights": r"'runs\best.pt'"}, "there is no file 'runs\\\\best.pt' in the folder: write paths with forward"),
        ({"architecture": r'{ python = "src\nets.py:make" }'}, r"models[0].architecture.python: expected a path"),
        ({"dataset": r'{ classes = ["x", "y"], path = "C:\new" }'}, r"models[0].dataset.path: expected a path"),
        ({"dataset": r'{ classes = ["x", "y"], path = "data\b" }'}, r"with \b, a backspace"),
    ],
)  # fmt: skip
def test_paths_that_toml_reads_otherwise_than_written(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        zoo(tmp_path, changed(**changes)).entries()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_backslash_may_stand_in_a_name_where_there_is_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs\\best.pt").touch()
    assert zoo(tmp_path, changed(weights=r"'runs\best.pt'")).entries()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + MODEL.replace("[[models]]", "[[model]]"), "zoo.toml:6: model: unknown key; did you mean models?"),
        (HEAD.replace("[datasets.", "[dataset.") + MODEL, "zoo.toml:1: dataset: unknown key; did you mean datasets?"),
        (HEAD + MODEL + '[models.datset]\npath = "x"\n', "zoo.toml:15: models[0].datset: unknown key; did you mean"),
        (MODEL + '\n[datset.pets]\nclasses = ["x", "y"]\n', "zoo.toml:11: datset: unknown key; did you mean datasets?"),
        (HEAD + MODEL.replace("[[models]]", "[models]"), "zoo.toml:6: models: expected at least one [[models]] table;"),
        (HEAD.replace("input_size", "channels = 1\ninput_size") + MODEL, "zoo.toml:4: datasets.pets.channels: unknown"),
    ],
)
def test_misspelt_tables_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        zoo(tmp_path, text).entries()
    assert any(line.startswith(said) for line in str(caught.value).splitlines())
