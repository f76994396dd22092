"""The only list of providers, and so of the values of `type` in their settings.

Each is a frozen struct with `build_provider` and `find_errors`; its tag selects it.
"""

from otp_service.sms.providers.aws import Aws
from otp_service.sms.providers.bird import Bird
from otp_service.sms.providers.clickatell import Clickatell
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.infobip import Infobip
from otp_service.sms.providers.jasmin import Jasmin
from otp_service.sms.providers.kannel import Kannel
from otp_service.sms.providers.messagebird import MessageBird
from otp_service.sms.providers.plivo import Plivo
from otp_service.sms.providers.sinch import Sinch
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.providers.sns import Sns
from otp_service.sms.providers.telnyx import Telnyx
from otp_service.sms.providers.twilio import Twilio
from otp_service.sms.providers.vonage import Vonage
from otp_service.sms.providers.vonage_messages import VonageMessages


Provider = (
    Aws  # by name, one a line
    | Bird
    | Clickatell
    | GenericHttp
    | Inbox
    | Infobip
    | Jasmin
    | Kannel
    | MessageBird
    | Plivo
    | Sinch
    | Smpp
    | Sns
    | Telnyx
    | Twilio
    | Vonage
    | VonageMessages
)
