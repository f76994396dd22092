"""The body of a question to the risk service, and its answer. Pure."""

import re
from typing import Final, Literal

import msgspec

from otp_service.core.keys import Key
from otp_service.core.printable_text import has_phone_number
from otp_service.core.risk import RiskAnswer, RiskCall, RiskQuery


MAX_ANSWER_BYTES: Final = 4096

INVALID_REASON: Final = "invalid-reason"
"""In events instead of a reason that they must not hold."""

_REASON_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class QuestionBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The JSON of a question. It has no code, message or id of a challenge."""

    call: RiskCall
    tenant: str
    request: str
    """The request id, as in events and in the log."""
    purpose: str
    country: str
    number: str | None = None
    number_pseudonym: str | None = None
    """As in events, instead of the number."""
    account: str | None = None
    client_ip: str | None = None


class AnswerBody(msgspec.Struct, frozen=True):
    """The JSON of an answer; other members are ignored."""

    answer: Literal["allow", "refuse", "unknown-number"]
    reason: str | None = None


def build_body(query: RiskQuery, pseudonym_key: Key | None) -> bytes:
    """Return the JSON of a question; with a key it has the pseudonym instead of the number."""
    phone = query.phone
    pseudonym = pseudonym_key.derive_pseudonym("number", phone.canonical) if pseudonym_key else None
    body = QuestionBody(
        call=query.call,
        tenant=query.tenant,
        request=query.request_id,
        purpose=query.purpose,
        country=phone.country,
        number=None if pseudonym else phone.e164,
        number_pseudonym=pseudonym,
        account=query.account,
        client_ip=query.client_ip,
    )
    return msgspec.json.encode(body)


def parse_answer(body: bytes) -> tuple[RiskAnswer, str | None]:
    """Return the answer, and its reason as events may hold it. Raises ValueError."""
    try:
        decoded = msgspec.json.decode(body, type=AnswerBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("not an answer") from None
    return RiskAnswer(decoded.answer), clean_reason(decoded.reason)


def clean_reason(reason: str | None) -> str | None:
    """Return a reason that is a short code; INVALID_REASON for any other text (R68, R70)."""
    if not reason:
        return None
    if not _REASON_PATTERN.fullmatch(reason) or has_phone_number(reason):
        return INVALID_REASON
    return reason
