"""One decoder: readers, reports and exports agree on what an event is."""

import msgspec
import pytest

from otp_service.audit.archive_format.entries import MAX_EVENT_BYTES, encode_entry
from otp_service.audit.event_decoder import decode_event
from otp_service.audit.exports.export_record import decode_line
from otp_service.audit.reports.event_record import build_event_record
from otp_service.core.log_entry import Entry, StreamPosition


DENIED = b'{"type":"otp.issue_denied","id":"1","outcome":"failure","reason":"from the worker"}'
LONG = msgspec.json.encode({"type": "otp.issued", "id": "x" * MAX_EVENT_BYTES})


def build_entry(event: bytes, stamp: bytes = b"") -> Entry:
    return Entry(
        partition=7, position=StreamPosition(5, 42), epoch=3, event=event, mac="k1:9f", stamp=stamp
    )


def test_all_views_show_the_reason_that_redis_stamped():
    """Only Redis knows why it refused: its reason and limit replace the worker's."""
    entry = build_entry(DENIED, b'{"reason":"rate_limited","limit":"L","first":7}')

    decoded = decode_event(entry, has_valid_mac=True)
    public, record = decoded.to_public(), build_event_record(decoded)
    exported = decode_line(encode_entry(entry, has_valid_mac=True))

    assert record
    assert exported
    assert ("rate_limited", "L", "ok") == (public["reason"], public["limit"], public["integrity"])
    assert ("rate_limited", "L", 5) == (record.reason, record.limit, record.at)
    assert ("otp.issue_denied", "rate_limited", "L", 7) == (
        exported.event_type,
        *map(exported.get_field, ("reason", "limit", "first")),
    )
    assert ("07-3-42", "1970-01-01T00:00:00.007Z") == (public["event_id"], public["first"])
    assert public["event_id"] == exported.sequence_id.id


@pytest.mark.parametrize(
    ("event", "stamp", "has_valid_mac"),
    [
        (DENIED, b"", False),
        (DENIED, b'{"reason":5}', True),
        (b"", b"", True),
        (b"{}", b"", True),
        (b"[]", b"", True),
        (LONG, b"", True),
    ],
    ids=["wrong MAC", "invalid stamp", "empty", "no member", "no object", "too long"],
)
def test_no_view_takes_an_event_that_is_not_authentic(event, stamp, has_valid_mac):
    """The public form marks it, reports leave it out, and an export makes it a finding."""
    entry = build_entry(event, stamp)

    decoded = decode_event(entry, has_valid_mac=has_valid_mac)
    exported = decode_line(encode_entry(entry, has_valid_mac=has_valid_mac))

    assert "failed" == decoded.to_public()["integrity"]
    assert build_event_record(decoded) is None
    assert exported
    assert "log.unreadable" == exported.event_type
