"""The model card: what a checkpoint is, what it is worth, and what it is not."""

from collections.abc import Iterable, Iterator
from typing import Any

from auditor.checkpoints.metadata import dataset_name, front_matter
from auditor.checkpoints.origin import Origin
from auditor.checkpoints.usage import usage
from auditor.checkpoints.wording import Row, recipe_words, signed_points, threat, verdict_words
from auditor.errors import one_line
from auditor.records import ZooEntry
from auditor.text.numbers import DASH, MINUS, interval, number, p_equation, percent

CONFIG = "config.json"


def model_card(row: Row, entry: ZooEntry, began: ZooEntry, origin: Origin) -> str:
    """README.md in the Hugging Face format.

    Args:
        row: the checkpoint as auditor.db.checkpoints gives it.
        entry, began: of the checkpoint, and of the zoo's model that it began as.
    """
    sections = (
        ("Before and after", _results(row)),
        ("How to use it", usage(entry, began)),
        ("Intended use and limits", _limits(row, entry)),
        ("Recipe", _recipe(row)),
        ("Training", _history(row)),
        ("Lineage and digests", _lineage(row, entry)),
        ("Licence", _licence(began, origin)),
        ("Versions", _bullets(sorted(row["versions"].items()))),
    )
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections)
    return f"{front_matter(row, entry, origin)}{_head(row, entry)}\n{body}"


def _head(row: Row, entry: ZooEntry) -> str:
    return (
        f"# {row['checkpoint']}: {_text(row['model'])}, fine-tuned for robustness\n\n"
        f"**{_text(verdict_words(row))}**\n\n"
        f"An image classifier on {_text(dataset_name(entry))}, fine-tuned by auditor: {recipe_words(row['recipe'])}.\n"
    )


def _results(row: Row) -> str:
    columns = [row["before"], row["after"]]
    if columns == [None, None]:
        return "Neither the parent nor this checkpoint was audited under one protocol: there is nothing to compare."
    cells: list[tuple[str, Iterable[str]]] = [
        ("clean accuracy", (percent(one and one["clean_accuracy"]) for one in columns)),
        ("robust accuracy (95 % interval)", (_robust(one) for one in columns)),
        ("gap of the linearized network", (_gap(one) for one in columns)),
        ("images", (f"{one['n']:,}" if one else DASH for one in columns)),
        ("flags", (", ".join(one["flags"]) or "none" if one else DASH for one in columns)),
        ("audit", (str(one["audit"]) if one else "not audited" for one in columns)),
    ]
    lines = [f"| | before: {_text(row['model'])} | after: {row['checkpoint']} |", "| --- | --- | --- |"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in cells]
    under = f"Both under auditor's protocol `{row['protocol']}`, {threat(row)}, on {row['device']}."
    return "\n".join([under, "", *lines, *_paired(row)])


def _robust(one: dict[str, Any] | None) -> str:
    if one is None or one["robust_accuracy"] is None:
        return DASH
    return f"{percent(one['robust_accuracy'])} ({interval(one['robust_low'], one['robust_high'], percent)})"


def _gap(one: dict[str, Any] | None) -> str:
    return number(one["gap"] if one else None, 3, MINUS)


def _paired(row: Row) -> Iterator[str]:
    found = row["comparison"]
    if found is None:
        return
    yield ""
    yield (
        f"On the {found['n']:,} images that both audits share, {found['only_before']} stood only before and "
        f"{found['only_after']} only after: a difference of {signed_points(found['difference'])} points (95 % interval "
        f"{interval(found['low'], found['high'], signed_points)}), McNemar's exact two-sided test: "
        f"{p_equation(found['p_value'])}."
    )


def _limits(row: Row, entry: ZooEntry) -> str:
    n = f"{row['after']['n']:,} test images" if row["after"] and row["after"]["n"] else "no test images"
    return _list(
        f"For research on adversarial robustness, and as a starting point for more fine-tuning, on images like those "
        f"of {_text(dataset_name(entry))} at {' × '.join(map(str, entry.input_size))}.",
        f"What is said of robustness is empirical: what known attacks left standing on {n}. It is no certificate; "
        "stronger attacks can only lower it.",
        f"It is about one threat model, {threat(row)} in [0, 1] pixels. Other norms, larger radii, corruptions and "
        "shifts of the data were not tested.",
        "The gap is evidence, not proof: robustness is what survives the attacks.",
        "Not for decisions about people, and not as the only protection of any system.",
    )


def _recipe(row: Row) -> str:
    return _bullets((name, value) for name, value in row["recipe"].items())


def _history(row: Row) -> str:
    seed = row["recipe"]["seed"]
    kept = f"Epoch {row['best']} was kept: the best PGD accuracy on held-out training images."
    ended = f" It ended early: {_text(row['stopped'])}." if row["stopped"] else ""
    said = f"Seed {seed}, {row['seconds']:,.0f} s on {row['device']}, finished {row['created_at']}. {kept}{ended}"
    lines = ["| epoch | loss | clean accuracy | PGD accuracy | gap |", "| --- | --- | --- | --- | --- |"]
    for one in row["history"]:
        loss, clean, pgd, gap = (one[key] for key in ("loss", "clean_accuracy", "pgd_accuracy", "gap"))
        cells = [number(loss, 3, MINUS), percent(clean), percent(pgd), number(gap, 3, MINUS)]
        lines.append(f"| {one['number']} | {' | '.join(cells)} |")
    return "\n".join([said, "Epoch 0 is the model as it came; all of this is validation, not test.", "", *lines])


def _lineage(row: Row, entry: ZooEntry) -> str:
    chain = " → ".join(_text(name) for name in (*row["lineage"], row["checkpoint"]))
    pairs = [
        ("lineage", chain),
        ("parent", _text(row["model"])),
        ("SHA-256 of the parent's weights", f"`{row['parent_sha256']}`"),
        ("SHA-256 of these weights", f"`{row['weights_sha256']}`"),
        ("SHA-256 of the file model.safetensors", f"`{entry.file_sha256}`"),
    ]
    return f"{_bullets(pairs)}\n\nThe first two digests are over names, types, shapes and values, in whatever file."


def _licence(began: ZooEntry, origin: Origin) -> str:
    if origin.license:
        noncommercial = " It forbids commercial use." if "-nc" in origin.license else ""
        return (
            f"{_text(began.model)}, where this began, is under `{origin.license}` by {origin.license_from}; these "
            f"weights, made from its, are to be taken as bound by it, too.{noncommercial}"
        )
    return (
        f"The licence of {_text(began.model)}, where this began, is not known to auditor. These weights are made from "
        "its weights: before passing them on or using them in earnest, find out what its publisher allows; "
        "that nothing is said does not mean that all is allowed."
    )


def _bullets(pairs: Iterable[tuple[str, Any]]) -> str:
    return _list(*(f"{name}: {value}" for name, value in pairs))


def _list(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(words: Any) -> str:
    """Other people's words on one line, with nothing that Markdown or a table would take for its own."""
    plain = one_line(str(words))
    for letter in "\\`*_|<>[]":
        plain = plain.replace(letter, f"\\{letter}")
    return plain
