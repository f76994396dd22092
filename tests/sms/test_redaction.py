"""What vendors echo where it does not belong is neither kept nor shown (R68)."""

import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.sms.redaction import redact_receipt, redact_reply


KEY = "s3same-0pen-s3same"


def dialect(url: str) -> GenericHttp:
    """A gateway that is opened by a header."""
    return GenericHttp(
        url=url,
        fields={"to": "{to}", "text": "{text}"},
        secret_headers={"Authorization": Secret(f"Bearer {KEY}")},
        message_id="id",
        code="code",
    )


@pytest.mark.parametrize(
    "echo",
    [KEY, f"bad:{KEY[:8]}", "447-400-123-456", "44.7400.123456", "86-42-09", "E_864_209"],
)
async def test_a_code_that_echoes_is_unreadable(gateway, transport, message, echo):
    """A credential or a part of it, and digits of number and text in groups too."""
    gateway.set_reply(401, {"code": echo})

    reply = await HttpProvider("acme", dialect(gateway.url), transport).send(message)

    assert (Fault.PROVIDER, "unreadable") == (reply.fault, reply.reason)
    assert isinstance(reply, Refused)


@pytest.mark.parametrize("echo", [KEY, "m-447-400-123-456", "07400123456"])
async def test_an_id_that_echoes_is_not_kept(gateway, transport, message, echo):
    """The message was taken all the same."""
    gateway.set_reply(200, {"id": echo})

    assert Accepted() == await HttpProvider("acme", dialect(gateway.url), transport).send(message)


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "two words",
        "x" * 65,
        "line\nbreak",
        "köd",
        "447400123456",
        "to:+447400123456",
        "to-7400123456",
        "code-864209",
        "id864209447",
    ],
)
def test_a_reason_shows_neither_number_nor_code_nor_text(message, reason):
    """What a vendor puts where its code should be is not passed on; all else of a reply stays."""
    refused = Refused(Fault.PROVIDER, reason, 3, RefusalScope.THROTTLED)

    expected = Refused(Fault.PROVIDER, "unreadable", 3, RefusalScope.THROTTLED)
    assert expected == redact_reply(refused, message)


@pytest.mark.parametrize("known", ["SM 1", "447400123456-1", "x" * 129])
def test_a_message_id_that_cannot_be_kept_is_dropped(message, known):
    """The message was accepted all the same."""
    assert Accepted() == redact_reply(Accepted(known), message)


@pytest.mark.parametrize("echo", [KEY, "447-400-123-456", "864.209", "864209"])
def test_a_receipt_that_echoes_has_no_reason(echo):
    """It is not known which message it is about, so no six digits may be together."""
    news = Receipt("technical-failure", "ref", reason=echo)

    assert "unreadable" == redact_receipt(news, dialect("https://sms.example")).reason


@pytest.mark.parametrize("code", [None, "30007", "EC-103", "TEXT_SPAM", "20.12"])
def test_a_vendors_code_stays(code):
    """As it came."""
    news = Receipt("technical-failure", "ref", reason=code)

    assert news == redact_receipt(news, dialect("https://sms.example"))
