"""The model card of a checkpoint: results, usage, limits, recipe, training and licence."""

from collections.abc import Iterable, Iterator
from typing import Any

from auditor.checkpoints.metadata import dataset_name, front_matter
from auditor.checkpoints.origin import Origin
from auditor.checkpoints.usage import usage
from auditor.checkpoints.wording import recipe_words, signed_points, threat, verdict_words
from auditor.errors import one_line
from auditor.records import ZooEntry
from auditor.records.checkpoints import AuditSummary, CheckpointRow
from auditor.text.numbers import DASH, MINUS, interval, number, p_equation, percent

CONFIG = "config.json"


def model_card(row: CheckpointRow, entry: ZooEntry, original: ZooEntry, origin: Origin) -> str:
    """README.md in the Hugging Face format.

    Args:
        row: the checkpoint as auditor.db.checkpoints returns it.
        entry: the checkpoint's entry.
        original: the entry of the model from which fine-tuning started.
        origin: the licence and the repository of that model.
    """
    sections = (
        ("Before and after", _results(row)),
        ("How to use it", usage(entry, original)),
        ("Intended use and limits", _limits(row, entry)),
        ("Recipe", _recipe(row)),
        ("Training", _history(row)),
        ("Lineage and digests", _lineage(row, entry, original)),
        ("Licence", _licence(original, origin)),
        ("Versions", _bullets(sorted(row.versions.items()))),
    )
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections)
    return f"{front_matter(row, entry, origin)}{_head(row, entry)}\n{body}"


def _head(row: CheckpointRow, entry: ZooEntry) -> str:
    return (
        f"# {row.checkpoint}: {_text(row.model)}, fine-tuned for robustness\n\n"
        f"**{_text(verdict_words(row))}**\n\n"
        f"An image classifier on {_text(dataset_name(entry))}, fine-tuned by auditor: {recipe_words(row.recipe)}.\n"
    )


def _results(row: CheckpointRow) -> str:
    columns = [row.before, row.after]
    if columns == [None, None]:
        return "The parent and this checkpoint were not audited under one protocol, so there is no comparison."
    cells: list[tuple[str, Iterable[str]]] = [
        ("clean accuracy", (percent(one.clean_accuracy if one else None) for one in columns)),
        ("robust accuracy (95 % interval)", (_robust(one) for one in columns)),
        ("gap of the linearized network", (_gap(one) for one in columns)),
        ("images", (f"{one.n:,}" if one else DASH for one in columns)),
        ("flags", (", ".join(one.flags) or "none" if one else DASH for one in columns)),
        ("audit", (str(one.audit) if one else "not audited" for one in columns)),
    ]
    lines = [f"| | before: {_text(row.model)} | after: {row.checkpoint} |", "| --- | --- | --- |"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in cells]
    under = f"Both audits used auditor's protocol `{row.protocol}` under {threat(row)} on {row.device}."
    return "\n".join([under, "", *lines, *_paired(row)])


def _robust(one: AuditSummary | None) -> str:
    if one is None or one.robust_interval is None:
        return DASH
    robust, low, high = one.robust_interval
    return f"{percent(robust)} ({interval(low, high, percent)})"


def _gap(one: AuditSummary | None) -> str:
    return number(one.gap if one else None, 3, MINUS)


def _paired(row: CheckpointRow) -> Iterator[str]:
    paired = row.comparison
    if paired is None:
        return
    yield ""
    yield (
        f"Of the {paired.n:,} images that both audits share, {paired.only_before} were robust only before and "
        f"{paired.only_after} only after: a difference of {signed_points(paired.difference)} points "
        f"(95 % interval {interval(paired.low, paired.high, signed_points)}), McNemar's exact two-sided test: "
        f"{p_equation(paired.p_value)}."
    )


def _limits(row: CheckpointRow, entry: ZooEntry) -> str:
    n = f"{row.after.n:,} test images" if row.after and row.after.n else "no test images"
    return _list(
        f"Use this model for research on adversarial robustness and as a starting point for fine-tuning, on images "
        f"like those of {_text(dataset_name(entry))} at {' × '.join(map(str, entry.input_size))}.",
        f"Robust accuracy is empirical: the fraction of {n} on which the known attacks failed. It is not a "
        "certificate; stronger attacks can only lower it.",
        f"The results hold for one threat model, {threat(row)} in [0, 1] pixels. Other norms, larger radii, "
        "corruptions and distribution shifts were not tested.",
        "The gap is only evidence of robustness; the attacks measure it.",
        "Do not use this model for decisions about people, or as the only protection of a system.",
    )


def _recipe(row: CheckpointRow) -> str:
    return _bullets((name, value) for name, value in row.recipe.items())


def _history(row: CheckpointRow) -> str:
    seed = row.recipe["seed"]
    kept = f"The weights are those of epoch {row.best}, which has the best PGD accuracy on held-out training images."
    ended = f" Training ended early: {_text(row.stopped)}." if row.stopped else ""
    summary = f"Seed {seed}, {row.seconds:,.0f} s on {row.device}, finished {row.created_at}. {kept}{ended}"
    lines = ["| epoch | loss | clean accuracy | PGD accuracy | gap |", "| --- | --- | --- | --- | --- |"]
    for one in row.history:
        loss, clean, pgd, gap = (one[key] for key in ("loss", "clean_accuracy", "pgd_accuracy", "gap"))
        cells = [number(loss, 3, MINUS), percent(clean), percent(pgd), number(gap, 3, MINUS)]
        lines.append(f"| {one['number']} | {' | '.join(cells)} |")
    return "\n".join(
        [
            summary,
            "Epoch 0 is the parent. All accuracies below are on validation images, not on test images.",
            "",
            *lines,
        ]
    )


def _lineage(row: CheckpointRow, entry: ZooEntry, original: ZooEntry) -> str:
    chain = " → ".join(_text(name) for name in (*row.lineage, row.checkpoint))
    pairs = [
        ("lineage", chain),
        ("parent", _text(row.model)),
        ("SHA-256 of the parent's weights", f"`{row.parent_sha256}`"),
        ("SHA-256 of these weights", f"`{row.weights_sha256}`"),
        ("SHA-256 of the file model.safetensors", f"`{entry.file_sha256}`"),
    ]
    about = "The first two digests cover names, types, shapes and values, in any file format."
    if row.model == original.model and {"onnx", "export"} & original.architecture.keys():
        about = "The parent's digest is that of its file; the next covers names, types, shapes and values, in any file."
    return f"{_bullets(pairs)}\n\n{about}"


def _licence(original: ZooEntry, origin: Origin) -> str:
    if origin.license:
        noncommercial = " It forbids commercial use." if "-nc" in origin.license else ""
        return (
            f"The original model, {_text(original.model)}, has the licence `{origin.license}` according to "
            f"{origin.license_from}. Treat these weights as bound by the same licence.{noncommercial}"
        )
    return (
        f"Auditor does not know the licence of the original model, {_text(original.model)}. These weights are derived "
        "from it: before you publish or use them, find out what its publisher allows. A missing licence is not a "
        "permission."
    )


def _bullets(pairs: Iterable[tuple[str, Any]]) -> str:
    return _list(*(f"{name}: {value}" for name, value in pairs))


def _list(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(value: Any) -> str:
    """Untrusted text on one line, with Markdown and table characters escaped."""
    plain = one_line(str(value))
    for letter in "\\`*_|<>[]":
        plain = plain.replace(letter, f"\\{letter}")
    return plain
