"""Messages from phones, by vendor: fields, signatures, answers, errors, and what nothing shows."""

import traceback

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.providers import aws, bird, clickatell
from tests.sms.providers import test_clickatell
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.inbound_payloads import (
    ADDRESS,
    AWS_FIELDS,
    BIRD_DATA,
    CANARY,
    CLICKATELL_ITEM,
    DIGITS,
    DOCUMENTED,
    FLOW_FIELDS,
    GATEWAY_FIELDS,
    OTHER_EVENTS,
    RECEIVER,
    SENDER,
    SIGNING_VENDORS,
    TEXT,
    UNREADABLE_EVENTS,
    VENDORS,
    build_clickatell_event,
    build_json,
)


@pytest.mark.parametrize(("name", "callback", "expected"), DOCUMENTED)
def test_a_documented_message_is_read(name, callback, expected):
    """Its numbers as the vendor writes them, its text and its id; signed only where the vendor signs."""
    vendor = VENDORS[name]

    assert [expected] == vendor.dialect.parse_callback(vendor.sign(callback))


@pytest.mark.parametrize(
    ("name", "callback"),
    [(name, callback) for name, callback, _ in DOCUMENTED if name in SIGNING_VENDORS],
)
def test_a_message_with_another_text_or_without_a_signature_is_refused(name, callback):
    """R64: a forged sender would stop the codes of another person."""
    vendor = VENDORS[name]
    signed = vendor.sign(callback)
    changed = replace(
        signed,
        url=signed.url.replace(SENDER, "447400123457"),
        body=signed.body.replace(SENDER.encode(), b"447400123457"),
    )
    unsigned = replace(signed, headers=callback.headers, certificates={})

    for forged in (changed, unsigned):
        with pytest.raises(CallbackSignatureError):
            vendor.dialect.parse_callback(forged)


@pytest.mark.parametrize("name", ["messagebird", "bird"])
def test_without_the_vendors_key_a_message_is_not_signed(name):
    """It then needs the secret in the address (R64)."""
    callback = next(callback for each, callback, _ in DOCUMENTED if each == name)
    dialect = {"messagebird": create_messagebird(ADDRESS), "bird": create_bird(ADDRESS)}[name]

    (message,) = dialect.parse_callback(callback)

    assert not message.is_signed


@pytest.mark.parametrize("name", VENDORS)
def test_the_answer_to_a_message_is_exactly_what_the_vendor_needs(name):
    """Kannel would send any text to the phone, and Jasmin repeats a message without its word."""
    assert VENDORS[name].answer == VENDORS[name].dialect.inbound_acknowledgement


@pytest.mark.parametrize(("name", "callback"), OTHER_EVENTS)
def test_an_event_that_is_almost_a_message_is_another_event(name, callback):
    """Vendors add events, so these are acknowledged and counted (R64)."""
    vendor = VENDORS[name]

    assert [SkippedEvent.OTHER] == vendor.dialect.parse_callback(vendor.sign(callback))


@pytest.mark.parametrize(("name", "callback"), UNREADABLE_EVENTS)
def test_a_message_that_lacks_something_cannot_be_read(name, callback):
    """It says what it is: the vendor has changed its format, and an operator has to know."""
    vendor = VENDORS[name]

    with pytest.raises(UnreadableCallback):
        vendor.dialect.parse_callback(vendor.sign(callback))


@pytest.mark.parametrize(
    "broken",
    [
        7,
        None,
        {},
        {"content": TEXT},
        {"from": SENDER},
        {**CLICKATELL_ITEM, "from": int(SENDER)},
        {**CLICKATELL_ITEM, "content": None},
    ],
)
def test_an_unreadable_message_of_clickatell_loses_no_other(broken):
    """A callback may have several, and receipts with them."""
    update = {"messageId": "m-1", "status": "READ"}
    event = build_clickatell_event(broken, CLICKATELL_ITEM, messageStatusUpdate=[update])

    receipt, *parts = test_clickatell.settings().parse_callback(build_json(event))

    assert "delivered" == receipt.status
    assert [SkippedEvent.UNREADABLE, DIGITS] == parts


