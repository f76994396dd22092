"""Kannel, a gateway of one's own: sendsms of smsbox 1.4.5, as XML, which alone has all in the body.

    0: Accepted for delivery, Sent.      202   accepted; there is no id of a message
    3: Queued for later delivery         202   no SMSC is connected: the provider's, throttled
    Temporal failure, try again later.   503   the provider's, throttled
    Number(s) has/have been denied       400   the number's: it is in a list that somebody keeps
    Authorization failed                 403   account
    Sender missing                       400   account: there is neither one of ours nor of theirs
    Not routable                         403   the provider's
    any other                                  4xx the provider's, else perhaps sent

A message that was queued goes out once there is an SMSC, unless its validity has ended by then.
A parameter in a form would do as well, but smsbox refuses forms ("Invalid content-type"); with
`text/plain` the number and our credentials would be headers.

Its own log holds every text at log-level 0 and 1: give smsbox and bearerbox `log-level = 2`.
"""

from functools import cached_property
from html import escape

from otp_service.core.delivery import Accepted, Message, Receipt, Reply
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import Headers, HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    PROVIDER_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    classify_refusal,
    match_prefix,
    sanitize_reason,
)


ACCEPTED_PREFIXES = {"0: ": "accepted", "Sent.": "accepted"}
"""The second one is of a smsbox with `immediate-sendsms-reply`."""
REFUSED_PREFIXES = {
    "3: Queued": "queued",
    "Temporal failure": "temporal-failure",
    "Number(s) has/have been denied": "number-denied",
    "Authorization failed": "authorization-failed",
    "Sender missing": "sender-missing",
    "Not routable": "not-routable",
}
FAULT_TABLE: FaultTable = {
    "number-denied": RECIPIENT_FAULT,  # black-list or white-list
    "authorization-failed": ACCOUNT_FAULT,  # user or address
    "sender-missing": ACCOUNT_FAULT,  # no default either
    "queued": THROTTLED_FAULT,  # no SMSC is connected
    "temporal-failure": THROTTLED_FAULT,  # a queue is full
    "not-routable": PROVIDER_FAULT,  # no SMSC takes this number
}
RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
    "1": "delivered",
    "2": "technical-failure",  # not delivered: it does not say whether it was the number's fault
    "4": "pending",  # buffered by the SMSC
    "8": "pending",  # taken by the SMSC
    "16": "technical-failure",  # refused by the SMSC
    "32": "pending",  # an intermediate notification
}
DLR_MASK = sum(map(int, RECEIPT_STATUSES))

GSM_CODING, UCS2_CODING = 0, 2


class Kannel(VendorSettings, frozen=True, kw_only=True, tag="kannel"):
    """The settings of a smsbox, and its dialect."""

    base_url: str = "http://127.0.0.1:13013/cgi-bin/sendsms"
    """With the path, which is smsbox's `sendsms-url`."""
    username: str
    password: Secret

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        coding = GSM_CODING if count_septets(message.text) is not None else UCS2_CODING
        parts = [
            _wrap_tag("da", _wrap_tag("number", message.to.e164)),
            _wrap_tag("oa", _wrap_tag("number", escape(sender)))
            if (sender := self.select_sender_id(message))
            else "",
            _wrap_tag("ud", _encode_text(message.text)),
            _wrap_tag("dcs", _wrap_tag("coding", str(coding))),
            _wrap_tag(
                "vp", _wrap_tag("delay", str(max(1, message.validity_seconds // 60)))
            ),  # minutes
            _build_status_request(message.callback_url) if message.callback_url is not None else "",
            self._credentials,
        ]
        document = _wrap_tag("message", _wrap_tag("submit", "".join(parts)))
        body = f'<?xml version="1.0" encoding="UTF-8"?>{document}'
        return HttpRequest("POST", self.base_url, self._headers, body.encode())

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return what the prose of a reply means."""
        if reply.status == 202 and match_prefix(reply.body, ACCEPTED_PREFIXES):  # noqa: PLR2004
            return Accepted()
        return classify_refusal(FAULT_TABLE, reply, match_prefix(reply.body, REFUSED_PREFIXES))

    def parse_receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a delivery report, which Kannel cannot sign."""
        kind = callback.query["type"]
        status = RECEIPT_STATUSES[kind]
        why = sanitize_reason(status, f"dlr-{kind}")
        return [Receipt(status, message_id=callback.query.get("fid", ""), reason=why)]

    @cached_property
    def _headers(self) -> Headers:
        return (("content-type", "text/xml"),)

    @cached_property
    def _credentials(self) -> str:
        user = _wrap_tag("username", escape(self.username))
        return _wrap_tag("from", user + _wrap_tag("password", escape(self.password.reveal())))


def _wrap_tag(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def _encode_text(text: str) -> str:
    """Return the text so that Kannel gets it back.

    It decodes the text like a query, and in some versions takes one of digits for hexadecimal.
    """
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _build_status_request(callback: str) -> str:
    """Return where reports go: Kannel fills in what kind it is (%d), and the SMSC's id (%F).

    It has an answer of the SMSC to give too (%A), in which the text of the message may stand.
    """
    url = callback.replace("%", "%%") + ("&" if "?" in callback else "?") + "type=%d&fid=%F"
    return _wrap_tag(
        "statusrequest", _wrap_tag("dlr-mask", str(DLR_MASK)) + _wrap_tag("dlr-url", escape(url))
    )
