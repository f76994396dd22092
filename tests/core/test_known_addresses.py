"""The known addresses of an account, as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.keys import Key
from otp_service.core.known_addresses import (
    KNOWN_ADDRESS_TTL_MS,
    MAX_TAGS,
    NO_STANDINGS,
    Account,
    AddressStanding,
    AddressTags,
    KnownAddresses,
    derive_address_tags,
    reduce_window,
)
from otp_service.core.limits import Window


NOW = 1_763_814_000_123
KEY = Key("limit-1", b"k" * 32)
HOME = AddressTags(b"home", b"home and number")
OFFICE = AddressTags(b"office", b"office and number")
KNOWN, UNKNOWN = AddressStanding.KNOWN, AddressStanding.UNKNOWN


def test_without_a_known_address_no_attempt_has_a_standing() -> None:
    assert NO_STANDINGS == KnownAddresses().determine_standings(HOME, NOW)
    assert 0 == KnownAddresses().expires_at


def test_without_an_address_an_attempt_has_no_standing() -> None:
    assert NO_STANDINGS == KnownAddresses().add(HOME, NOW).determine_standings(None, NOW)


def test_an_address_is_known_at_the_account_and_at_the_number_that_it_verified() -> None:
    known = KnownAddresses().add(HOME, NOW)

    assert (KNOWN, KNOWN) == known.determine_standings(HOME, NOW)
    assert (UNKNOWN, UNKNOWN) == known.determine_standings(OFFICE, NOW)
    other_number = AddressTags(HOME.account, b"home and another number")
    assert (KNOWN, UNKNOWN) == known.determine_standings(other_number, NOW)


def test_an_address_is_known_for_ninety_days_after_its_last_verification() -> None:
    known = KnownAddresses().add(HOME, NOW).add(OFFICE, NOW + 1)

    assert NOW + 1 + KNOWN_ADDRESS_TTL_MS == known.expires_at
    end = NOW + KNOWN_ADDRESS_TTL_MS
    assert (KNOWN, KNOWN) == known.determine_standings(HOME, end - 1)
    assert (UNKNOWN, UNKNOWN) == known.determine_standings(HOME, end)
    assert NO_STANDINGS == known.determine_standings(HOME, end + 1)
    renewed = known.add(HOME, NOW + 2)
    assert (KNOWN, KNOWN) == renewed.determine_standings(HOME, end + 1)
    assert 4 == len(renewed.addresses)
    assert 2 == len(renewed.add(HOME, end + 1).addresses)


def test_the_oldest_address_makes_room_for_a_new_one() -> None:
    known = KnownAddresses()
    for i in range(MAX_TAGS):
        known = known.add(AddressTags(b"%d" % i, b"number %d" % i), NOW + i)

    assert MAX_TAGS == len(known.addresses)
    first_kept = MAX_TAGS - MAX_TAGS // 2
    tags = [AddressTags(b"%d" % i, b"number %d" % i) for i in (first_kept - 1, first_kept)]
    standings = [known.determine_standings(tag, NOW + MAX_TAGS).account for tag in tags]
    assert [UNKNOWN, KNOWN] == standings


@pytest.mark.parametrize(
    ("tenant", "name", "address", "number"),
    [
        ("bank", "u-81", "203.0.113.9", "+447400123456"),
        ("shop", "u-82", "203.0.113.9", "+447400123456"),
        ("shop", "u-81", "203.0.113.8", "+447400123456"),
        ("shopu", "-81", "203.0.113.9", "+447400123456"),
    ],
)
def test_tags_of_another_tenant_account_or_address_differ(
    tenant: str, name: str, address: str, number: str
) -> None:
    tags = derive_address_tags(KEY, Account("shop", "u-81"), "203.0.113.9", "+447400123456")
    others = derive_address_tags(KEY, Account(tenant, name), address, number)

    assert not {*tags} & {*others}


def test_another_number_changes_the_tag_of_the_number_alone() -> None:
    account = Account("shop", "u-81")
    tags = derive_address_tags(KEY, account, "203.0.113.9", "+447400123456")
    others = derive_address_tags(KEY, account, "203.0.113.9", "+447400123457")

    assert tags.account == others.account
    assert tags.number != others.number
    other_key = derive_address_tags(
        Key("limit-1", b"j" * 32), account, "203.0.113.9", "+447400123456"
    )
    assert not {*tags} & {*other_key}


@pytest.mark.parametrize(("count", "reduced"), [(1, 1), (2, 1), (5, 4), (9, 8), (10, 8), (100, 80)])
def test_a_fifth_of_a_window_is_kept_back_and_at_least_one(count: int, reduced: int) -> None:
    assert Window(reduced, 3600) == reduce_window(Window(count, 3600))


@given(st.integers(2, 10**6))
def test_what_an_unknown_address_may_use_is_less_and_never_nothing(count: int) -> None:
    assert 1 <= reduce_window(Window(count, 60)).count < count