@pytest.mark.parametrize(("name", "callback", "expected"), DOCUMENTED)
def test_a_long_message_of_a_person_is_read_whole(name, callback, expected):
    """Vendors join the parts, and nobody here shortens what is compared as a whole."""
    callback = replace(
        callback,
        url=callback.url.replace(CANARY.encode().hex(), "78" * 9_000),
        body=callback.body.replace(CANARY.encode().hex().encode(), b"78" * 80_000),
    )
    longer = replace(
        callback,
        url=callback.url.replace(CANARY, "x" * 9_000),
        body=callback.body.replace(CANARY.encode(), b"x" * 200_000),
    )
    vendor = VENDORS[name]

    (message,) = vendor.dialect.parse_callback(vendor.sign(longer))

    assert len(message.text) > 9_000 or not expected.text


PERSONAL = (CANARY, SENDER, RECEIVER)


@pytest.mark.parametrize(
    ("name", "callback"),
    [(name, callback) for name, callback, _ in DOCUMENTED] + OTHER_EVENTS + UNREADABLE_EVENTS,
)
def test_no_part_and_no_error_shows_a_text_or_a_number(name, callback, caplog):
    """R68: in no form in which a log line, a trace or a traceback would print it."""
    caplog.set_level("DEBUG")
    vendor = VENDORS[name]
    signed = vendor.sign(callback)
    shown = f"{signed!r} {signed.__rich_repr__()}"
    try:
        parts = vendor.dialect.parse_callback(signed)
    except UnreadableCallback as error:
        shown += "".join(traceback.format_exception(error)) + repr(error)
    else:
        shown += "".join(f"{part!r} {part}" for part in parts)
        shown += "".join(
            repr(part.__rich_repr__()) for part in parts if isinstance(part, InboundMessage)
        )

    assert not [each for each in PERSONAL if each in shown + caplog.text]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (bird._InboundBody, BIRD_DATA),
        (bird._EventBody, {"type": "sms.received", "data": BIRD_DATA}),
        (aws._InboundBody, AWS_FIELDS),
        (aws._EventBody, AWS_FIELDS),
        (clickatell._InboundBody, CLICKATELL_ITEM),
        (clickatell._CallbackBody, build_clickatell_event(CLICKATELL_ITEM)),
    ],
)
def test_no_decoded_body_shows_a_text_or_a_number(kind, fields):
    """R68: an error reporter shows the values of variables."""
    body = msgspec.json.decode(msgspec.json.encode(fields), type=kind)

    assert not [each for each in PERSONAL if each in f"{body!r} {body.__rich_repr__()}"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
JSON_PAYLOADS = {
    "messagebird": FLOW_FIELDS,
    "bird": BIRD_DATA,
    "aws": AWS_FIELDS,
    "clickatell": CLICKATELL_ITEM,
    "gateway": GATEWAY_FIELDS,
}


@pytest.mark.parametrize("name", JSON_PAYLOADS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_refused_by_the_contract(name, data):
    """Never another exception, which would be a 500, and the vendor would repeat it for days."""
    fields = dict(JSON_PAYLOADS[name])
    for field in data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=3)):
        fields[field] = data.draw(VALUES)
    event = {
        "bird": {"type": "sms.received", "data": fields},
        "clickatell": build_clickatell_event(fields),
    }.get(name, fields)
    vendor = VENDORS[name]

    try:
        parts = vendor.dialect.parse_callback(vendor.sign(build_json(event)))
    except UnreadableCallback:
        return

    assert parts
    for part in parts:
        assert isinstance(part, SkippedEvent) or all(
            isinstance(each, str) for each in (part.sender, part.text, part.receiver, part.id)
        )
