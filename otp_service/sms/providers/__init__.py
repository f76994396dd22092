"""The only list of providers: what `type` may be in the settings of one.

Each is a frozen struct with `as_sender(name, tools)` and `faults()`; the tag picks it.
"""

from otp_service.sms.providers.bird import Bird
from otp_service.sms.providers.http import Http
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.infobip import Infobip
from otp_service.sms.providers.messagebird import MessageBird
from otp_service.sms.providers.plivo import Plivo
from otp_service.sms.providers.sinch import Sinch
from otp_service.sms.providers.telnyx import Telnyx


Provider = (
    Bird  # one line each, alphabetical
    | Http
    | Inbox
    | Infobip
    | MessageBird
    | Plivo
    | Sinch
    | Telnyx
)
