"""R65: which events a caller can cause for free, and what the others cost."""

import pytest

from otp_service.core.events import (
    EVENT_TYPES,
    FOLDABLE_EVENTS,
    AccessDenied,
    IssueDenied,
    NumberLookup,
    Tampered,
    Verified,
)


COSTS = {
    "otp.issued": "a send",
    "otp.resent": "a send",
    "otp.sent": "a send",
    "otp.provider_failed": "a send",
    "otp.superseded": "a send",
    "otp.canceled": "a send: a challenge is canceled once",
    "otp.delivery": "a send: a status is final or follows another one",
    "otp.attempted": "an attempt",
    "otp.rejected": "an attempt",
    "otp.locked": "an attempt",
    "provider.moved": "caused by providers",
    "otp.blocklist": "the command line alone",
    "otp.forgotten": "the command line alone",
    "otp.limit_reset": "the command line alone",
    "log.epoch": "a restart of Redis",
    "log.archive": "caused by the sealer",
    "service.changed": "a start or stop of a process",
}
"""What bounds each event that is not folded. `otp.verified` is both: a repeated one costs nothing."""


def test_each_event_costs_something_or_is_foldable() -> None:
    """A new type that costs nothing would let a caller displace the events of others."""
    free = {str(kind.__struct_config__.tag) for kind in FOLDABLE_EVENTS}

    assert set(EVENT_TYPES) == free | COSTS.keys()
    assert set() == free & COSTS.keys()
    assert Verified in FOLDABLE_EVENTS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (IssueDenied(id="1", tenant="a"), IssueDenied(id="1", tenant="b")),
        (IssueDenied(id="1", number="a"), IssueDenied(id="1", number="b")),
        (IssueDenied(id="1", reason="a"), IssueDenied(id="1", reason="b")),
        (NumberLookup(id="1", key_id="a"), NumberLookup(id="1", key_id="b")),
        (NumberLookup(id="1"), IssueDenied(id="1")),
        (Tampered(id="1", record="a"), Tampered(id="1", record="b")),
        (AccessDenied(id="1"), AccessDenied(id="2")),
    ],
)
def test_only_events_of_one_kind_about_one_subject_share_a_fold(one, other) -> None:
    """A fold has the body of its first event, so all of them must mean the same."""
    assert one.fold_name != other.fold_name


def test_a_repeat_shares_a_fold() -> None:
    """The id and the request differ in each call."""
    one, other = (NumberLookup(id=i, request=i, number="n", found=1) for i in "ab")

    assert one.fold_name == other.fold_name
