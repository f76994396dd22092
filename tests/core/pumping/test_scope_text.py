"""Scopes as operators write them."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.ip_address import client_ip_limit_key
from otp_service.core.phone_number import parse_number
from otp_service.core.pumping.scope_text import (
    SCOPE_EXAMPLES,
    SCOPE_KINDS,
    InvalidScope,
    format_scope,
    parse_scope,
)
from otp_service.core.pumping.scopes import DebtLimit, DebtUnit, ScopeBucket, derive_block


TENANTS = ("shop", "bank-1")

NUMBERS = [
    "+447400123456",
    "+447700900123",  # fictitious
    "+12015550123",
    "+5491123456789",  # canonical without the 9
    "+2203012345",  # canonical with two more digits
    "+37744123456",  # canonical under another calling code
]


def test_the_range_and_the_block_of_a_mobile_number_of_each_country_are_scopes():
    """Their length is that of mobile numbers; no other length is charged to anything."""
    kind = phonenumbers.PhoneNumberType.MOBILE
    for region in phonenumbers.SUPPORTED_REGIONS:
        if example := phonenumbers.example_number_for_type(region, kind):
            written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            phone = parse_number(written, allow_fictitious=True)
            for one in {phone.e164, phone.canonical}:
                assert phone.prefix == parse_scope(f"range:{one[:-4]}", ()).subject
                assert derive_block(phone.canonical) == parse_scope(f"block:{one[:-5]}", ()).subject


@pytest.mark.parametrize("number", NUMBERS)
def test_a_range_and_a_block_are_the_number_without_its_last_digits(number):
    """Whichever of its spellings is written, it is the scope that a send to the number is charged in."""
    phone = parse_number(number, allow_fictitious=True)
    spelling = {phone.e164, phone.canonical}

    assert {parse_scope(f"range:{one[:-4]}", ()).subject for one in spelling} == {phone.prefix}
    blocks = {parse_scope(f"block:{one[:-5]}", ()).subject for one in spelling}
    assert blocks == {derive_block(phone.canonical)}


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("range:+44740012", (DebtLimit.UNVERIFIED_RANGE, "", "+44740012")),
        (" block:+4474001\n", (DebtLimit.UNVERIFIED_BLOCK, "", "+4474001")),
        ("country:gb@shop", (DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB")),
        ("new-countries@bank-1", (DebtLimit.UNVERIFIED_NEW_COUNTRIES, "bank-1", "")),
        ("address:192.0.2.1@shop", (DebtLimit.UNVERIFIED_ADDRESS, "shop", "192.0.2.1")),
        ("address:2001:db8::7@shop", (DebtLimit.UNVERIFIED_ADDRESS, "shop", "2001:db8::/64")),
        ("address:2001:db8::/64@shop", (DebtLimit.UNVERIFIED_ADDRESS, "shop", "2001:db8::/64")),
        ("address:2002:c000:201::9@shop", (DebtLimit.UNVERIFIED_ADDRESS, "shop", "192.0.2.1")),
        ("overall", (DebtLimit.SPEND_OVERALL, "", "")),
    ],
)
def test_each_kind_of_scope_has_a_text(text, scope):
    """An IPv6 address is its /64, or the IPv4 address that it carries."""
    assert ScopeBucket(*scope) == parse_scope(text, TENANTS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the scope is invalid"),
        ("+44740012", "the scope is invalid"),
        ("Range:+44740012", "the scope is invalid"),
        ("range", "without their last four digits"),
        ("range:44740012", "without their last four digits"),
        ("range:+447400123456", "without their last four digits"),
        ("range:+4474001234", "no country has mobile numbers that begin so"),
        ("range:+99", "no country has mobile numbers that begin so"),
        ("range:+4474", "no country has mobile numbers that begin so and are as long"),
        ("range:+4474001", "no country has mobile numbers that begin so and are as long"),
        ("range:+141555", "no country has mobile numbers that begin so and are as long"),
        ("block:+447400", "no country has mobile numbers that begin so and are as long"),
        ("block:+44740012@shop", "no country has|all tenants together"),
        ("range:+44740012@shop", "counts all tenants together: write it like range:[+]44740012"),
        ("country@shop", "two letters"),
        ("country:UK@shop", "two letters: write it like country:GB@shop"),
        ("country:GB", "counts one tenant: write it like country:GB@shop"),
        ("country:GB@", "The tenants are bank-1, shop"),
        ("country:GB@shops", "The tenants are bank-1, shop"),
        ("new-countries", "counts one tenant"),
        ("new-countries:GB@shop", "has no subject"),
        ("address:192.0.2.1", "counts one tenant"),
        ("address:192.0.2.0/24@shop", "IPv4 address"),
        ("address:192.0.2.1/64@shop", "IPv4 address"),
        ("address:2001:db8::7/64@shop", "IPv4 address"),
        ("address:@shop", "IPv4 address"),
        ("overall:x", "has no subject"),
        ("overall@shop", "all tenants together"),
    ],
)
def test_an_error_says_what_to_write(text, problem):
    with pytest.raises(InvalidScope, match=problem) as raised:
        parse_scope(text, TENANTS)

    assert str(raised.value).endswith(".")


def test_every_scope_has_an_example():
    """And each example is the scope of its limit. Some scopes have a second limit."""
    second = {
        limit
        for limit in DebtLimit
        if limit.startswith("Volume") or limit.unit is DebtUnit.COUNTRIES
    }
    assert set(DebtLimit) - second == set(SCOPE_KINDS)
    for limit, kind in SCOPE_KINDS.items():
        assert limit is parse_scope(SCOPE_EXAMPLES[kind], TENANTS).limit


_SCOPES = st.one_of(
    st.sampled_from(NUMBERS).map(
        lambda number: ScopeBucket(
            DebtLimit.UNVERIFIED_RANGE, "", parse_number(number, allow_fictitious=True).prefix
        )
    ),
    st.builds(
        ScopeBucket,
        st.just(DebtLimit.UNVERIFIED_COUNTRY),
        st.sampled_from(TENANTS),
        st.sampled_from(["GB", "XK", "US"]),
    ),
    st.builds(ScopeBucket, st.just(DebtLimit.UNVERIFIED_NEW_COUNTRIES), st.sampled_from(TENANTS)),
    st.builds(
        ScopeBucket,
        st.just(DebtLimit.UNVERIFIED_ADDRESS),
        st.sampled_from(TENANTS),
        st.ip_addresses().map(client_ip_limit_key),
    ),
)


@given(_SCOPES)
def test_a_printed_scope_is_read_as_the_same(scope):
    assert scope == parse_scope(format_scope(scope), TENANTS)
