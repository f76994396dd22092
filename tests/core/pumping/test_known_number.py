"""Known numbers: how many unverified messages their exemption is worth."""

from otp_service.core.pumping.known_number import (
    KNOWN_NUMBER_TTL_MS,
    can_count,
    is_exempt,
    note_exempt_send,
    note_verification,
)
from otp_service.core.timestamps import DAY_MS, MINUTE_MS


NOW = 1_763_814_000_123


def count_exempt_sends(known, now, attempts=10):
    sent = 0
    for _ in range(attempts):
        if is_exempt(known, now):
            known, sent = note_exempt_send(known, now), sent + 1
    return known, sent


def test_an_unknown_number_is_not_exempt():
    assert not is_exempt(None, NOW)


def test_a_known_number_has_three_unverified_messages_a_day():
    known, first_day = count_exempt_sends(note_verification(NOW), NOW + 1)
    known, same_day = count_exempt_sends(known, NOW + DAY_MS - MINUTE_MS)
    _, next_day = count_exempt_sends(known, NOW + 1 + DAY_MS)

    assert (3, 0, 3) == (first_day, same_day, next_day)


def test_the_exemption_ends_after_six_unpaid_messages_until_the_number_verifies():
    """Fraudsters can read the messages of ranges that they own."""
    known, total = note_verification(NOW), 0
    for day in range(30):
        known, sent = count_exempt_sends(known, NOW + day * DAY_MS)
        total += sent

    assert 6 == total
    assert is_exempt(note_verification(NOW + 30 * DAY_MS), NOW + 30 * DAY_MS)


def test_the_exemption_ends_ninety_days_after_the_last_verification():
    known = note_verification(NOW)

    assert is_exempt(known, NOW + KNOWN_NUMBER_TTL_MS - 1)
    assert not is_exempt(known, NOW + KNOWN_NUMBER_TTL_MS)


def test_a_number_raises_the_allowance_once_a_day():
    assert can_count(None, NOW)
    assert not can_count(note_verification(NOW), NOW + DAY_MS - 1)
    assert can_count(note_verification(NOW), NOW + DAY_MS)
