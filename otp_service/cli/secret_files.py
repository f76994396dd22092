"""Files that hold secrets, and who can read them."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from otp_service.audit.archive_format.key_files import is_private
from otp_service.core.keys import Key, encode_secret
from otp_service.core.secret import Secret
from otp_service.settings import Settings


EXPOSED_FILE_REMEDY = "can be read by others, and holds secrets: chmod 600"


def find_exposed_files(config: Path, settings: Settings) -> Iterator[str]:
    """Yield the files with secrets that users other than their owner can read.

    The configuration counts if it contains a secret in force, and not if each one comes from the
    environment or from a file of its own. Raises OSError if a file disappears.
    """
    text = config.read_text(encoding="utf-8")
    if not is_private(config.stat()) and any(secret in text for secret in _list_secrets(settings)):
        yield f"{config}: {EXPOSED_FILE_REMEDY}"
    for path in sorted({*_list_secret_files(tomllib.loads(text)), *_list_environment_files()}):
        if not is_private(Path(path).stat()):
            yield f"{path}: {EXPOSED_FILE_REMEDY}"


def _list_secrets(value: Any) -> Iterator[str]:
    match value:
        case Secret():
            yield value.reveal()
        case Key():
            yield encode_secret(value.secret)
        case msgspec.Struct():
            for name in value.__struct_fields__:
                yield from _list_secrets(getattr(value, name))
        case dict():
            for item in value.values():
                yield from _list_secrets(item)
        case tuple():
            for item in value:
                yield from _list_secrets(item)
        case _:
            pass


def _list_secret_files(value: Any) -> Iterator[str]:
    """Yield the value of each NAME_file in a TOML document."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name.endswith("_file") and isinstance(item, str):
                yield item
            else:
                yield from _list_secret_files(item)
    elif isinstance(value, list):
        for item in value:
            yield from _list_secret_files(item)


def _list_environment_files() -> Iterator[str]:
    for name, value in os.environ.items():
        if name.startswith("OTP_") and name.endswith("_FILE"):
            yield value
