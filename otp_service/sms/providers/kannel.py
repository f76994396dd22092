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
from otp_service.core.messages import septets
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import Callback
from otp_service.sms.http_provider import Headers, HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    PROVIDER,
    RECIPIENT,
    THROTTLED,
    Outcome,
    Verdicts,
    reason,
    refusal,
    word,
)


ACCEPTED = {"0: ": "accepted", "Sent.": "accepted"}
"""The second one is of a smsbox with `immediate-sendsms-reply`."""
WORDS = {
    "3: Queued": "queued",
    "Temporal failure": "temporal-failure",
    "Number(s) has/have been denied": "number-denied",
    "Authorization failed": "authorization-failed",
    "Sender missing": "sender-missing",
    "Not routable": "not-routable",
}
FAULTS: Verdicts = {
    "number-denied": RECIPIENT,  # black-list or white-list
    "authorization-failed": ACCOUNT,  # user or address
    "sender-missing": ACCOUNT,  # no default either
    "queued": THROTTLED,  # no SMSC is connected
    "temporal-failure": THROTTLED,  # a queue is full
    "not-routable": PROVIDER,  # no SMSC takes this number
}
RECEIPTS: dict[str, Outcome] = {
    "1": "delivered",
    "2": "technical-failure",  # not delivered: it does not say whether it was the number's fault
    "4": "pending",  # buffered by the SMSC
    "8": "pending",  # taken by the SMSC
    "16": "technical-failure",  # refused by the SMSC
    "32": "pending",  # an intermediate notification
}
DLR_MASK = sum(map(int, RECEIPTS))

GSM, UCS2 = 0, 2


class Kannel(VendorSettings, frozen=True, kw_only=True, tag="kannel"):
    """The settings of a smsbox, and its dialect."""

    base_url: str = "http://127.0.0.1:13013/cgi-bin/sendsms"
    """With the path, which is smsbox's `sendsms-url`."""
    username: str
    password: Secret

    def request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        coding = GSM if septets(message.text) is not None else UCS2
        parts = [
            _tag("da", _tag("number", message.to.e164)),
            _tag("oa", _tag("number", escape(sender)))
            if (sender := self.sender_for(message))
            else "",
            _tag("ud", _percent(message.text)),
            _tag("dcs", _tag("coding", str(coding))),
            _tag("vp", _tag("delay", str(max(1, message.valid_for // 60)))),  # minutes
            _status_request(message.callback) if message.callback is not None else "",
            self._credentials,
        ]
        document = _tag("message", _tag("submit", "".join(parts)))
        body = f'<?xml version="1.0" encoding="UTF-8"?>{document}'
        return HttpRequest("POST", self.base_url, self._headers, body.encode())

    def reply(self, reply: HttpReply) -> Reply:
        """Return what the prose of a reply means."""
        if reply.status == 202 and word(reply.body, ACCEPTED):  # noqa: PLR2004
            return Accepted()
        return refusal(FAULTS, reply, word(reply.body, WORDS))

    def receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a delivery report, which Kannel cannot sign."""
        kind = callback.query["type"]
        status = RECEIPTS[kind]
        why = reason(status, f"dlr-{kind}")
        return [Receipt(status, message_id=callback.query.get("fid", ""), reason=why)]

    @cached_property
    def _headers(self) -> Headers:
        return (("content-type", "text/xml"),)

    @cached_property
    def _credentials(self) -> str:
        user = _tag("username", escape(self.username))
        return _tag("from", user + _tag("password", escape(self.password.reveal())))


def _tag(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def _percent(text: str) -> str:
    """Return the text so that Kannel gets it back.

    It decodes the text like a query, and in some versions takes one of digits for hexadecimal.
    """
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _status_request(callback: str) -> str:
    """Return where reports go: Kannel fills in what kind it is (%d), and the SMSC's id (%F).

    It has an answer of the SMSC to give too (%A), in which the text of the message may stand.
    """
    url = callback.replace("%", "%%") + ("&" if "?" in callback else "?") + "type=%d&fid=%F"
    return _tag("statusrequest", _tag("dlr-mask", str(DLR_MASK)) + _tag("dlr-url", escape(url)))
