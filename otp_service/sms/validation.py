"""The errors that the settings of an HTTP provider can have, as (field, remedy).

`find_errors` of a provider combines them; `check` shows all of them, and the service does not start
while there is one.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

import msgspec

from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors, find_url_errors


_HEADER_NAME_PATTERN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_PATTERN = re.compile(r"key|token|secret|pass|pwd|auth|sig|user|login|cred", re.IGNORECASE)
_RESERVED_HEADERS = {
    *("connection", "content-encoding", "content-length", "content-type"),
    *("expect", "host", "transfer-encoding", "upgrade"),
}

FREE_TEXT_FIELDS = frozenset({"basic", "fields", "secret_fields", "username", "password"})
"""May have any letters: what is in a body, and what people choose, is sent as UTF-8."""


def find_tls_ca_errors(ca_file: str | None) -> FieldErrors:
    """Yield the error of a file of certificates that cannot be used."""
    try:
        if ca_file is not None:
            ssl.create_default_context(cafile=ca_file or "/")
    except OSError:
        yield "tls_ca", "name a file with certificates in PEM that the service can read"


def find_text_errors(settings: msgspec.Struct) -> FieldErrors:
    """Yield the errors of every text and secret in the settings of a provider.

    A byte order mark, a line break or another character that cannot be seen comes from copying a
    credential or from an editor. No vendor knows it, and no header can hold it.
    """
    for path, value in iterate_texts(settings):
        field = path.partition(".")[0]
        is_template = field == "fields"
        text = value.replace("\n", "") if is_template else value
        if text != text.strip() and not is_template:
            yield path, "has a space or a line break around it: write it without"
        elif invisible := next((each for each in text if not each.isprintable()), None):
            character = f"U+{ord(invisible):04X}"
            yield path, f"has the character {character}, which cannot be seen: write it again"
        elif not (field in FREE_TEXT_FIELDS or text.isascii()):
            yield path, "has a character that is not ASCII: copy it from the vendor once more"


def iterate_texts(settings: msgspec.Struct) -> Iterator[tuple[str, str]]:
    """Yield every text and secret in the settings of a provider, with its path."""
    for field in settings.__struct_fields__:
        yield from _iter_texts(field, getattr(settings, field))


def _iter_texts(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str | Secret):
        yield path, value.reveal() if isinstance(value, Secret) else value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _iter_texts(f"{path}.{field}", getattr(value, field))
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _iter_texts(f"{path}.{name}", member)


def find_provider_url_errors(url: str) -> FieldErrors:
    """Yield the errors of a provider's address (R43, R63)."""
    example = "https://sms.example/messages"
    if not url:
        yield "url", f"is missing: write it like {example}"
        return
    if not re.fullmatch(r"[!-~]+", url) or set(url) & set("{}\\#"):
        yield "url", "write the address alone, in ASCII, without spaces, braces, '\\' or '#'"
        return
    yield from find_url_errors("url", url, example=example, content="the code")
    names = (name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True))
    if any(_SECRET_PATTERN.search(name) for name in names):
        yield "url", "move keys to secret_headers or secret_fields: addresses are logged"


def find_header_errors(field: str, headers: Mapping[str, str], *, secret: bool) -> FieldErrors:
    """Yield the errors of headers that are sent unchanged."""
    for name, value in headers.items():
        if not _HEADER_NAME_PATTERN.fullmatch(name):
            yield field, "a header's name has only letters, digits and '-'"
            continue
        header_field = f"{field}.{name}"
        if not re.fullmatch(r"[ -~]*", value) or value != value.strip():
            yield header_field, "use printable ASCII, without line breaks or spaces around it"
        if name.lower() in _RESERVED_HEADERS:
            yield header_field, "leave this one out: it is written for every request"
        if not secret and _SECRET_PATTERN.search(name):
            yield header_field, "move it to secret_headers, where it is not shown"
