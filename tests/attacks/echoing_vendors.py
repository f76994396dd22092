"""Every vendor on one loopback gateway: all replies that it may send, and its receipts.

Settings and replies are those of the providers' contracts. All secrets are generated for the test
and long enough to be searched for. `generate_echoes` puts a placeholder into every field of a reply
or a receipt.
"""

import base64
import copy
import hashlib
import hmac
import http.server
import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.providers.plivo import _build_signed_text as signed_by_plivo
from otp_service.sms.signatures import compute_signature
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.sms.aws.sns_topic import TOPIC_ARN, SnsTopic, format_timestamp
from tests.sms.providers.provider_contract import GatewayReply, ProviderContract
from tests.sms.providers.test_provider_contract import CONTRACTS


TELNYX_KEY = Ed25519PrivateKey.generate()
SNS_TOPIC = SnsTopic(days=36_500)

SIGNING_SETTINGS: dict[str, dict[str, Any]] = {
    "aws": {"topic_arn": TOPIC_ARN},
    "bird": {"webhook_secret": None, "sender": "Example"},
    "messagebird": {"signing_key": None, "sender": "Example"},
    "plivo": {"sender": "Example"},
    "sinch": {"signing_secret": None},
    "telnyx": {
        "sender": "Example",
        "public_key": base64.b64encode(TELNYX_KEY.public_key().public_bytes_raw()).decode(),
    },
    "twilio": {"api_key": "SK1", "api_secret": None},
    "vonage": {"signature_secret": None},
    "vonage-messages": {"signature_secret": None},
    "http": {
        "fields": {"to": "{to}", "text": "{text}", "tell": "{callback}"},
        "secret_headers": {"Authorization": None},
        "receipt": {"status": "status", "delivered": ["ok"], "failed": ["dead"]},
    },
}
"""Settings that the contracts omit, and the keys for receipts. None is replaced by a secret."""

CODE_PATTERN = re.compile(r"Your Shop code is (\d{6})\.")
ECHO_PLACEHOLDERS = ("{code}", "{key}", "{spaced} {digits}: {text}")
"""Echoed values: the code, the credentials, and prose with the number and the whole text."""


class VendorAccount:
    """One provider: its settings, its secrets, and the reply of its gateway in each case."""

    def __init__(self, name: str, contract: ProviderContract, url: str) -> None:
        self.name = name
        self.secrets: dict[str, str] = {}
        self.replies: dict[str, GatewayReply] = {
            case: reply
            for case in ("accepted", "recipient", "account", "throttled", "unknown", "without_id")
            if (reply := getattr(contract, case))
        }
        dialect: Any = contract.dialect(url)
        fields = {each.name: each for each in msgspec.structs.fields(type(dialect))}
        contract_settings = {
            field: getattr(dialect, field)
            for field in fields.keys() - {"now"}
            if getattr(dialect, field) != fields[field].default
        }
        signing_settings = SIGNING_SETTINGS.get(name, {})
        self.settings = {
            field: self._replace_secrets(field, value)
            for field, value in {**contract_settings, **signing_settings}.items()
        }
        self.settings["type"] = name

    @property
    def environment(self) -> dict[str, str]:
        """The settings as environment variables of the service."""
        path = f"PROVIDERS__{self.name.upper()}"
        return {
            f"{path}__{name.upper()}": _format_toml(v, top=True)
            for name, v in self.settings.items()
        }

    @property
    def key(self) -> str:
        """The credential of the account, as a gateway would echo it."""
        return next(iter(self.secrets.values()))

    def _replace_secrets(self, field: str, value: Any) -> Any:
        if value is None or isinstance(value, Secret):
            # Jasmin takes at most 16 characters.
            secret = secrets.token_hex(8) if self.name == "jasmin" else secrets.token_urlsafe(48)
            if field == "webhook_secret":
                secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
            self.secrets[field] = secret
            return secret
        if isinstance(value, dict):
            return {name: self._replace_secrets(name, item) for name, item in value.items()}
        return value


def _format_toml(value: Any, *, top: bool = False) -> str:
    if isinstance(value, str):
        return value if top else json.dumps(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_format_toml(item)}" for name, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple | frozenset):
        return f"[{', '.join(map(_format_toml, value))}]"
    return str(value)


