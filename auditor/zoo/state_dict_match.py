"""Find the one state dict in a checkpoint that fits a model, under the model's own names."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auditor.errors import ModelLoadError, one_line
from auditor.zoo.pickles import class_of
from auditor.zoo.state_dicts import (
    COUNTER,
    IGNORED,
    Candidate,
    ExpectedNames,
    below_prefix,
    describe_value,
    first_names,
    state_dicts,
)
from auditor.zoo.wrapper_names import WRAPPERS

OFFERED = 4


@dataclass(frozen=True)
class Match:
    """A state dict whose names with ``prefix`` fit a model; ``state`` has the model's own names."""

    found: Candidate
    prefix: str
    state: dict[str, Tensor]
    raw: dict[str, str]

    def setting(self, *, key: bool, prefix: bool) -> str:
        parts = [f'key = "{one_line(self.found.key)}"'] if key else []
        return " and ".join(parts + ([f'prefix = "{one_line(self.prefix)}"'] if prefix else []))


def choose(
    content: Any,
    expected: Mapping[str, Tensor],
    name: str,
    key: str | None,
    prefix: str | None,
    loads: Callable[[dict[str, Tensor]], bool] = lambda _: False,
) -> Match:
    """Choose the one state dict in ``content`` that has all names and shapes of a model.

    Args:
        key: the path of the state dict, if several fit.
        prefix: the beginning of the names, if several sets of names fit.
        loads: whether the model loads a state dict of other names or shapes strictly, because it converts old ones;
            asked only if no state dict fits as it is.

    Raises:
        ModelLoadError: no state dict fits, or several different ones do; the message names the settings that decide.
    """
    candidates = _with_key(list(state_dicts(content)), key, name)
    if not candidates:
        raise ModelLoadError(f"{name} {_describe_missing_state(content)}")
    names = ExpectedNames(expected)
    inner = names.without_outer()
    matches = (
        _all_matches(candidates, names, prefix)
        or (_all_matches(candidates, inner, prefix) if inner else [])
        or [match for match in _renaming_matches(candidates, names, prefix) if loads(match.state)]
    )
    distinct: list[Match] = []
    for one in matches:
        if not any(_are_same(one, other) for other in distinct):
            distinct.append(one)
    if not distinct:
        raise ModelLoadError(f"{name}: {_describe_mismatch(candidates, names, prefix)}")
    if len(distinct) > 1:
        raise ModelLoadError(f"{name} {_describe_ambiguity(distinct)}")
    return distinct[0]


def notes_of(match: Match, expected: Mapping[str, Tensor], name: str) -> tuple[str, ...]:
    """Notes on tensors that were left out and on parts of names that were removed."""
    found, prefix = match.found, match.prefix
    notes = [f"weights: used {one_line(found.key)!r} in {name}"] if found.key else []
    first = next((raw.split(".") for own, raw in match.raw.items() if raw != own), [])
    for part in sorted(WRAPPERS, key=lambda part: first.index(part) if part in first else len(first)):
        number = sum(raw.split(".").count(part) > own.split(".").count(part) for own, raw in match.raw.items())
        if number:
            every = "all " if number == len(match.raw) else ""
            notes.append(f"weights: '{part}.', added by {WRAPPERS[part]}, was removed from {every}{number} names")
    others = [raw for cleaned, raw in found.raw.items() if not cleaned.startswith(prefix)]
    if prefix:
        left = f"; {len(others)} others are ignored: {first_names(others)}" if others else ""
        notes.append(f"weights: used the names in {name} that begin with {one_line(prefix)!r}{left}")
    ignored = Counter(raw.rpartition(".")[2] for raw in found.raw.values() if raw not in expected)
    notes += [f"weights: '{part}', added by {IGNORED[part]}, is ignored" for part in IGNORED if ignored[part]]
    return tuple(notes)


def _with_key(candidates: list[Candidate], key: str | None, name: str) -> list[Candidate]:
    """The candidates at a key or, if there are none, below it."""
    if key is None or not candidates:
        return candidates
    at = [found for found in candidates if found.key == key]
    below = [found for found in candidates if key and found.key.startswith(f"{key}.")]
    if not at and not below:
        there = first_names([found.key for found in candidates])
        raise ModelLoadError(f"{name} has no state dict at key = {one_line(key)!r}; there is one at {there}")
    return at or below


