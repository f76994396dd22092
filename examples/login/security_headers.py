"""The headers of every page."""

from typing import Final


_POLICY_PARTS: Final = (
    "default-src 'none'",
    "script-src 'self'",  # no inline script and no inline style: injected markup runs nothing
    "style-src 'self'",
    "img-src data:",  # the QR code
    "form-action 'self'",
    "frame-ancestors 'none'",  # no other site can put the page into a frame
    "base-uri 'none'",
)

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(_POLICY_PARTS),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not "no-referrer": forms would be sent with "Origin: null", which Django's CSRF check refuses.
    "Referrer-Policy": "same-origin",
    # Pages show codes and secrets: neither a proxy nor the browser may keep them.
    "Cache-Control": "no-store",
}

_HTTPS_HEADER: Final = {"Strict-Transport-Security": "max-age=31536000"}


def build_security_headers(*, is_https: bool) -> dict[str, str]:
    """Return the headers of a page."""
    return _PAGE_HEADERS | (_HTTPS_HEADER if is_https else {})
