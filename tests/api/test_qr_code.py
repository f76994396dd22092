"""The QR code of an authenticator, read by a decoder of another project."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_service.api.qr_code import render_qr_svg
from tests.qr_reader import read_qr_svg


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), min_size=1, max_size=64
)


def build_uri(issuer: str, name: str, secret: str = SECRET) -> str:
    """Return a URI as apps scan it."""
    issuer, name = quote(issuer, safe=""), quote(name, safe="")
    return (
        f"otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}"
        "&algorithm=SHA1&digits=6&period=30"
    )


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        ("Shop", "alice@example.com"),
        ("The Shop & Söhne", "alice (2)"),
        ("店", "ユーザー"),
        ("S", "<script>alert(1)</script>"),
    ],
)
def test_an_independent_decoder_reads_the_uri(issuer, name):
    """What an app scans is the URI, to the byte."""
    uri = build_uri(issuer, name)

    assert uri == read_qr_svg(render_qr_svg(uri))


@settings(max_examples=15, deadline=None)
@given(NAMES, NAMES)
def test_every_name_is_read_back(issuer, name):
    """Long names too: 64 characters each, of any script."""
    uri = build_uri(issuer, name)

    assert uri == read_qr_svg(render_qr_svg(uri))


def test_the_longest_uri_has_a_code():
    """64 emoji each and an imported secret of 128 bytes exceed error level M."""
    uri = build_uri("🔑" * 64, "🔒" * 64, "A" * 205)

    svg = render_qr_svg(uri)

    assert 2331 < len(uri)  # the most bytes at level M (ISO/IEC 18004 table 7)
    assert uri == read_qr_svg(svg)


def test_the_svg_can_be_put_into_any_page():
    """One element with its own light background; it scales, and a strict policy admits it."""
    svg = render_qr_svg(build_uri("Shop", "alice"))

    width, height, side = re.match(
        r'<svg width="(\d+)" height="(\d+)" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 (\d+) \3">',
        svg,
    ).groups()
    assert width == height == str(4 * int(side))
    assert ' d="M4 4.5h7m' in svg  # the first finder pattern, after a quiet zone of four
    assert svg.endswith("</svg>")
    assert 1 == svg.count("<svg")
    for part in ("<?xml", "style=", "class=", "script", "href"):
        assert part not in svg


def test_the_account_is_no_markup_and_the_secret_no_text():
    """The picture holds the URI as modules alone."""
    svg = render_qr_svg(build_uri("Shop", "alice"))

    assert "alice" not in svg
    assert SECRET not in svg
