"""For each of the named vendors: senders, secrets, and addresses."""

import msgspec
import pytest

from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.providers import Provider
from otp_service.sms.vendor_dialect import sanitize_reason
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx


ADDRESS = "https://sms.example"
SECRETS = {"t0ken", "k3y", "bk_eu1_k3y"}


@pytest.fixture(
    params=[
        create_bird,
        create_infobip,
        create_messagebird,
        create_plivo,
        create_sinch,
        create_telnyx,
    ],
    ids=lambda m: m.__name__,
)
def vendor(request):
    """Makes the dialect of one."""
    return request.param


@pytest.fixture
def american():
    """A number for which a name will not do as sender."""
    return PhoneNumber("+12125550123", "US", 1)


def test_an_address_holds_no_number_code_or_key(vendor, message):
    """Proxies may log addresses (R43); keys are in one header only."""
    request = vendor(ADDRESS).build_request(message)

    for hidden in (message.to.e164[1:], "864209", *SECRETS):
        assert hidden not in request.url
    for key in SECRETS:
        assert key.encode() not in request.body
    assert "POST" == request.method


def test_nothing_shows_its_keys(vendor, message):
    """Settings and requests are printed by tracebacks."""
    dialect = vendor(ADDRESS)
    shown = f"{dialect!r} {dialect.build_request(message)!r}"

    assert not [key for key in SECRETS | {"864209"} if key in shown]


def test_the_tenants_name_is_the_sender(vendor, message):
    """An empty one is omitted, not sent as an empty value."""
    named = msgspec.structs.replace(message, sender="Brand")

    assert b'"Brand"' in vendor(ADDRESS, sender="+447400000000").build_request(named).body
    assert b'""' not in vendor(ADDRESS).build_request(message).body


def test_a_number_is_the_sender_where_a_name_will_not_do(vendor, message, american):
    """In the US and Canada (R44)."""
    named = msgspec.structs.replace(message, sender="Brand", to=american)

    body = vendor(ADDRESS, sender="+12125550199").build_request(named).body

    assert b"Brand" not in body
    assert b"12125550199" in body


def test_settings_are_read_by_their_type(vendor):
    """The tag is all that there is of a registration."""
    dialect = vendor(ADDRESS)
    given = _plain(dialect)

    read = msgspec.convert(
        given | {"type": dialect.__struct_config__.tag}, Provider, dec_hook=lambda _, v: Secret(v)
    )

    assert given == _plain(read)


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("40300", "40300"),
        (402, "402"),
        ("", None),
        (None, None),
        ("+447400123456", "unreadable"),
        ("a1234567", "unreadable"),
        ("Not a code", "unreadable"),
        ("x" * 41, "unreadable"),
    ],
)
def test_what_is_kept_of_a_code(code, kept):
    """Short, never prose, and no six digits in a row: they might be of a number or a code."""
    assert kept == sanitize_reason("technical-failure", code)
    assert sanitize_reason("delivered", code) is None


def _plain(dialect):
    """Return the settings as a file has them, without the clock that one vendor needs."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in msgspec.structs.asdict(dialect).items()
        if name != "now" and value is not None
    }
