"""What can be wrong with the settings of an HTTP provider, told as (field, remedy).

A provider's `faults()` puts these together; `check` shows all of them and the service refuses to
start while there is one. No remedy repeats a value: it may be a secret.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from otp_service.core.ip_address import is_loopback


FieldErrors = Iterator[tuple[str, str]]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_NAME = re.compile(r"key|token|secret|pass|pwd|auth|sig|user|login|cred", re.IGNORECASE)
_RESERVED_HEADERS = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
}


def find_url_errors(url: str) -> FieldErrors:
    """Tell what is wrong with a provider's address (R43, R63)."""
    if not re.fullmatch(r"[!-~]+", url) or set(url) & set("{}\\#"):
        yield "url", "write the address alone, in ASCII, without spaces, braces, '\\' or '#'"
        return
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for a port that is none
    except ValueError:
        yield "url", "this is not an address: write it like https://sms.example/messages"
        return
    yield from _find_url_part_errors(parts)


def _find_url_part_errors(parts: SplitResult) -> FieldErrors:
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "url", "write it like https://sms.example/messages"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield "url", "use https: the code would cross the network in the open"
    if "@" in parts.netloc:
        yield "url", "move the user and password to 'basic': addresses are logged on the way"
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(name):
            yield "url", "move keys to secret_headers or secret_fields: addresses are logged"
            return


def find_header_errors(field: str, headers: Mapping[str, str], *, secret: bool) -> FieldErrors:
    """Tell what is wrong with headers that are sent as they are."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield field, "a header's name has only letters, digits and '-'"
            continue
        where = f"{field}.{name}"
        if not re.fullmatch(r"[ -~]*", value) or value != value.strip():
            yield where, "use printable ASCII, without line breaks or spaces around it"
        if name.lower() in _RESERVED_HEADERS:
            yield where, "leave this one out: it is written for every request"
        if not secret and _SECRET_NAME.search(name):
            yield where, "move it to secret_headers, where it is not shown"
