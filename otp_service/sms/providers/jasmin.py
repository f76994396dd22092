"""Jasmin, a gateway of one's own: /send of its HTTP API (docs.jasminsms.com/en/latest/apis/http).

    Success "…"                      200        accepted
    Error "Authentication failure"   403        account
    Error "Authorization failed"     400, 403   account: the user may not do this
    Error "Cannot charge submit_sm"  403        account: no credit
    Error "User throughput exceeded" 403        throttled
    Error "Value filter failed"      400        the provider's: a filter of the user
    Error "No route found"           412        the provider's
    Error "Failover route has no"    412        the provider's: no connector is bound
    Error "Cannot send submit_sm"    500        the provider's: certainly not sent
    any other                                   4xx the provider's, else perhaps sent

Nothing that it says puts the fault on the number. It hands messages on through a queue, so what
an SMSC says of the number comes later: ESME_RINVDSTADR in a receipt.
"""

import re

from otp_service.core.delivery import Message, Receipt, Reply
from otp_service.core.messages import septets
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import Callback
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    PROVIDER,
    THROTTLED,
    Outcome,
    Verdicts,
    accepted,
    outcome,
    post_form,
    reason,
    refusal,
    word,
)


WORDS = {
    'Error "Authentication failure': "authentication-failure",
    'Error "Authorization failed': "authorization-failed",
    'Error "Cannot charge': "cannot-charge",
    'Error "User throughput exceeded': "throughput-exceeded",
    'Error "Value filter failed': "value-filter",
    'Error "No route found': "no-route",
    'Error "Failover route has no': "no-connector",
    'Error "Cannot send submit_sm': "cannot-send",
}
FAULTS: Verdicts = {
    "authentication-failure": ACCOUNT,  # user or password
    "authorization-failed": ACCOUNT,  # the user may not do this
    "cannot-charge": ACCOUNT,  # no credit
    "throughput-exceeded": THROTTLED,  # of the user
    "value-filter": PROVIDER,  # of the user, for numbers, senders or texts
    "no-route": PROVIDER,  # none matches
    "no-connector": PROVIDER,  # none is bound
    "cannot-send": PROVIDER,  # its queue does not take it
}
CODES: dict[str, Outcome] = {
    "ESME_RINVDSTADR": "permanent-failure",  # invalid destination
    "EXPIRED": "temporary-failure",  # not reached in time
}
"""What a status makes of a technical failure."""
STATUSES: dict[str, Outcome] = {
    "ESME_ROK": "pending",  # taken by the SMSC
    "ACCEPTD": "pending",
    "ENROUTE": "pending",
    "UNKNOWN": "pending",
    "DELIVRD": "delivered",
}

_FAILED = re.compile(r"EXPIRED|DELETED|UNDELIV|REJECTD|ESME_[A-Z]{2,24}")
_SUCCESS = re.compile(rb'Success "([^"]*)"')
_SMSC_AND_PHONE = "3"


class Jasmin(VendorSettings, frozen=True, kw_only=True, tag="jasmin"):
    """The settings of a user of Jasmin, and its dialect."""

    base_url: str = "http://127.0.0.1:1401"
    username: str
    password: Secret

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """Word for word, or Jasmin brings the receipt again."""
        return 200, b"ACK/Jasmin"

    def request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        fields = {
            "username": self.username,
            "password": self.password.reveal(),
            "to": message.to.e164,
            "from": self.sender_for(message),
            **_content(message.text),
            "validity-period": str(max(1, message.valid_for // 60)),  # minutes
            **_receipt_request(message.callback),
        }
        return post_form(self.address("/send"), "", fields)

    def reply(self, reply: HttpReply) -> Reply:
        """Return what the prose of a reply means."""
        success = _SUCCESS.fullmatch(reply.body.strip())
        if reply.status == 200 and success:  # noqa: PLR2004
            return accepted(success[1].decode(errors="replace"))
        return refusal(FAULTS, reply, word(reply.body, WORDS))

    def receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a delivery report, which Jasmin cannot sign."""
        fields = callback.query if callback.method == "GET" else callback.form
        said, known = fields["message_status"], fields["id"]
        if said in STATUSES:
            return [Receipt(STATUSES[said], message_id=known)]
        if not _FAILED.fullmatch(said):
            raise ValueError("this is no status of Jasmin's")
        status = outcome("technical-failure", said, CODES)
        return [Receipt(status, message_id=known, reason=reason(status, said))]


def _content(text: str) -> dict[str, str]:
    """Return the text: Jasmin makes GSM 03.38 of UTF-8 itself, and nothing of anything else."""
    if septets(text) is not None:
        return {"coding": "0", "content": text}
    return {"coding": "8", "hex-content": text.encode("utf-16-be").hex()}


def _receipt_request(callback: str | None) -> dict[str, str]:
    """Return where reports go: by POST, as the beginning of the text comes with them."""
    if callback is None:
        return {}
    return {"dlr-url": callback, "dlr-level": _SMSC_AND_PHONE, "dlr-method": "POST"}
