"""The checks of HTTP URLs that all settings share."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from otp_service.core.ip_address import is_loopback


FieldErrors = Iterator[tuple[str, str]]
"""(field, remedy). A remedy never repeats a value: it may be a secret."""


def find_url_errors(field: str, url: str, *, example: str, content: str) -> FieldErrors:
    """Yield the errors of a URL (R63); `content` is what plain HTTP would disclose."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for an invalid port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[^!-~]", url):
        yield field, f"write it like {example}"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield field, f"use https: {content} would cross the network in the open"
    if "@" in parts.netloc:
        yield field, "move user and password to the settings that are not shown: URLs are logged"
