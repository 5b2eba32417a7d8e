"""Verify a folder of `auditor evidence export` without auditor: python verify_evidence.py DIR PUBLIC_KEY.

Needs Python 3.11 and the package cryptography. Checks the signature, the digest of every file, and the figures of every
record against its verdicts by formulas of its own. It prints what is wrong, and exits with 1; else it exits with 0.
"""

import base64
import hashlib
import json
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

ENVELOPE = "evidence.dsse.json"
TYPE = "application/vnd.in-toto+json"


def open_envelope(folder: Path, pem: bytes) -> dict:
    """The signed statement. A signature covers the payload only, so the rest must have exactly the expected form."""
    key = load_pem_public_key(pem)
    key_id = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    raw = (folder / ENVELOPE).read_bytes()
    envelope = json.loads(raw)
    payload, signature = (base64.b64decode(text) for text in (envelope["payload"], envelope["signatures"][0]["sig"]))
    expected = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
    }
    if raw != f"{json.dumps(expected, indent=1, sort_keys=True)}\n".encode():
        raise ValueError("it was changed, or another key signed it")
    key.verify(signature, b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload))
    return json.loads(payload)


def compare_files(folder: Path, statement: dict, pem: bytes) -> Iterator[str]:
    """Files that were changed, removed or added."""
    digests = {file["name"]: file["digest"]["sha256"] for file in statement["predicate"]["files"]}
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for name in sorted({*digests, *found} - {ENVELOPE}):
        if name not in digests or name not in found:
            yield f"{name}: {'missing' if name in digests else 'added'}"
        elif found[name].is_symlink() or hashlib.sha256(found[name].read_bytes()).hexdigest() != digests[name]:
            yield f"{name}: changed"
    if (folder / "key.pub").is_file() and (folder / "key.pub").read_bytes() != pem:
        yield "key.pub: not the given key"


def wilson(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, as the two solutions of (p - share)² = z² p (1 - p) / n."""
    z2, share = statistics.NormalDist().inv_cdf(0.975) ** 2, count / n
    a, b, c = 1 + z2 / n, -(2 * share + z2 / n), share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def compute(record: dict) -> dict[str, float]:
    """The main figures of a record from its samples."""
    samples, n = record["samples"], len(record["samples"])
    clean = sum(sample["correct"] for sample in samples)
    found = {"n": n, "clean_accuracy": clean / n}
    found["clean_low"], found["clean_high"] = wilson(clean, n)
    if not record["corruptions"]:  # else the interval of a mean of shares, which this script leaves to auditor
        standing = sum(sample["survived"] for sample in samples)
        found["robust_accuracy"] = standing / n
        found["robust_low"], found["robust_high"] = wilson(standing, n)
        for sample in samples if record["attacks"] and "clean_class" in samples[0] else ():
            right = sample["clean_class"] == sample["label"]
            broken = sample.get("adversarial_class", sample["label"]) != sample["label"]
            if (right, right and not broken) != (sample["correct"], sample["survived"]):
                raise ValueError(f"sample {sample['index']} contradicts its classes")
        if (record["certificate"] or {}).get("method") == "bounds":
            found["certified_accuracy"] = sum(sample["certified"] for sample in samples) / n
    else:
        digits = [digit == "1" for sample in samples for digit in sample["corruptions"]]
        found["robust_accuracy"] = sum(digits) / len(digits)
    return found


def compare_figures(folder: Path, statement: dict) -> Iterator[str]:
    """Figures that do not follow from the verdicts."""
    if not statement["predicate"]["audits"]:
        yield f"{ENVELOPE}: it is about no audit"
    for audit in statement["predicate"]["audits"]:
        record = json.loads((folder / audit["record"]).read_bytes())
        if not record["samples"]:
            yield f"{audit['record']}: it has no samples"
            continue
        for name, value in compute(record).items():
            if not math.isclose(value, audit["figures"][name], rel_tol=1e-9, abs_tol=1e-12):
                yield f"{audit['record']}: {name} is {value} by its verdicts, {audit['figures'][name]} is stated"
        for k, attack in enumerate(record["figures"].get("attacks") or ()):
            broken = sum(sample.get("broken_by") == k for sample in record["samples"])
            if broken != attack["broken"]:
                yield f"{audit['record']}: {attack['attack']} broke {broken} samples, {attack['broken']} is stated"


def main(folder: Path, pem: bytes) -> int:
    try:
        statement = open_envelope(folder, pem)
        problems = list(compare_files(folder, statement, pem))
        problems = problems or list(compare_figures(folder, statement))
    except InvalidSignature:
        problems = [f"{ENVELOPE}: the signature is wrong"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        problems = [f"{ENVELOPE}: {type(error).__name__}: {error}"]
    for problem in problems:
        print(problem)
    for audit in [] if problems else statement["predicate"]["audits"]:
        figures = audit["figures"]
        print(f"{audit['model']}: robust accuracy {figures['robust_accuracy']:.4f}, {figures['n']} samples: verified")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
