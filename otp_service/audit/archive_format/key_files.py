"""The files of a signing key: a PEM file for the sealer and the public key in `NAME.pub`."""

import os
from pathlib import Path

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import SigningKey, decode_seal
from otp_service.audit.archive_format.segments import iterate_archive_backward


class KeyFileError(Exception):
    """A file holds no usable key; the message says how to correct it."""


def read_key(path: Path) -> SigningKey:
    """Return the key in a file that is private. Raises KeyFileError."""
    try:
        if not is_private(path.stat()):
            raise KeyFileError(f"{path} can be read by others: chmod 600")
        return SigningKey.from_pem(path.read_bytes())
    except OSError as error:
        remedy = "Create it with 'otp-service audit key'"
        raise KeyFileError(f"{path} cannot be read: {error.strerror}. {remedy}") from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} must be an Ed25519 key in PEM without a passphrase") from error


def is_private(file: os.stat_result) -> bool:
    """Return whether only the owner can read the file, or root and the group of root's file.

    Secrets are mounted in the second way for a user that is not root.
    """
    return not file.st_mode & (0o037 if file.st_uid == 0 else 0o077)


def create_key_files(path: Path) -> SigningKey:
    """Generate a key and write both files. Raises OSError, also if `path` exists."""
    key = SigningKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.to_pem())
    derive_public_path(path).write_text(f"{key.public}\n", "ascii")
    return key


def derive_public_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def find_next_key_id(folder: Path) -> str | None:
    """Return the id of the key for the next seal; None if any may sign. Raises ValueError, OSError."""
    for line in iterate_archive_backward(folder):
        if line.startswith(SEAL_PREFIX):
            last = decode_seal(line)
            return last.next.id if last.next else last.key
    return None
