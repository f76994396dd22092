"""The errors that the settings of an HTTP provider can have, as (field, remedy).

`find_errors` of a provider combines them; `check` shows all of them, and the service does not start
while there is one.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from otp_service.core.url_check import FieldErrors, find_url_errors


_HEADER_NAME_PATTERN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_PATTERN = re.compile(r"key|token|secret|pass|pwd|auth|sig|user|login|cred", re.IGNORECASE)
_RESERVED_HEADERS = {
    *("connection", "content-encoding", "content-length", "content-type"),
    *("expect", "host", "transfer-encoding", "upgrade"),
}


def find_provider_url_errors(url: str) -> FieldErrors:
    """Yield the errors of a provider's address (R43, R63)."""
    if not re.fullmatch(r"[!-~]+", url) or set(url) & set("{}\\#"):
        yield "url", "write the address alone, in ASCII, without spaces, braces, '\\' or '#'"
        return
    example = "https://sms.example/messages"
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