def _all_matches(candidates: Sequence[Candidate], names: ExpectedNames, prefix: str | None) -> list[Match]:
    return [match for found in candidates for match in _matches_of(found, names, prefix)]


def _matches_of(found: Candidate, names: ExpectedNames, prefix: str | None) -> Iterator[Match]:
    """One match for each prefix with all needed names and no others, except those of a longer such prefix."""
    complete = [one for one in _prefixes(found, names) if _is_complete(found, names, one)]
    for one in complete:
        inner = [other for other in complete if other != one and other.startswith(one)]
        if (prefix is None or one == _as_prefix(found, prefix)) and not _extra(found, names, one, inner):
            there = {own: one + name for name, own in names.own.items() if one + name in found.tensors}
            state = _State({own: found.tensors[name] for own, name in there.items()})
            if found.metadata:
                state._metadata = dict(_renamed(found, names, one))
            yield Match(found, one, state, {own: found.raw[name] for own, name in there.items()})


def _best_prefixes(
    candidates: Sequence[Candidate], names: ExpectedNames, prefix: str | None
) -> list[tuple[Candidate, str]]:
    """Each candidate with the given prefix or else the most frequent one."""
    return [
        (found, _prefixes(found, names)[0] if prefix is None else _as_prefix(found, prefix)) for found in candidates
    ]


def _renaming_matches(candidates: Sequence[Candidate], names: ExpectedNames, prefix: str | None) -> Iterator[Match]:
    """All that is below the best prefix of each candidate, whatever its names and shapes."""
    for found, start in _best_prefixes(candidates, names, prefix):
        below = {name.removeprefix(start): name for name in found.tensors if name.startswith(start)}
        state = _State({own: found.tensors[name] for own, name in below.items()})
        if found.metadata:
            state._metadata = {
                module: about
                for dotted, about in found.metadata.items()
                if (module := below_prefix(dotted, start)) is not None
            }
        yield Match(found, start, state, {own: found.raw[name] for own, name in below.items()})


def _renamed(found: Candidate, names: ExpectedNames, prefix: str) -> Iterator[tuple[str, Any]]:
    """The versions of modules under the model's own names."""
    for module, about in found.metadata.items():
        below = below_prefix(module, prefix)
        if below is not None:
            yield from ((own, about) for own in names.modules.get(below, ()))


class _State(dict[str, Tensor]):
    """A state dict with the versions of a model's modules, by which torch converts old checkpoints."""

    _metadata: dict[str, Any]


def _prefixes(found: Candidate, names: ExpectedNames) -> list[str]:
    """Prefixes of the model's names in a state dict, the most frequent first; always includes the empty prefix."""
    counts = Counter({"": 0})
    for name in found.tensors:
        starts = [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]
        counts.update(name[:start] for start in starts if name[start:] in names.own)
    return [prefix for prefix, _ in counts.most_common()]


def _as_prefix(found: Candidate, prefix: str) -> str:
    """Normalize a prefix that a user wrote with or without wrappers' parts and the last dot."""
    cleaned = found.clean(prefix.removesuffix("."))
    return f"{cleaned}." if cleaned else ""


def _is_complete(found: Candidate, names: ExpectedNames, prefix: str) -> bool:
    return all(
        group[0].endswith(COUNTER)
        or any(prefix + name in found.tensors and not _other_shape(found, names, prefix, name) for name in group)
        for group in names.groups
    )


def _other_shape(found: Candidate, names: ExpectedNames, prefix: str, name: str) -> bool:
    return found.tensors[prefix + name].shape != names.expected[names.own[name]].shape


def _extra(found: Candidate, names: ExpectedNames, prefix: str, inner: Sequence[str] = ()) -> list[str]:
    """ExpectedNames under a prefix that the model does not have."""
    return [
        name
        for name in found.tensors
        if name.startswith(prefix)
        and name.removeprefix(prefix) not in names.own
        and name.rpartition(".")[2] not in IGNORED
        and not name.startswith(tuple(inner))
    ]


