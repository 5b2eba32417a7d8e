"""Which results of a model over time have the same setting, so that a line may join them."""

from auditor.records.results import ResultRow


def has_same_scale(row: ResultRow, other: ResultRow) -> bool:
    """Whether one axis can show both: their data set, protocol and threat model are the same."""
    return all(getattr(row, name) == getattr(other, name) for name in ("dataset", "protocol", "norm", "eps"))


def setting_differences(row: ResultRow, other: ResultRow) -> list[str]:
    """How the setting of ``other`` differs from that of ``row``, such as ``seed 1`` and ``torch 2.9``.

    The setting is all that can change numbers, but for the weights: images, seed, treatment of C, versions.
    """
    words = {
        "n": f"{other.n or 'no'} images",
        "seed": f"seed {other.seed}",
        "linearization": "batch norm folded" if other.linearization == "fold" else "batch norm removed",
        "sketch": "C exact" if other.sketch is None else f"C a sketch of {other.sketch} probes",
        "extra_attacks": f"with {other.extra_attacks}" if other.extra_attacks else "the protocol's attacks alone",
        "hierarchy": f"hierarchy {other.hierarchy or 'unknown'}",
    }
    found = [text for name, text in words.items() if getattr(row, name) != getattr(other, name)]
    if row.n == other.n and row.images_sha256 != other.images_sha256:
        found.append("other images")
    for name in sorted({*row.versions, *other.versions}):
        if row.versions.get(name) != other.versions.get(name):
            found.append(f"{name} {other.versions.get(name, 'unknown')}")
    return found
