"""Keys that sign evidence: Ed25519, in PEM files. securesystemslib and cryptography do the work."""

import hashlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import EnvironmentUnusableError, EvidenceError, UsageError, first_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import CryptoSigner, SSlibKey


def check_installed() -> None:
    """Raises EnvironmentUnusableError if the packages of the extra ``evidence`` are not installed."""
    import importlib.util

    missing = [name for name in ("securesystemslib", "cryptography") if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentUnusableError(f"evidence needs {' and '.join(missing)}: pip install 'auditor[evidence]'")


def make_key(path: Path) -> Path:
    """Make a key pair: the private key in ``path``, which only its owner can read, the public one in ``path.pub``.

    Raises:
        UsageError: one of the files exists, or cannot be written.
    """
    check_installed()
    from securesystemslib.signer import CryptoSigner

    public = path.with_name(f"{path.name}.pub")
    signer = CryptoSigner.generate_ed25519()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if public.exists():
            raise FileExistsError(17, "exists", str(public))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(signer.private_bytes)
        public.write_bytes(public_pem(signer.public_key))
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} already exists and was not changed; name another file with --out"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or path}: {error.strerror}") from error
    return public


def load_signer(path: Path) -> "CryptoSigner":
    """Read a private key.

    Raises:
        UsageError: the file is missing, others can read it, or it is no private Ed25519 key without a passphrase.
    """
    check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    content = _read(path, "`auditor evidence keygen` makes a key, and --key FILE names another one")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UsageError(f"other users can read the private key {path}: run `chmod 600 {shlex.quote(str(path))}`")
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"expected a private key without a passphrase in {path}: {first_line(error)}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"expected an Ed25519 key in {path}, got {type(private).__name__}")
    return CryptoSigner(private, _named(private.public_key()))


def load_public(path: Path) -> "SSlibKey":
    """Read a public key that the user names.

    Raises:
        UsageError: the file is missing, or it is no public Ed25519 key.
    """
    check_installed()
    try:
        return read_public(str(path), _read(path, "name the file of the public key, FILE.pub"))
    except EvidenceError as error:
        raise UsageError(str(error)) from error


def read_public(name: str, content: bytes) -> "SSlibKey":
    """The public key in the content of a file of this name.

    Raises:
        EvidenceError: it is no public Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"{name}: expected a public key in PEM, {first_line(error)}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise EvidenceError(f"{name}: expected an Ed25519 key, got {type(public).__name__}")
    return _named(public)


def public_pem(key: "SSlibKey") -> bytes:
    """The one form in which a public key is written."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    written: bytes = key._crypto_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return written


def _named(public: "Ed25519PublicKey") -> "SSlibKey":
    """A key whose ID is the SHA-256 of its DER form, which others can compute without securesystemslib."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.signer import SSlibKey

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SSlibKey.from_crypto(public, hashlib.sha256(der).hexdigest())


def _read(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no key {path}: {advice}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
