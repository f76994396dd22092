"""The address of a user's device, as limits count it (R56)."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip


def count_as(text: str) -> str:
    """Return the subject under which limits count an address."""
    return client_ip_limit_key(parse_client_ip(text))


@pytest.mark.parametrize(
    "text",
    [
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "::ffff:0:198.51.100.7",
        "::198.51.100.7",
        "64:ff9b::198.51.100.7",
        "64:FF9B:0:0::C633:6407",
        "64:ff9b:1::198.51.100.7",
        "64:ff9b:1:fffe::198.51.100.7",
        "64:ff9b:1:c633:64:700::",
        "64:ff9b:1:ffc6:33:6407::",
        "64:ff9b:1:fffe:c6:3364:700:0",
        "2002:c633:6407::1",
        "2002:c633:6407:ffff:1:2:3:4",
        "2001:0:4136:e378:8000:63bf:39cc:9bf8",
    ],
)
def test_an_address_that_carries_ipv4_counts_as_that(text: str) -> None:
    """NAT64, SIIT, 6to4 and Teredo: their users share a /64, so one of them used up all limits."""
    assert "198.51.100.7" == count_as(text)


def test_two_users_behind_nat64_have_buckets_of_their_own() -> None:
    assert count_as("64:ff9b::198.51.100.7") != count_as("64:ff9b::198.51.100.8")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::198.51.100.7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:0:5efe:198.51.100.7", "2001:db8:1:2::/64"),
        ("64:ff9b:2::198.51.100.7", "64:ff9b:2::/64"),
        ("64:ff9b::1:198.51.100.7", "64:ff9b::/64"),
        ("64:ff9b:1::", "64:ff9b:1::/64"),
        ("2001:1::198.51.100.7", "2001:1::/64"),
        ("::1", "::/64"),
        ("::", "::/64"),
    ],
)
def test_every_other_ipv6_address_counts_as_its_network(text: str, subject: str) -> None:
    """Also ISATAP, whose IPv4 address is often private and belongs to one site."""
    assert subject == count_as(text)


@given(st.integers(min_value=1 << 24, max_value=2**32 - 1))
def test_every_ipv4_address_is_found_in_every_form(ipv4: int) -> None:
    expected = str(IPv4Address(ipv4))
    forms = [
        (0x0064FF9B << 96) | ipv4,
        (0xFFFF << 32) | ipv4,
        (0xFFFF << 48) | ipv4,
        ipv4,
        (0x2002 << 112) | (ipv4 << 80) | 1,
        (0x2001_0000 << 96) | (ipv4 ^ 0xFFFF_FFFF),
        (0x0064FF9B_0001 << 80) | (ipv4 >> 16 << 64) | ((ipv4 & 0xFFFF) << 40),
    ]
    assert {expected} == {count_as(str(IPv6Address(form))) for form in forms}


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_every_address_has_a_subject(value: int) -> None:
    assert count_as(str(IPv6Address(value)))


def test_an_ipv4_mapped_address_is_that_ipv4_address() -> None:
    """One device has one address, however its login back end writes it."""
    assert IPv4Address("198.51.100.7") == parse_client_ip("::ffff:198.51.100.7")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fe80::1%eth0",
        "198.51.100.7:443",
        "[::1]",
        "198.51.100.07",
        " 198.51.100.7",
        "198.51.100.7 ",
        "198.51.100.7\n",
        "2001:db8::1 ",
        "198.51.100.7, 203.0.113.9",
        "198.51.100.0/24",
        "3325256711",
        "0xc6336407",
        "198.51.100",
        "١٩٨.51.100.7",
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_client_ip(text)

    assert ["client_ip"] == [path for path, _ in refusal.value.errors]
