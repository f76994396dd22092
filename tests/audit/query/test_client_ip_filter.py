"""The filter of one client IP: it counts addresses as limits do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.query.client_ip_filter import ClientIpFilter, parse_client_ip_filter
from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip


GROUPS = st.sampled_from(["0", "0", "0", "1", "db8", "2001", "2002", "64", "ff9b", "ffff"])
IPV6 = st.lists(GROUPS, min_size=8, max_size=8).map(":".join)
IPV4 = st.ip_addresses(v=4).map(str)


@given(address=IPV4 | IPV6)
def test_every_address_is_found_by_itself_also_in_an_undecoded_line(address: str) -> None:
    """The words that a line needs are checked before it is decoded: a wrong one would hide events.

    Seen to fail where the words are the whole address: IPv6 text is compressed.
    """
    written = str(parse_client_ip(address))

    found = parse_client_ip_filter(written)

    assert found.matches(written)
    assert any(word in msgspec.json.encode(written) for word in found.required_words)


@given(address=IPV4 | IPV6, other=IPV4 | IPV6)
def test_two_addresses_match_where_limits_count_them_as_one(address: str, other: str) -> None:
    """A guesser that rotates through a /64 is one client."""
    keys = [client_ip_limit_key(parse_client_ip(text)) for text in (address, other)]

    assert (keys[0] == keys[1]) == parse_client_ip_filter(address).matches(other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2001:db8:1:2::9", "2001:db8:1:2:aaaa::1"),
        ("2001:db8:1:2::/64", "2001:db8:1:2:aaaa::1"),
        ("203.0.113.9", "64:ff9b::203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_it_takes_the_names_that_statistics_use(text: str, found: str) -> None:
    """They name an IPv6 client by its network, and a NAT64 client by its IPv4 address."""
    assert parse_client_ip_filter(text).matches(found)
    assert not parse_client_ip_filter(text).matches("2001:db8:1:3::9")
    assert not parse_client_ip_filter(text).matches(None)
    assert not parse_client_ip_filter(text).matches("not an address")


@pytest.mark.parametrize(
    "text",
    [
        *("", "203.0.113", "203.0.113.9/32", "203.0.113.9:80", "2001:db8::/48", "2001:db8::9/64"),
        *("fe80::1%eth0", "2001:db8::/", "2001:db8::/64/64"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A filter that matches nothing would look like a clean log."""
    with pytest.raises(InvalidRequest):
        parse_client_ip_filter(text)


def test_a_line_of_another_network_is_not_decoded() -> None:
    """A search of the archive decodes only lines that may match."""
    words = ClientIpFilter("2001:db8:1:2::/64").required_words

    assert not any(word in b'{"client_ip":"2001:db8:1:3::9"}' for word in words)
