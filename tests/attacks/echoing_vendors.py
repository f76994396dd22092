"""Every vendor at once on loopback: what its gateway may answer, and the receipts that it brings.

Settings and replies are those of the providers' contracts; all their secrets are made anew, long
enough to be looked for. `echoes` puts a placeholder into every place of a reply or a receipt.
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
from otp_service.sms.callbacks import Callback
from otp_service.sms.providers.plivo import _signed as signed_by_plivo
from otp_service.sms.signatures import signature
from tests.processes import PATIENCE
from tests.sms.aws.sns_topic import ARN, Topic, at
from tests.sms.providers.provider_contract import Contract, Says
from tests.sms.providers.test_provider_contract import CONTRACTS


TELNYX = Ed25519PrivateKey.generate()
TOPIC = Topic(days=36_500)

SIGNING: dict[str, dict[str, Any]] = {
    "aws": {"topic_arn": ARN},
    "bird": {"webhook_secret": None},
    "messagebird": {"signing_key": None},
    "sinch": {"signing_secret": None},
    "telnyx": {"public_key": base64.b64encode(TELNYX.public_key().public_bytes_raw()).decode()},
    "twilio": {"api_key": "SK1", "api_secret": None},
    "vonage": {"signature_secret": None},
    "vonage-messages": {"signature_secret": None},
    "http": {
        "fields": {"to": "{to}", "text": "{text}", "tell": "{callback}"},
        "secret_headers": {"Authorization": None},
        "receipt": {"status": "status", "delivered": ["ok"], "failed": ["dead"]},
    },
}
"""What the contracts leave out, and what receipts are checked with; None is for a secret."""

CODE = re.compile(r"Your Shop code is (\d{6})\.")
VALUES = ("{spaced}", "{code}", "{key}", "{digits}: {text}")
"""What is echoed: the number, the code, what opens the account, and prose with all of the text."""


class Vendor:
    """One provider: its settings, its secrets, and what its gateway says in each case."""

    def __init__(self, name: str, contract: Contract, url: str) -> None:
        self.name = name
        self.secrets: dict[str, str] = {}
        self.says: dict[str, Says] = {
            case: said
            for case in ("accepted", "recipient", "account", "throttled", "unknown", "without_id")
            if (said := getattr(contract, case))
        }
        dialect: Any = contract.dialect(url)
        fields = {each.name: each for each in msgspec.structs.fields(type(dialect))}
        given = {
            field: getattr(dialect, field)
            for field in fields.keys() - {"now"}
            if getattr(dialect, field) != fields[field].default
        }
        more = SIGNING.get(name, {})
        self.settings = {
            field: self._made(field, value) for field, value in {**given, **more}.items()
        }
        self.settings["type"] = name

    @property
    def environment(self) -> dict[str, str]:
        """The settings, as the service takes them from its environment."""
        path = f"PROVIDERS__{self.name.upper()}"
        return {f"{path}__{name.upper()}": _toml(v, top=True) for name, v in self.settings.items()}

    @property
    def key(self) -> str:
        """What opens the account, as a gateway would echo it."""
        return next(iter(self.secrets.values()))

    def _made(self, field: str, value: Any) -> Any:
        if value is None or isinstance(value, Secret):
            made = secrets.token_urlsafe(48)
            if field == "webhook_secret":
                made = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
            self.secrets[field] = made
            return made
        if isinstance(value, dict):
            return {name: self._made(name, one) for name, one in value.items()}
        return value


def _toml(value: Any, *, top: bool = False) -> str:
    if isinstance(value, str):
        return value if top else json.dumps(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple | frozenset):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def all_vendors(url: str) -> list[Vendor]:
    """Return one of each type."""
    return [Vendor(name, each, url) for name, each in CONTRACTS.items() if "," not in name]


# ------------------------------------------------------------------------------------- replies


def echoes(said: Any) -> Iterator[Any]:
    """Give the reply or receipt once for every place in it and every value that may be echoed."""
    if isinstance(said, bytes):
        places = [*re.finditer(rb">([^<>]+)<", said)] or [*re.finditer(rb".+", said)]
        for match in places:
            start, end = match.span(match.re.groups)
            for value in VALUES:
                yield said[:start] + value.encode() + said[end:]
        yield from (said + b" " + value.encode() for value in VALUES)
        return
    for path in _leaves(said):
        for value in VALUES:
            yield _with(said, path, value)


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for step, part in pairs:
            yield from _leaves(part, (*path, step))
    elif path:
        yield path


def _with(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(node)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def filled(text: bytes, number: str, code: str, key: str) -> bytes:
    """Put into a reply or receipt what it echoes."""
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


class Asked(NamedTuple):
    """What came of one message."""

    code: str
    callback: str
    """Where its receipts are wanted; empty where the vendor is not told."""
    body: str


class Echoing(http.server.ThreadingHTTPServer):
    """The gateway of all vendors; answers with what it `says`, in which placeholders are filled."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[Asked] = []
        self.number = self.key = ""
        self.answer: Says | str = ""
        self.headers: dict[str, str] = {}
        self.released = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join(PATIENCE)
        self.server_close()

    def filled(self, text: bytes, code: str) -> bytes:
        """Put in what came."""
        return filled(text, self.number, code, self.key)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever asked has hung up."""


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: Echoing

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        plain = unquote_plus(body).replace("&amp;", "&").replace("\\/", "/")
        code = CODE.findall(plain)[0]
        self.server.asked.append(Asked(code, address_in(body), plain))
        answer = self.server.answer
        if answer == "hangs":
            self.server.released.wait(PATIENCE)
        if isinstance(answer, str):  # a reset, where nothing is lingered for
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        said = self.server.filled(raw, code)
        self.send_response(answer.status, self.server.filled(b"{code}", code).decode())
        for name, value in self.server.headers.items():
            self.send_header(name, self.server.filled(value.encode(), code).decode())
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *said: Any) -> None:  # noqa: A002  # its own name for it
        """Say nothing."""


def address_in(body: str) -> str:
    """Return where receipts are to be brought, out of a form, JSON or XML; empty if nowhere."""
    values = [value for _, value in parse_qsl(body)] if "=http" in body else [body]
    plain = "\n".join(values).replace("&amp;", "&")
    found = re.search(r"http://[^\s\"<>]+?/v1/callbacks/[^?]+\?[^\s\"<>]+", plain)
    address = found[0] if found else ""
    kannels, isnt_alone, _ = address.partition("&type=%d")  # a template, in which %% is a %
    return kannels.replace("%%", "%") if isnt_alone else address


# ------------------------------------------------------------------------------------ receipts


class Brought(NamedTuple):
    """A callback on its way."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


