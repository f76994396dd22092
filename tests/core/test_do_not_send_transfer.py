"""Lines of the do-not-send list: what is read, what is refused, and that an export can be imported."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendEntry, DoNotSendReason
from otp_service.core.do_not_send_transfer import export_entry, parse_import_line
from otp_service.core.json_lines import InvalidLine


NOW = 1_796_040_000_000
NUMBER = "+447400123456"
TENANTS = ("shop", "bank")


def parse_line(**members):
    return parse_import_line(json.dumps(members), TENANTS, NOW)


def test_a_number_alone_is_an_opt_out_from_all_tenants_as_of_now():
    """A list of another system has no more."""
    imported = parse_line(phone_number=NUMBER, tenant=None)

    assert (DoNotSendReason.OPTED_OUT, ALL_TENANTS) == (imported.reason, imported.tenant)
    assert (NUMBER, DoNotSendEntry(NUMBER, NOW)) == (imported.phone.e164, imported.entry)


@pytest.mark.parametrize(
    ("reason", "tenant", "entry"),
    [
        (DoNotSendReason.OPTED_OUT, "shop", DoNotSendEntry(NUMBER, NOW - 1, "p1", "447400999001")),
        (DoNotSendReason.OPTED_OUT, ALL_TENANTS, DoNotSendEntry(NUMBER, 0)),
        (DoNotSendReason.BLOCKED, ALL_TENANTS, DoNotSendEntry(NUMBER, NOW)),
    ],
)
def test_an_exported_entry_is_imported_as_it_was(reason, tenant, entry):
    """Nothing is lost on the way to another installation."""
    line = json.dumps(export_entry(reason, tenant, entry))

    imported = parse_import_line(line, TENANTS, NOW)

    assert (reason, tenant, entry) == (imported.reason, imported.tenant, imported.entry)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "phone_number is missing"),
        ({"phone_number": 447400123456}, "phone_number must be text, not a number"),
        ({"phone_number": "07400 123456"}, "strict E.164 form, like [+]447400123456. It does not"),
        ({"phone_number": "+442079460958"}, "of a type that takes no SMS"),
        ({"phone_number": NUMBER, "tenant": "club"}, "not one of the settings: bank, shop"),
        ({"phone_number": NUMBER, "tenant": ""}, "not one of the settings"),
        ({"phone_number": NUMBER, "reason": "spam"}, "must be one of blocked, opted_out$"),
        ({"phone_number": NUMBER, "reason": 5}, "must be one of blocked, opted_out, not a number$"),
        ({"phone_number": NUMBER, "reason": "blocked", "tenant": "shop"}, "leave out tenant"),
        ({"phone_number": NUMBER, "at": "2026-11-30"}, "a time with its zone"),
        ({"phone_number": NUMBER, "at": "2999-01-01T00:00:00Z"}, "between 1970 and now"),
        ({"phone_number": NUMBER, "at": "1969-12-31T23:59:59Z"}, "between 1970 and now"),
        ({"phone_number": NUMBER, "provider": "Two words"}, "digits and hyphens$"),
        ({"phone_number": NUMBER, "provider": 5}, "digits and hyphens, not a number$"),
        ({"phone_number": NUMBER, "own_number": "1" * 21}, "1 to 20 letters and digits"),
        ({"phone_number": NUMBER, "text": "STOP"}, "has an unknown member"),
        ({"tenant": 1, "at": 2}, "phone_number is missing, and tenant must be text"),
    ],
)
def test_a_line_is_refused_with_all_that_is_wrong_and_without_its_values(members, message):
    """It may be a list of real numbers."""
    with pytest.raises(InvalidLine, match=message) as refusal:
        parse_line(**members)

    assert NUMBER not in str(refusal.value).replace("like +447400123456", "")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a":1,"a":2}', "[" * 100_000])
def test_a_line_that_is_no_object_is_refused(text):
    """Each line stands for itself, and the error gives no example of another command."""
    with pytest.raises(InvalidLine) as refusal:
        parse_import_line(text, TENANTS, NOW)

    assert "account" not in str(refusal.value)


@given(
    st.dictionaries(
        st.sampled_from(["phone_number", "reason", "tenant", "provider", "own_number", "at"]),
        st.none() | st.text(max_size=30) | st.integers() | st.just(NUMBER),
    )
)
def test_any_line_is_an_entry_or_refused(members):
    """No other exception ends the command."""
    try:
        imported = parse_line(**members)
    except InvalidLine:
        return
    assert imported.phone.e164 == imported.entry.number == members["phone_number"]
