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
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    PROVIDER_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    build_form_request,
    classify_refusal,
    match_prefix,
    reply_from_message_id,
    resolve_receipt_status,
    sanitize_reason,
)


REFUSED_PREFIXES = {
    'Error "Authentication failure': "authentication-failure",
    'Error "Authorization failed': "authorization-failed",
    'Error "Cannot charge': "cannot-charge",
    'Error "User throughput exceeded': "throughput-exceeded",
    'Error "Value filter failed': "value-filter",
    'Error "No route found': "no-route",
    'Error "Failover route has no': "no-connector",
    'Error "Cannot send submit_sm': "cannot-send",
}
FAULT_TABLE: FaultTable = {
    "authentication-failure": ACCOUNT_FAULT,  # user or password
    "authorization-failed": ACCOUNT_FAULT,  # the user may not do this
    "cannot-charge": ACCOUNT_FAULT,  # no credit
    "throughput-exceeded": THROTTLED_FAULT,  # of the user
    "value-filter": PROVIDER_FAULT,  # of the user, for numbers, senders or texts
    "no-route": PROVIDER_FAULT,  # none matches
    "no-connector": PROVIDER_FAULT,  # none is bound
    "cannot-send": PROVIDER_FAULT,  # its queue does not take it
}
FAILURE_STATUSES: dict[str, ReceiptStatus] = {
    "ESME_RINVDSTADR": "permanent-failure",  # invalid destination
    "EXPIRED": "temporary-failure",  # not reached in time
}
"""What a status makes of a technical failure."""
RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
    "ESME_ROK": "pending",  # taken by the SMSC
    "ACCEPTD": "pending",
    "ENROUTE": "pending",
    "UNKNOWN": "pending",
    "DELIVRD": "delivered",
}

_FAILED_STATUS = re.compile(r"EXPIRED|DELETED|UNDELIV|REJECTD|ESME_[A-Z]{2,24}")
_SUCCESS_REPLY = re.compile(rb'Success "([^"]*)"')
_DLR_LEVEL_SMSC_AND_PHONE = "3"


class Jasmin(VendorSettings, frozen=True, kw_only=True, tag="jasmin"):
    """The settings of a user of Jasmin, and its dialect."""

    base_url: str = "http://127.0.0.1:1401"
    username: str
    password: Secret

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """Word for word, or Jasmin brings the receipt again."""
        return 200, b"ACK/Jasmin"

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        fields = {
            "username": self.username,
            "password": self.password.reveal(),
            "to": message.to.e164,
            "from": self.select_sender_id(message),
            **_encode_text(message.text),
            "validity-period": str(max(1, message.validity_seconds // 60)),  # minutes
            **_build_receipt_fields(message.callback_url),
        }
        return build_form_request(self.build_url("/send"), "", fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return what the prose of a reply means."""
        success = _SUCCESS_REPLY.fullmatch(reply.body.strip())
        if reply.status == 200 and success:  # noqa: PLR2004
            return reply_from_message_id(success[1].decode(errors="replace"))
        return classify_refusal(FAULT_TABLE, reply, match_prefix(reply.body, REFUSED_PREFIXES))

    def parse_receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a delivery report, which Jasmin cannot sign."""
        fields = callback.query if callback.method == "GET" else callback.form
        said, known = fields["message_status"], fields["id"]
        if said in RECEIPT_STATUSES:
            return [Receipt(RECEIPT_STATUSES[said], message_id=known)]
        if not _FAILED_STATUS.fullmatch(said):
            raise ValueError("this is no status of Jasmin's")
        status = resolve_receipt_status("technical-failure", said, FAILURE_STATUSES)
        return [Receipt(status, message_id=known, reason=sanitize_reason(status, said))]


def _encode_text(text: str) -> dict[str, str]:
    """Return the text: Jasmin makes GSM 03.38 of UTF-8 itself, and nothing of anything else."""
    if count_septets(text) is not None:
        return {"coding": "0", "content": text}
    return {"coding": "8", "hex-content": text.encode("utf-16-be").hex()}


def _build_receipt_fields(callback: str | None) -> dict[str, str]:
    """Return where reports go: by POST, as the beginning of the text comes with them."""
    if callback is None:
        return {}
    return {"dlr-url": callback, "dlr-level": _DLR_LEVEL_SMSC_AND_PHONE, "dlr-method": "POST"}
