"""The text of a zoo.toml: decode it, and explain syntax errors with their lines."""

import codecs
import re

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks that editors write, and their encodings."""

PATHS = "write paths with forward slashes, or in single quotes"
ESCAPES = {"\b": r"\b, a backspace", "\t": r"\t, a tab", "\n": r"\n, a line feed", "\f": r"\f, a form feed",
           "\r": r"\r, a carriage return", "\x1b": r"\e, an escape"}  # fmt: skip
"""The characters that TOML reads for a backslash and a letter in double quotes."""

BACKSLASH = f"in double quotes a backslash begins an escape: {PATHS}"

UNCLOSED = "(Illegal|invalid) character '\\\\n'|Unterminated|Expected \"'"

LINES = (
    (
        r"(?P<key>[^=]*)",
        "Cannot (overwrite|declare|mutate)",
        "{key} is defined twice; begin each model with [[models]]",
    ),
    (r".*=\s*(?P<key>[\d.]+\s*/\s*[\d.]+)", "", 'expected a fraction in quotes, "{key}"'),
    (r".*=\s*(?P<key>\d+,\d+)\s*(#.*)?$", "", "expected a decimal point, not a comma, got {key}"),
    (r".*=\s*(?P<key>0\d+)", "", "expected a number without leading zeros, got {key}"),
    (r".*\\[\"']\s*(#.*)?$", "Unterminated|Illegal", BACKSLASH),
    (r"\s*\[[^=]*$", "Expected|Invalid", "expected [TABLE] or [[TABLE]], and nothing after it"),
)
"""The form of a whole line, the parser's message, and the message for the user."""

STOPS = (
    (r"[\"'“”„‟«»‘’‚‛]", "Invalid|Expected '='", "expected straight quotes, got typographic ones"),
    (r"(true|false|yes|no|on|off)\b", "Invalid value", "expected true or false, in small letters"),
    (r"(none|null|nil|~)(?![\w/])", "Invalid value", "TOML has no null: leave the key out"),
    (r"[+-]?\.\d", "Invalid value", "expected a digit before the decimal point, such as 0.03"),
    (r"\(", "Invalid value", "expected a list in [ ], got one in ( )"),
    (r"[\w.~/\\-]", "Invalid value", 'expected texts in quotes, such as "Linf"'),
    (r"\s*$", "Invalid value", "expected a value after ="),
    (r"(//|--|;)", "Invalid|Expected newline", "expected # before a comment"),
    (r",\s*(#.*)?$", "Expected newline", "expected no comma at the end of a line outside of a list"),
    (r"[<{%]|---", "Invalid statement", "expected TOML, got another format"),
    (r"\w", "Invalid statement", "expected a key of plain letters, digits, - and _, or one in quotes"),
    (r"[^\x00-\x7f]", "Expected '='", "expected a key of plain letters, digits, - and _, or one in quotes"),
    (r"\s*:", "Expected '='", "expected = between key and value, got :"),
    (r"\s*\w", "Expected '='", "expected = after a key; a key with spaces needs quotes"),
    (r"\s*$", "Invalid initial character", "expected an inline table { … } to end on the line on which it begins"),
    (r"\}", "Invalid initial character", "expected no comma before }"),
    (r"", "Unescaped|Invalid hex value", BACKSLASH),
    (r"", UNCLOSED, "expected a text to end with the quote it began with"),
    (r"", "Unclosed array", "expected ] at the end of a list, and a comma between its items"),
    (r"", "Expected newline", "expected one value on a line, got more after it"),
)  # fmt: skip
"""The text at which the parser stopped, its message, and the message for the user."""


def decode(raw: bytes) -> str:
    """Decode a file in UTF-8, or in the encoding of its byte order mark, which is left out.

    Raises:
        ValueError: the file has another encoding; the message names the line.
    """
    mark, encoding = next((pair for pair in MARKS if raw.startswith(pair[0])), (b"", "utf-8"))
    if not mark and 0 in raw[:2]:
        raise ValueError("1: expected UTF-8, got UTF-16 or UTF-32 without a byte order mark: save the file as UTF-8")
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = error.object[: error.start].count(b"\n") + 1, error.object[error.start]
        expected = f"{encoding.upper()}, because of the byte order mark" if mark else "UTF-8"
        raise ValueError(
            f"{line}: expected {expected}, got byte 0x{byte:02x} (Latin-1, Windows-1252?): save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{text[: text.index(chr(0))].count(chr(10)) + 1}: expected text, got a NUL character")
    return text


def explain(text: str, error: Exception) -> str:
    """Explain the syntax error in ``text`` with its line: ``6: expected a fraction in quotes, "8/255"``."""
    message, lines = str(error), text.split("\n")
    place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    number = int(place[1]) if place else _last_open_line(lines, message)
    line = lines[number - 1].removesuffix("\r")
    rest = line[int(place[2]) - 1 :] if place else ""
    message = re.sub(r" \(at .*\)$", "", message)
    return f"{number}: {_hint(message, line, rest) or f'not TOML: {message}'}"


def _last_open_line(lines: list[str], message: str) -> int:
    """The line of the last open quote, else the last line with text."""
    quote = next(quote for quote in ("'''", "'", '"""') if f'Expected "{quote}"' in message or quote == '"""')
    numbers = [number for number, line in enumerate(lines, 1) if quote in line]
    return numbers[-1] if numbers else max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)


def _hint(message: str, line: str, rest: str) -> str | None:
    if "\r" in line:
        return "expected lines that end with a line feed, got bare carriage returns"
    letter = rest[:1]
    if letter and not letter.isprintable() and letter != "\n":
        return f"expected printable characters, got U+{ord(letter):04X} in column {len(line) - len(rest) + 1}"
    for table, where in ((LINES, line), (STOPS, rest)):
        for shape, pattern, words in table:
            if re.search(pattern, message) and (found := re.match(shape, where, re.IGNORECASE)):
                return words.replace("{key}", found.groupdict().get("key", "").strip())
    return None


def check_path(value: str) -> str:
    """Return a path without control characters, which Windows' backslashes become in double quotes.

    Raises:
        ValueError: the path holds a control character, which the message names.
    """
    letter = next((letter for letter in value if not letter.isprintable()), None)
    if letter is not None:
        name = ESCAPES.get(letter, f"the control character U+{ord(letter):04X}")
        raise ValueError(
            f"expected a path, got {value!r} with {name}: in double quotes a backslash begins an escape; {PATHS}"
        )
    return value