Brings = Callable[[Vendor, str, Any], Brought]


def _json(_: Vendor, url: str, news: Any) -> Brought:
    return Brought("POST", url, {"content-type": "application/json"}, json.dumps(news).encode())


def _form(_: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return Brought("POST", url, kind, urlencode(news).encode())


def _query(_: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    return Brought("GET", f"{url}{'&' if '?' in url else '?'}{urlencode(news)}", {}, b"")


def _now() -> str:
    return str(int(time.time()))


def _twilio(vendor: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    signed = url + "".join(name + value for name, value in sorted(news.items()))
    mac = hmac.digest(vendor.secrets["auth_token"].encode(), signed.encode(), "sha1")
    made = _form(vendor, url, news)
    made.headers["x-twilio-signature"] = base64.b64encode(mac).decode()
    return made


def _vonage(vendor: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    fields = {**news, "timestamp": _now()}
    clean = ((name, fields[name].replace("&", "_").replace("=", "_")) for name in sorted(fields))
    text = "".join(f"&{name}={value}" for name, value in clean)
    secret = vendor.secrets["signature_secret"]
    digest = hashlib.md5(f"{text}{secret}".encode()).hexdigest()  # noqa: S324  # Vonage's default
    return _json(vendor, url, fields | {"sig": digest})


def _vonage_messages(vendor: Vendor, url: str, news: Any) -> Brought:
    made = _json(vendor, url, news)
    claims = {
        "iat": int(_now()),
        "iss": "Vonage",
        "jti": "1",
        "api_key": vendor.settings["api_key"],
        "payload_hash": hashlib.sha256(made.body).hexdigest(),
    }
    token = jwt.encode(claims, vendor.secrets["signature_secret"], "HS256")
    made.headers["authorization"] = f"Bearer {token}"
    return made


def _sinch(vendor: Vendor, url: str, news: Any) -> Brought:
    made, name = _json(vendor, url, news), "x-sinch-webhook-signature"
    secret = vendor.secrets["signing_secret"].encode()
    mac = hmac.digest(secret, made.body + f".n0nce.{_now()}".encode(), "sha256")
    made.headers[name] = base64.b64encode(mac).decode()
    made.headers[f"{name}-nonce"], made.headers[f"{name}-timestamp"] = "n0nce", _now()
    return made


def _telnyx(vendor: Vendor, url: str, news: Any) -> Brought:
    made = _json(vendor, url, news)
    mac = TELNYX.sign(f"{_now()}|".encode() + made.body)
    made.headers["telnyx-signature-ed25519"] = base64.b64encode(mac).decode()
    made.headers["telnyx-timestamp"] = _now()
    return made


def _plivo(vendor: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    made = _form(vendor, url, news)
    signed = signed_by_plivo(Callback("POST", url, {}, made.body, 0))
    mac = signature(vendor.secrets["auth_token"].encode(), f"{signed}.n0nce".encode())
    made.headers["x-plivo-signature-v3"] = mac
    made.headers["x-plivo-signature-v3-nonce"] = "n0nce"
    return made


def _messagebird(vendor: Vendor, url: str, news: Mapping[str, str]) -> Brought:
    made = _form(vendor, url, news)
    claims = {
        "iss": "MessageBird",
        "nbf": int(_now()),
        "exp": int(_now()) + 60,
        "jti": "1",
        "url_hash": hashlib.sha256(url.encode()).hexdigest(),
        "payload_hash": hashlib.sha256(made.body).hexdigest(),
    }
    token = jwt.encode(claims, vendor.secrets["signing_key"], "HS256")
    made.headers["messagebird-signature-jwt"] = token
    return made


def _bird(vendor: Vendor, url: str, news: Any) -> Brought:
    made = _json(vendor, url, news)
    key = base64.b64decode(vendor.secrets["webhook_secret"].removeprefix("whsec_"))
    made.headers["webhook-id"], made.headers["webhook-timestamp"] = "msg_1", _now()
    mac = signature(key, f"msg_1.{_now()}.".encode() + made.body)
    made.headers["webhook-signature"] = f"v1,{mac}"
    return made


def _aws(vendor: Vendor, url: str, news: Any) -> Brought:
    return _json(vendor, url, TOPIC.brings(news, Timestamp=at(int(time.time() * 1000))))


def news_of(name: str, reference: str) -> tuple[Brings, Any] | None:
    """Return how a vendor brings receipts, and one that says that a message has failed."""
    error = {"code": "40300", "title": "{text}", "detail": "{to}"}
    payload = {"id": "4038", "to": [{"status": "delivery_failed"}], "errors": [error]}
    status = {"groupId": 5, "groupName": "REJECTED", "id": 96, "name": "N", "description": "{to}"}
    failed = {"groupId": 3, "id": 10, "name": "{code}", "permanent": True}
    infobip = {"messageId": "1", "callbackData": reference, "status": status, "error": failed}
    update = {"messageId": "1", "clientMessageId": reference, "status": "DELIVERY_FAILURE"}
    known: dict[str, tuple[Brings, Any]] = {
        "aws": (
            _aws,
            {
                "eventType": "TEXT_SPAM",
                "messageId": "8",
                "isFinal": True,
                "context": {"reference": reference},
                "destinationPhoneNumber": "{to}",
            },
        ),
        "bird": (
            _bird,
            {
                "type": "sms.failed",
                "data": {
                    "sms_id": "1",
                    "metadata": {"reference": reference},
                    "error": {"code": "x", "description": "{to}"},
                },
            },
        ),
        "clickatell": (_json, {"event": {"messageStatusUpdate": [update]}}),
        "http": (_json, {"status": "dead", "why": "{text}"}),
        "infobip": (_json, {"results": [infobip]}),
        "jasmin": (_form, {"id": "1", "level": "2", "message_status": "UNDELIV", "text": "{text}"}),
        "kannel": (_query, {"type": "2", "fid": "1", "answer": "{text}"}),
        "messagebird": (
            _messagebird,
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
            _plivo,
            {"To": "{digits}", "Status": "failed", "MessageUUID": "1", "ErrorCode": "300"},
        ),
        "sinch": (
            _sinch,
            {
                "type": "recipient_delivery_report_sms",
                "batch_id": "1",
                "recipient": "{digits}",
                "code": 406,
                "status": "Failed",
                "client_reference": reference,
            },
        ),
        "telnyx": (_telnyx, {"data": {"event_type": "message.finalized", "payload": payload}}),
        "twilio": (
            _twilio,
            {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": "30008", "To": "{to}"},
        ),
        "vonage": (
            _vonage,
            {
                "msisdn": "{digits}",
                "messageId": "1",
                "status": "failed",
                "err-code": "5",
                "client-ref": reference,
            },
        ),
        "vonage-messages": (
            _vonage_messages,
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
