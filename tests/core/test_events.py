"""R65: which events a caller can cause for free, and what the others cost."""

import msgspec
import pytest

from otp_service.core.events import (
    EVENT_TYPES,
    FOLDABLE_EVENTS,
    AccessDenied,
    AuditLookup,
    AuthenticatorDenied,
    IssueDenied,
    RecoveryDenied,
    Tampered,
    Verified,
)


COSTS = {
    "otp.issued": "a send",
    "otp.resent": "a send",
    "delivery.created": "a send",
    "delivery.sent": "a send",
    "delivery.provider_failed": "a send",
    "delivery.reported": "a send: as otp.delivery",
    "otp.sent": "a send",
    "otp.provider_failed": "a send",
    "otp.superseded": "a send",
    "otp.canceled": "a send: a challenge is canceled once",
    "otp.delivery": "a send: a status is final or follows another one",
    "otp.attempted": "an attempt",
    "otp.rejected": "an attempt",
    "otp.locked": "an attempt",
    "authenticator.attempted": "an attempt, which a right code of a new time step refunds",
    "authenticator.rejected": "an attempt",
    "authenticator.replayed": "an attempt",
    "authenticator.locked": "an attempt",
    "authenticator.imported": "the command line alone",
    "authenticator.exported": "the command line alone",
    "recovery.created": "one of five sets of an account a day",
    "recovery.attempted": "an attempt, which a right code refunds",
    "recovery.rejected": "an attempt",
    "recovery.low": "a recovery code",
    "recovery.locked": "an attempt",
    "provider.moved": "caused by providers",
    "brake.moved": "the learning job: once an hour and country at most in each direction",
    "otp.blocklist": "the command line alone",
    "number.exported": "the command line alone",
    "otp.forgotten": "the command line alone",
    "otp.limit_reset": "the command line alone",
    "limit_key.moved": "the command line alone",
    "brake.opened": "the command line alone",
    "brake.closed": "the command line alone",
    "brake.lifted": "the command line alone",
    "log.epoch": "a restart of Redis",
    "log.archive": "caused by the sealer",
    "service.changed": "a start or stop of a process",
}
"""What bounds each event that is not folded. `otp.verified` is both: a repeated one costs nothing."""

SECRET_WORDS = {
    *("code", "codes", "hash", "hashes", "message", "text", "token", "secret", "seed", "salt"),
    *("uri", "url", "qr", "otpauth", "password", "credential", "phone", "step"),
}
"""Parts of a name. `phone_metadata` is the version of the numbering plans."""


def test_each_event_costs_something_or_is_foldable() -> None:
    """A new type that costs nothing would let a caller displace the events of others."""
    free = {str(kind.__struct_config__.tag) for kind in FOLDABLE_EVENTS}

    assert set(EVENT_TYPES) == free | COSTS.keys()
    assert set() == free & COSTS.keys()
    assert Verified in FOLDABLE_EVENTS


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_no_event_has_a_field_for_something_secret(kind) -> None:
    """R68: a code, a hash, a message, a token, a secret or a URI; `codes_left` is a number."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    counts = {name for name, type_ in fields.items() if type_ is int}

    for name in fields.keys() - counts - {"phone_metadata"}:
        assert not SECRET_WORDS & set(name.split("_")), name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (IssueDenied(id="1", tenant="a"), IssueDenied(id="1", tenant="b")),
        (IssueDenied(id="1", number="a"), IssueDenied(id="1", number="b")),
        (AuthenticatorDenied(id="1", account="a"), AuthenticatorDenied(id="1", account="b")),
        (AuthenticatorDenied(id="1", account="a"), RecoveryDenied(id="1", account="a")),
        (IssueDenied(id="1", reason="a"), IssueDenied(id="1", reason="b")),
        (AuditLookup(id="1", key_id="a"), AuditLookup(id="1", key_id="b")),
        (AuditLookup(id="1"), IssueDenied(id="1")),
        (Tampered(id="1", record="a"), Tampered(id="1", record="b")),
        (AccessDenied(id="1"), AccessDenied(id="2")),
    ],
)
def test_only_events_of_one_kind_about_one_subject_share_a_fold(one, other) -> None:
    """A fold has the body of its first event, so all of them must mean the same."""
    assert one.fold_name != other.fold_name


def test_a_caller_that_varies_the_account_of_a_number_gets_no_further_fold() -> None:
    """The account of a call is its caller's to choose, and so would be the number of folds."""
    one, other = (IssueDenied(id="1", number="n", account=account) for account in "ab")

    assert one.fold_name == other.fold_name


def test_a_repeat_shares_a_fold() -> None:
    """The id and the request differ in each call."""
    one, other = (AuditLookup(id=i, request=i, number="n", found=1) for i in "ab")

    assert one.fold_name == other.fold_name
