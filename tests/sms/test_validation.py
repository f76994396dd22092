"""What `check` says of the settings of an HTTP provider."""

import pytest

from otp_service.sms.validation import find_header_errors, find_provider_url_errors


@pytest.mark.parametrize(
    "url",
    [
        "https://sms.example/v1/messages",
        "https://sms.example:8443/send?version=2",
        "http://127.0.0.1:13013/cgi-bin/sendsms",
        "http://[::1]:1401/send",
        "http://localhost:8080/",
    ],
)
def test_good_addresses(url):
    """TLS, or loopback."""
    assert [] == list(find_provider_url_errors(url))


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "is missing: write it like https://"),
        ("sms.example/send", "write it like"),
        ("ftp://sms.example/send", "write it like"),
        ("https:///send", "write it like"),
        ("https://sms.example:port/", "write it like"),
        ("https://[sms.example/", "write it like"),
        ("http://sms.example/send", "use https"),
        ("http://10.0.0.5/send", "use https"),
        ("http://localhost.example/", "use https"),
        ("http://127.0.0.1.example/", "use https"),
        ("https://user:hunter2@sms.example/", "move user"),
        ("https://sms.example/send?api_key=hunter2", "move keys"),
        ("https://sms.example/send?v=1&Password=", "move keys"),
        ("https://sms.example/send?to={to}", "address alone"),
        ("https://sms.example/send#x", "address alone"),
        ("https://sms.example/\r\nx: y", "address alone"),
        ("https://sms.example\\@evil.example/", "address alone"),
        ("https://sms.exämple/", "address alone"),
    ],
)
def test_addresses_that_are_refused(url, remedy):
    """A code never crosses a network in the open, and an address holds nothing secret (R43)."""
    found = list(find_provider_url_errors(url))

    assert any(field == "url" and remedy in said for field, said in found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("X-Key", "a\r\nx-evil: 1", True),
        ("X-Key", "a\n", True),
        ("X-Key", " a", True),
        ("X-Key", "ä", True),
        ("X Key", "a", True),
        ("X-Key:", "a", True),
        ("", "a", True),
        ("Host", "evil.example", True),
        ("Content-Length", "0", False),
        ("transfer-encoding", "chunked", False),
        ("Authorization", "Bearer hunter2", False),
        ("X-Api-Key", "hunter2", False),
    ],
)
def test_headers_that_are_refused(name, value, secret):
    """No line breaks (R43), none that frames the request, and secrets where they are hidden."""
    found = list(find_header_errors("headers", {name: value}, secret=secret))

    assert 1 == len(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [("Authorization", "Bearer hunter2", True), ("X-Version", "2026-01", False)],
)
def test_good_headers(name, value, secret):
    """Secrets among the secrets, and all else as it is."""
    assert [] == list(find_header_errors("headers", {name: value}, secret=secret))
