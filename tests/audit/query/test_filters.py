"""The filters of decoded entries: what Redis has stamped on a refusal counts, and several types."""

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.query.filters import CRITERIA_NAMES, EventFilter, build_event_filter
from otp_service.audit.query.reader import EventQuery
from otp_service.core.log_entry import Entry, StreamPosition


def build_entry(event: bytes, stamp: bytes = b"") -> Entry:
    position = StreamPosition(5, 1)
    return Entry(partition=1, position=position, epoch=1, event=event, mac="", stamp=stamp)


def test_the_reason_is_that_of_redis_where_it_has_stamped_one() -> None:
    """Only Redis knows why a commit was refused; the event of the worker has no reason, or another."""
    refused = build_entry(b'{"type":"otp.verify_denied"}', b'{"reason":"rate_limited"}')
    expired = build_entry(b'{"type":"otp.verify_denied","reason":"expired"}')
    limited = EventFilter(event_reason="rate_limited")

    assert [True, False] == [limited.matches(entry) for entry in (refused, expired)]
    assert EventFilter(event_reason="expired").matches(expired)
    assert not limited.matches(build_entry(b'{"type":"otp.verify_denied"}', b"not JSON"))


def test_a_limit_is_that_which_refused_or_would_have() -> None:
    """Redis stamps the limit on a refusal that it decides; record mode has it in the event."""
    stamped = build_entry(b'{"type":"otp.issue_denied"}', b'{"limit":"UnverifiedPerRange"}')
    denied = build_entry(b'{"type":"otp.issue_denied","limit":"UnverifiedPerRange"}')
    over = build_entry(b'{"type":"otp.issued","over_limit":"UnverifiedPerRange"}')
    others = [
        build_entry(b'{"type":"otp.issue_denied"}', b'{"limit":"SendsPerNumber"}'),
        build_entry(b'{"type":"otp.issued","purpose":"UnverifiedPerRange"}'),
        build_entry(b'{"type":"otp.issue_denied","limit":"UnverifiedPerRange"}', b"not JSON"),
    ]
    named = EventFilter(event_limit="UnverifiedPerRange")

    assert [True] * 3 == [named.matches(entry) for entry in (stamped, denied, over)]
    assert [False] * 3 == [named.matches(entry) for entry in others]
    assert not EventFilter(event_limit="UnverifiedPerRange", event_reason="expired").matches(over)
    assert not named.can_match(b'{"type":"otp.issued"}')


def test_an_event_is_of_one_of_the_types() -> None:
    """A finding may have two, such as both kinds of refusal."""
    two = EventFilter(type="otp.issue_denied,otp.verify_denied")

    for kind in ("otp.issue_denied", "otp.verify_denied"):
        line = f'{{"type":"{kind}"}}'.encode()
        assert two.matches(build_entry(line))
        assert two.can_match(line)
    assert not two.matches(build_entry(b'{"type":"otp.issued"}'))
    assert not two.can_match(b'{"type":"otp.issued"}')


def test_every_criterion_is_a_filter_of_a_query() -> None:
    """A finding that names another would find nothing, or everything."""
    names = set(EventCriteria.__struct_fields__)

    assert names < set(EventQuery.__annotations__)
    assert CRITERIA_NAMES <= set(EventFilter.__struct_fields__)
    assert EventFilter() == build_event_filter({})
