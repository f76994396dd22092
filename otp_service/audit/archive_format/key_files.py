"""The files of the key that seals: a PEM file for the sealer, and beside it the public half."""

import os
from pathlib import Path

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import SigningKey, decode_seal
from otp_service.audit.archive_format.segments import iterate_lines_backward, list_segments


class KeyFileError(Exception):
    """A file holds no key that may be used; the text says what to do."""


def read_key(path: Path) -> SigningKey:
    """Return the key in a file that nobody else may read. Raises KeyFileUnusable.

    A group may, if the file is root's: that is how secrets are mounted for who is not root.
    """
    try:
        file = path.stat()
        if file.st_mode & (0o037 if file.st_uid == 0 else 0o077):
            raise KeyFileError(f"{path} can be read by others: chmod 600")
        return SigningKey.from_pem(path.read_bytes())
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read: {error.strerror}. 'otp-service audit key' makes one"
        ) from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} is no Ed25519 key in PEM without a passphrase") from error


def create_key_files(path: Path) -> SigningKey:
    """Make a key, with its public half in a file beside it. Raises OSError if one is there."""
    key = SigningKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.to_pem())
    derive_public_path(path).write_text(f"{key.public}\n", "ascii")
    return key


def derive_public_path(path: Path) -> Path:
    """Return where the public half of a key lies."""
    return path.with_name(f"{path.name}.pub")


def find_next_key_id(folder: Path) -> str | None:
    """Return the id of the key that an archive's next seal has to have; None if any will do.

    Raises ValueError and OSError.
    """
    for segment in reversed(list_segments(folder)):
        for line in iterate_lines_backward(segment):
            if line.startswith(SEAL_PREFIX):
                last = decode_seal(line)
                return last.next.id if last.next else last.key
    return None