def _are_same(one: Match, other: Match) -> bool:
    """Whether two matches give a model the same weights; counters are ignored."""
    keys, others = ({key for key in each.state if not key.endswith(COUNTER)} for each in (one, other))
    return keys == others and all(_is_equal(one.state[key], other.state[key]) for key in keys)


def _is_equal(one: Tensor, other: Tensor) -> bool:
    try:
        return one is other or (one.dtype == other.dtype and torch.equal(one, other))
    except RuntimeError:  # a dtype that torch cannot compare
        return False


def _describe_ambiguity(matches: Sequence[Match]) -> str:
    places = Counter(one.found.key for one in matches)
    key, prefix = len(places) > 1, len(places) < len(matches)
    offered = " or ".join(one.setting(key=key, prefix=prefix) for one in matches[:OFFERED])
    more = f", or {len(matches) - OFFERED} more" if len(matches) > OFFERED else ""
    return f"holds several state dicts that fit and differ: set {offered}{more} in the model's table of zoo.toml"


def _describe_missing_state(content: Any) -> str:
    values = [content, *(content.values() if isinstance(content, dict) else ())]
    objects = [name for value in values if (name := class_of(value))]
    if objects:
        return (
            f"holds a whole module or another object, not a state dict ({one_line(objects[0])}): none of its code "
            "was run; save model.state_dict(), preferably as safetensors"
        )
    if not isinstance(content, dict):
        return f"holds a {type(content).__name__}, expected a state dict: names and tensors"
    there = first_names([str(key) for key in content])
    first = f": the first is {describe_value(next(iter(content.values())))}" if there else ""
    return f"holds no state dict (names and tensors), but {there or 'nothing'}{first}"


def _describe_mismatch(candidates: Sequence[Candidate], names: ExpectedNames, prefix: str | None) -> str:
    """The missing and extra names and the wrong shapes of the state dict that fits best."""
    options = _best_prefixes(candidates, names, prefix)
    found, start = max(options, key=lambda option: _matches(option[0], option[1], names))
    if prefix is not None and not any(name.startswith(start) for name in found.tensors):
        return (
            f"expected names that begin with prefix = {one_line(prefix)!r}, got {first_names(list(found.raw.values()))}"
        )
    present = {name for name in names.own if start + name in found.tensors}
    absent = [name for group in names.groups if not present.intersection(group) for name in group]
    other = [name for name in absent if start + name in found.unusable]
    missing = [names.own[name] for name in absent if name not in other]
    extra = [found.raw[name] for name in _extra(found, names, start)]
    wrong = [name for name in names.own if name in present and _other_shape(found, names, start, name)]
    parts = [f"{_count(missing)} missing, {_firsts(missing)}"] if missing else []
    parts += [f"{_count(extra)} too many, {_firsts(extra)}"] if extra else []
    if other:
        what = found.unusable[start + other[0]]
        more = f" ({len(other) - 1} more are no plain tensors)" if other[1:] else ""
        parts.append(f"expected {names.own[other[0]]} as a dense tensor, got {what}{more}")
    if wrong:
        first, others = names.own[wrong[0]], [names.own[name] for name in wrong[1:]]
        more = f" (and {len(others)} more of another shape: {first_names(others)})" if others else ""
        shapes = tuple(names.expected[first].shape), tuple(found.tensors[start + wrong[0]].shape)
        parts.append(f"expected {first} of shape {shapes[0]}, got {shapes[1]}{more}")
    place = [f"at {one_line(found.key)!r}"] if found.key else []
    place += [f"under {one_line(start)!r}"] if start else []
    return f"{', '.join(place)}{': ' if place else ''}{'; '.join(parts)}"


def _matches(found: Candidate, prefix: str, names: ExpectedNames) -> int:
    return sum(prefix + name in found.tensors for name in names.own)


def _count(keys: Sequence[str]) -> str:
    return f"{len(keys)} key" if len(keys) == 1 else f"{len(keys)} keys"


def _firsts(keys: Sequence[str]) -> str:
    others = f", then {first_names(keys[1:])}" if keys[1:] else ""
    return f"the first is {one_line(keys[0])!r}{others}"
