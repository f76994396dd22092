"""The stock of prepared codes: each is taken once, by a call that reserved it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.argon2_profile import DEFAULT_PROFILE, TEST_PROFILE
from otp_service.core.prepared_codes import (
    CodeReservation,
    HashedCode,
    PreparedCodes,
    count_prepared_codes,
)


def build_code(number: int) -> HashedCode:
    return HashedCode(f"{number:06d}", number.to_bytes(16, "big"), b"hash")


def create_stock(capacity: int, codes: int | None = None) -> PreparedCodes:
    stock = PreparedCodes(capacity, 6, TEST_PROFILE)
    for number in range(capacity if codes is None else codes):
        stock.add(build_code(number))
    return stock


def reserve(stock: PreparedCodes) -> CodeReservation:
    reservation = stock.reserve(6, TEST_PROFILE)
    assert reservation
    return reservation


@pytest.mark.parametrize(
    ("max_codes", "hash_ms", "count"),
    [
        (512, 15.0, 200),
        (512, 7.6, 394),
        (512, 4.8, 512),
        (512, 0.02, 512),
        (512, 0.0, 512),
        (0, 15.0, 0),
        (512, 4000.0, 0),
    ],
)
def test_a_stock_is_bounded_by_the_time_to_refill_it(
    max_codes: int, hash_ms: float, count: int
) -> None:
    """Three seconds of one thread, and a maximum for cheap profiles."""
    assert count == count_prepared_codes(max_codes, hash_ms)


def test_each_code_is_taken_once() -> None:
    stock = create_stock(3)
    reservations = [reserve(stock) for _ in range(3)]

    assert stock.reserve(6, TEST_PROFILE) is None
    codes = [reservation.take() for reservation in reservations]
    assert {build_code(number) for number in range(3)} == set(codes)
    assert [None] * 3 == [reservation.take() for reservation in reservations]
    assert 0 == len(stock)
    assert stock.reserve(6, TEST_PROFILE) is None


def test_a_call_that_is_refused_leaves_its_code_to_another_one() -> None:
    stock = create_stock(1)
    for _ in range(1000):
        with reserve(stock):
            assert stock.reserve(6, TEST_PROFILE) is None

    assert stock.is_full
    assert build_code(0) == reserve(stock).take()


def test_a_code_that_was_taken_never_returns() -> None:
    """Neither at the end of the call nor when it gives its right up a second time."""
    stock = create_stock(2)
    with reserve(stock) as reservation:
        assert reservation.take()
        reservation.close()

    assert 1 == len(stock)
    assert reserve(stock)
    assert stock.reserve(6, TEST_PROFILE) is None


def test_codes_of_another_length_or_profile_are_not_taken() -> None:
    stock = create_stock(2)

    assert stock.reserve(8, TEST_PROFILE) is None
    assert stock.reserve(6, DEFAULT_PROFILE) is None
    assert reserve(stock)


def test_a_closed_stock_is_empty_and_stays_so() -> None:
    """Also for a call that has reserved a code, and for a code that was hashed meanwhile."""
    stock = create_stock(2)
    with reserve(stock) as reservation:
        stock.close()
        stock.add(build_code(9))

        assert reservation.take() is None
    assert 0 == len(stock)
    assert stock.reserve(6, TEST_PROFILE) is None


def test_a_full_stock_takes_no_other_code() -> None:
    stock = create_stock(2, codes=5)

    assert 2 == len(stock)


def test_a_prepared_code_does_not_print_itself() -> None:
    assert "HashedCode()" == repr(build_code(1))
    assert [] == build_code(1).__rich_repr__()


@given(st.lists(st.sampled_from(["add", "reserve", "take", "close"])), st.data())
def test_no_order_of_calls_takes_a_code_twice(operations: list[str], data: st.DataObject) -> None:
    """Every call that has a right gets a code, whatever the others do."""
    stock, added = PreparedCodes(5, 6, TEST_PROFILE), 0
    held: list[CodeReservation] = []
    taken: list[HashedCode | None] = []
    for operation in operations:
        if operation == "add":
            stock.add(build_code(added))
            added += 1
        elif operation == "reserve":
            reservation = stock.reserve(6, TEST_PROFILE)
            assert (reservation is None) == (len(held) == len(stock))
            held += [reservation] if reservation else []
        elif held:
            reservation = held.pop(data.draw(st.integers(0, len(held) - 1)))
            if operation == "take":
                taken.append(reservation.take())
            reservation.close()
    assert None not in taken
    assert len(taken) == len(set(taken))
