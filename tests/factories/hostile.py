"""Text that must not reach a terminal."""

HOSTILE = {
    "ESC": "a\x1b[2Jb",
    "BEL": "a\x07b",
    "8-bit CSI": "a\x9b31mb",
    "NUL": "a\x00b",
    "DEL": "a\x7fb",
    "backspace": "a\x08b",
    "line feed": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "vertical tab": "a\x0bb",
    "next line": "a\x85b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "right-to-left override": "a\u202eb",
    "isolate": "a\u2066b",
    "right-to-left mark": "a\u200fb",
    "byte order mark": "a\ufeffb",
    "zero width space": "a\u200bb",
    "half of a pair": "a\ud800b",
}
