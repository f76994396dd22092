"""Dialects whose receipts need no signature, by the format of their callbacks.

They import no vendor's SDK, which takes seconds.
"""

import msgspec

from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.providers.generic_http import GenericHttp
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.clickatell import create_clickatell
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.jasmin import create_jasmin
from tests.sms.providers.contracts.kannel import create_kannel
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.contracts.twilio import create_twilio
from tests.sms.providers.contracts.vonage import create_vonage, create_vonage_messages


ADDRESS = "https://sms.example"

GATEWAY = GenericHttp(
    url=ADDRESS, fields={"to": "{to}"}, receipt=ReceiptSettings("s", frozenset({"ok"}))
)
JSON_DIALECTS = {
    "bird": create_bird(ADDRESS),
    "clickatell": create_clickatell(ADDRESS),
    "infobip": create_infobip(ADDRESS),
    "sinch": create_sinch(ADDRESS),
    "telnyx": create_telnyx(ADDRESS),
    "vonage-messages": create_vonage_messages(ADDRESS),
}
FORM_DIALECTS = {
    "jasmin": create_jasmin(ADDRESS),
    "gateway": GATEWAY,
    "kannel": create_kannel(ADDRESS),
    "messagebird": create_messagebird(ADDRESS),
    "twilio": msgspec.structs.replace(create_twilio(ADDRESS), auth_token=None),
    "vonage": create_vonage(ADDRESS),
}