def create_vendors(url: str) -> list[VendorAccount]:
    """Return one account of each provider type."""
    return [VendorAccount(name, each, url) for name, each in CONTRACTS.items() if "," not in name]


# ------------------------------------------------------------------------------------- replies


def generate_echoes(body: Any) -> Iterator[Any]:
    """Yield the reply or receipt once for each of its fields and each value that may be echoed."""
    if isinstance(body, bytes):
        places = [*re.finditer(rb">([^<>]+)<", body)] or [*re.finditer(rb".+", body)]
        for match in places:
            start, end = match.span(match.re.groups)
            for value in ECHO_PLACEHOLDERS:
                yield body[:start] + value.encode() + body[end:]
        yield from (body + b" " + value.encode() for value in ECHO_PLACEHOLDERS)
        return
    for path in _list_leaf_paths(body):
        for value in ECHO_PLACEHOLDERS:
            yield _replace_at(body, path, value)


def _list_leaf_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for step, part in pairs:
            yield from _list_leaf_paths(part, (*path, step))
    elif path:
        yield path


def _replace_at(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(node)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def fill_placeholders(text: bytes, number: str, code: str, key: str) -> bytes:
    """Fill the placeholders of a reply or receipt with the values that it echoes."""
    digits = number[1:]
    values = {
        "to": number,
        "digits": digits,
        "spaced": f"{digits[:5]}-{digits[5:8]}-{digits[8:]}",
        "code": code,
        "key": key,
        "text": f"Your Shop code is {code}. It is valid for 5 min.",
    }
    for name, value in values.items():
        text = text.replace(f"{{{name}}}".encode(), value.encode())
    return text


class EchoedMessage(NamedTuple):
    """A message that the gateway received."""

    code: str
    callback_url: str
    """The callback URL of its receipts; empty where the request has none."""
    body: str


class EchoingGateway(http.server.ThreadingHTTPServer):
    """The gateway of all vendors. It fills the placeholders of `reply` and sends it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _EchoingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.messages: list[EchoedMessage] = []
        self.number = self.key = ""
        self.reply: GatewayReply | str = ""
        self.headers: dict[str, str] = {}
        self.released = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join(WAIT_TIMEOUT_SECONDS)
        self.server_close()

    def fill_reply(self, text: bytes, code: str) -> bytes:
        """Fill placeholders with the content of the request."""
        return fill_placeholders(text, self.number, code, self.key)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the client has closed the connection."""


class _EchoingHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # see tests/processes.py
    timeout = WAIT_TIMEOUT_SECONDS
    server: EchoingGateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        plain = unquote_plus(body).replace("&amp;", "&").replace("\\/", "/")
        code = CODE_PATTERN.findall(plain)[0]
        self.server.messages.append(EchoedMessage(code, find_callback_url(body), plain))
        answer = self.server.reply
        if answer == "hangs":
            self.server.released.wait(WAIT_TIMEOUT_SECONDS)
        if isinstance(answer, str):  # a reset, because nothing lingers
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        filled = self.server.fill_reply(raw, code)
        self.send_response(answer.status, self.server.fill_reply(b"{code}", code).decode())
        for name, value in self.server.headers.items():
            self.send_header(name, self.server.fill_reply(value.encode(), code).decode())
        self.send_header("content-length", str(len(filled)))
        self.end_headers()
        self.wfile.write(filled)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # named by the base class
        """Log nothing."""


def find_callback_url(body: str) -> str:
    """Return the callback URL in a form, JSON or XML body, or an empty string."""
    values = [value for _, value in parse_qsl(body)] if "=http" in body else [body]
    plain = "\n".join(values).replace("&amp;", "&")
    match = re.search(r"http://[^\s\"<>]+?/v1/callbacks/[^?]+\?[^\s\"<>]+", plain)
    address = match[0] if match else ""
    kannel_url, separator, _ = address.partition("&type=%d")  # a template in which %% is a %
    return kannel_url.replace("%%", "%") if separator else address


# ------------------------------------------------------------------------------------ receipts


class CallbackRequest(NamedTuple):
    """A request that delivers a receipt."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


CallbackBuilder = Callable[[VendorAccount, str, Any], CallbackRequest]


def _build_json_callback(_: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    return CallbackRequest(
        "POST", url, {"content-type": "application/json"}, json.dumps(receipt).encode()
    )


def _build_form_callback(_: VendorAccount, url: str, receipt: Mapping[str, str]) -> CallbackRequest:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return CallbackRequest("POST", url, kind, urlencode(receipt).encode())


def _build_query_callback(
    _: VendorAccount, url: str, receipt: Mapping[str, str]
) -> CallbackRequest:
    return CallbackRequest("GET", f"{url}{'&' if '?' in url else '?'}{urlencode(receipt)}", {}, b"")


def _format_unix_time() -> str:
    return str(int(time.time()))


def _sign_twilio(vendor: VendorAccount, url: str, receipt: Mapping[str, str]) -> CallbackRequest:
    signed = url + "".join(name + value for name, value in sorted(receipt.items()))
    mac = hmac.digest(vendor.secrets["auth_token"].encode(), signed.encode(), "sha1")
    request = _build_form_callback(vendor, url, receipt)
    request.headers["x-twilio-signature"] = base64.b64encode(mac).decode()
    return request


def _sign_vonage(vendor: VendorAccount, url: str, receipt: Mapping[str, str]) -> CallbackRequest:
    fields = {**receipt, "timestamp": _format_unix_time()}
    clean = ((name, fields[name].replace("&", "_").replace("=", "_")) for name in sorted(fields))
    text = "".join(f"&{name}={value}" for name, value in clean)
    secret = vendor.secrets["signature_secret"]
    digest = hashlib.md5(f"{text}{secret}".encode()).hexdigest()  # noqa: S324  # Vonage's default
    return _build_json_callback(vendor, url, fields | {"sig": digest})


def _sign_vonage_messages(vendor: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    request = _build_json_callback(vendor, url, receipt)
    claims = {
        "iat": int(_format_unix_time()),
        "iss": "Vonage",
        "jti": "1",
        "api_key": vendor.settings["api_key"],
        "payload_hash": hashlib.sha256(request.body).hexdigest(),
    }
    token = jwt.encode(claims, vendor.secrets["signature_secret"], "HS256")
    request.headers["authorization"] = f"Bearer {token}"
    return request


def _sign_sinch(vendor: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    request, name = _build_json_callback(vendor, url, receipt), "x-sinch-webhook-signature"
    secret = vendor.secrets["signing_secret"].encode()
    mac = hmac.digest(secret, request.body + f".n0nce.{_format_unix_time()}".encode(), "sha256")
    request.headers[name] = base64.b64encode(mac).decode()
    request.headers[f"{name}-nonce"], request.headers[f"{name}-timestamp"] = (
        "n0nce",
        _format_unix_time(),
    )
    return request


def _sign_telnyx(vendor: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    request = _build_json_callback(vendor, url, receipt)
    mac = TELNYX_KEY.sign(f"{_format_unix_time()}|".encode() + request.body)
    request.headers["telnyx-signature-ed25519"] = base64.b64encode(mac).decode()
    request.headers["telnyx-timestamp"] = _format_unix_time()
    return request


def _sign_plivo(vendor: VendorAccount, url: str, receipt: Mapping[str, str]) -> CallbackRequest:
    request = _build_form_callback(vendor, url, receipt)
    signed = signed_by_plivo(Callback("POST", url, {}, request.body, 0))
    mac = compute_signature(vendor.secrets["auth_token"].encode(), f"{signed}.n0nce".encode())
    request.headers["x-plivo-signature-v3"] = mac
    request.headers["x-plivo-signature-v3-nonce"] = "n0nce"
    return request


def _sign_messagebird(
    vendor: VendorAccount, url: str, receipt: Mapping[str, str]
) -> CallbackRequest:
    request = _build_form_callback(vendor, url, receipt)
    claims = {
        "iss": "MessageBird",
        "nbf": int(_format_unix_time()),
        "exp": int(_format_unix_time()) + 60,
        "jti": "1",
        "url_hash": hashlib.sha256(url.encode()).hexdigest(),
        "payload_hash": hashlib.sha256(request.body).hexdigest(),
    }
    token = jwt.encode(claims, vendor.secrets["signing_key"], "HS256")
    request.headers["messagebird-signature-jwt"] = token
    return request


def _sign_bird(vendor: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    request = _build_json_callback(vendor, url, receipt)
    key = base64.b64decode(vendor.secrets["webhook_secret"].removeprefix("whsec_"))
    request.headers["webhook-id"], request.headers["webhook-timestamp"] = (
        "msg_1",
        _format_unix_time(),
    )
    mac = compute_signature(key, f"msg_1.{_format_unix_time()}.".encode() + request.body)
    request.headers["webhook-signature"] = f"v1,{mac}"
    return request


def _sign_aws(vendor: VendorAccount, url: str, receipt: Any) -> CallbackRequest:
    return _build_json_callback(
        vendor,
        url,
        SNS_TOPIC.build_notification(receipt, Timestamp=format_timestamp(int(time.time() * 1000))),
    )


def get_failure_receipt(name: str, reference: str) -> tuple[CallbackBuilder, Any] | None:
    """Return the builder of a vendor's callbacks, and a receipt for a failed message."""
    error = {"code": "40300", "title": "{text}", "detail": "{to}"}
    payload = {"id": "4038", "to": [{"status": "delivery_failed"}], "errors": [error]}
    status = {"groupId": 5, "groupName": "REJECTED", "id": 96, "name": "N", "description": "{to}"}
    failed = {"groupId": 3, "id": 10, "name": "{code}", "permanent": True}
    infobip = {"messageId": "1", "callbackData": reference, "status": status, "error": failed}
    update = {"messageId": "1", "clientMessageId": reference, "status": "DELIVERY_FAILURE"}
    known: dict[str, tuple[CallbackBuilder, Any]] = {
        "aws": (
            _sign_aws,
            {
                "eventType": "TEXT_SPAM",
                "messageId": "8",
                "isFinal": True,
                "context": {"reference": reference},
                "destinationPhoneNumber": "{to}",
            },
        ),
        "bird": (
            _sign_bird,
            {
                "type": "sms.failed",
                "data": {
                    "sms_id": "1",
                    "metadata": {"reference": reference},
                    "error": {"code": "x", "description": "{to}"},
                },
            },
        ),
        "clickatell": (_build_json_callback, {"event": {"messageStatusUpdate": [update]}}),
        "http": (_build_json_callback, {"status": "dead", "why": "{text}"}),
        "infobip": (_build_json_callback, {"results": [infobip]}),
        "jasmin": (
            _build_form_callback,
            {"id": "1", "level": "2", "message_status": "UNDELIV", "text": "{text}"},
        ),
        "kannel": (_build_query_callback, {"type": "2", "fid": "1", "answer": "{text}"}),
        "messagebird": (
            _sign_messagebird,
            {
                "id": "1",
                "reference": reference,
                "recipient": "{digits}",
                "status": "delivery_failed",
                "statusErrorCode": "103",
                "statusReason": "{text}",
            },
        ),
        "plivo": (
            _sign_plivo,
            {"To": "{digits}", "Status": "failed", "MessageUUID": "1", "ErrorCode": "300"},
        ),
        "sinch": (
            _sign_sinch,
            {
                "type": "recipient_delivery_report_sms",
                "batch_id": "1",
                "recipient": "{digits}",
                "code": 406,
                "status": "Failed",
                "client_reference": reference,
            },
        ),
        "telnyx": (_sign_telnyx, {"data": {"event_type": "message.finalized", "payload": payload}}),
        "twilio": (
            _sign_twilio,
            {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": "30008", "To": "{to}"},
        ),
        "vonage": (
            _sign_vonage,
            {
                "msisdn": "{digits}",
                "messageId": "1",
                "status": "failed",
                "err-code": "5",
                "client-ref": reference,
            },
        ),
        "vonage-messages": (
            _sign_vonage_messages,
            {
                "message_uuid": "1",
                "status": "rejected",
                "client_ref": reference,
                "to": "{digits}",
                "error": {"type": "#1", "title": "1300", "detail": "{text}"},
            },
        ),
    }
    return known.get(name)
