"""A18 for every provider: no echo of a vendor reaches a log, an event, a metric or a response.

A real service at DEBUG has all providers at once, each with its own route. Their gateways send
every reply of their contracts, and again with the number, the code, the text or the key in each
field of the reply. The same is done with receipts, signed as the vendor signs them. SMPP has an
SMSC in place of a gateway (echoing_smsc.py).
"""

import json
import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest

from otp_service.core.delivery import Message
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.providers import Provider
from tests.attacks import echoing_smsc
from tests.attacks.attacker import encode_digits, encode_number, has_standalone_code
from tests.attacks.echoing_smsc import EchoingSmsc, SmppScenario
from tests.attacks.echoing_vendors import (
    ECHO_PLACEHOLDERS,
    SNS_TOPIC,
    CallbackRequest,
    EchoedMessage,
    EchoingGateway,
    VendorAccount,
    create_vendors,
    generate_echoes,
    get_failure_receipt,
)
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HIGH_CAPACITY_SETTINGS,
    HttpResponse,
    RunningService,
    run_service,
    send_request,
)
from tests.sms.providers.provider_contract import GatewayReply
from tests.sms.providers.test_provider_contract import CONTRACTS
from tests.store import redis_servers


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GARBAGE = (
    b"",
    b"\xff\xfe",
    b"[" * 60_000,
    b"null",
    b"{text}",
    b'{"a": "{to}"}',
    b"a={to}&b={code}",
)
LIMITS = ("SENDS_PER_PREFIX", "SENDS_PER_COUNTRY", "SENDS_PER_TENANT", "SENDS_OVERALL")

INJECTED_BUGS = """
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.providers import Provider

async def return_certificate(self, url):
    return CERTIFICATE

def exploding(method):
    def explode(self, request):
        if b"explode" in request.body:
            raise RuntimeError(request.body.decode(), dict(request.headers))
        return method(self, request)
    return explode

CertificateCache._get_certificate = return_certificate
for each in Provider.__args__:
    if hasattr(each, "interpret_reply"):
        each.interpret_reply = exploding(each.interpret_reply)
        each.parse_callback = exploding(each.parse_callback)
"""
"""An injected bug in every dialect, whose exception contains the input; and the SNS certificate."""


PROVIDER_NAMES = (
    *(vendor.name for vendor in create_vendors("http://127.0.0.1")),
    echoing_smsc.PROVIDER_NAME,
)


class ProviderLeakOutputs(NamedTuple):
    """The outputs of a service whose providers echo, and the secrets that no output may contain."""

    sinks: dict[str, bytes]
    codes: set[str]
    numbers: set[str]
    secrets: dict[str, str]
    service: RunningService


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderLeakOutputs]:
    """Return every output of a service after every vendor's scenario."""
    folder = tmp_path_factory.mktemp("vendors")
    port = redis_servers.find_free_port()
    with (
        EchoingGateway() as gateway,
        EchoingSmsc() as smsc,
        redis_servers.start_server(folder / "redis") as redis,
    ):
        vendors = create_vendors(f"{gateway.url}/v1/messages")
        routes = (f'"{number_prefix(i)}" = ["{name}"]' for i, name in enumerate(PROVIDER_NAMES))
        settings = {
            "SERVICE__PORT": str(port),
            "SERVICE__PUBLIC_URL": f"http://127.0.0.1:{port}",
            "SERVICE__LOG_LEVEL": "debug",
            "SERVICE__DRAIN_SECONDS": "1",  # nothing is searched for after the scenarios
            "ROUTING__ROUTES": f"{{ {', '.join(routes)} }}",
            **{f"LIMITS__{name}": '["900000 in 1 h"]' for name in LIMITS},
            **{name: value for vendor in vendors for name, value in vendor.environment.items()},
            **smsc.environment,
        }
        bug = f"CERTIFICATE = {SNS_TOPIC.pem!r}\n{INJECTED_BUGS}\n{echoing_smsc.BUG_SITECUSTOMIZE}"
        more = settings | HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS
        with run_service(
            folder, redis, [gateway.url], workers=1, sitecustomize=bug, **more
        ) as service:
            scenarios: list[VendorScenario | SmppScenario] = [
                *(VendorScenario(service, gateway, vendor, i) for i, vendor in enumerate(vendors)),
                SmppScenario(service, smsc, number_prefix(len(vendors))),
            ]
            for scenario in scenarios:
                scenario.run_steps()
            answers = "\n".join(f"{a.headers} {a.body.decode()}" for a in service.responses)
            yield ProviderLeakOutputs(
                {
                    "metrics": service.fetch_metrics().encode(),
                    "events": json.dumps(fetch_all_events(service)).encode(),
                    "answers": answers.encode(),
                    "log": service.log.read_bytes(),
                    "Redis's log": redis.log_path.read_bytes(),
                },
                {message.code for message in gateway.messages} | {*smsc.codes},
                {number for scenario in scenarios for number in scenario.numbers},
                {
                    f"{vendor.name} {name}": s
                    for vendor in vendors
                    for name, s in vendor.secrets.items()
                }
                | {"smpp password": smsc.key},
                service,
            )


def number_prefix(place: int) -> str:
    """Return the first digits of a vendor's numbers."""
    return f"+447400{20 + place:02d}"


def fetch_all_events(service: RunningService) -> list[dict[str, Any]]:
    """Return every event, page after page."""
    events: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = f"?limit=1000{f'&cursor={cursor}' if cursor else ''}"
        page = service.send_request("GET", f"/v1/audit/events{query}", by="security").json
        service.responses.pop()  # it contains all events, and they are a separate output
        events += page["events"]
        cursor = page.get("next")
    return events


class VendorScenario:
    """Exercises every reply, failure and receipt of one vendor."""

    def __init__(
        self, service: RunningService, gateway: EchoingGateway, vendor: VendorAccount, place: int
    ) -> None:
        self.service, self.gateway, self.vendor = service, gateway, vendor
        self.numbers: list[str] = []
        self._prefix = number_prefix(place)

    def run_steps(self) -> None:
        """Run all steps."""
        self.gateway.key = self.vendor.key
        self.send_replies()
        self.break_connections()
        self.deliver_receipts()

    def send_replies(self) -> None:
        """Send the replies of the contract with echoing headers, and with echoes in every field."""
        replies = self.vendor.replies
        self.gateway.headers = {"X-Echo": "{to} {code} {key}", "Location": "/?{code}&{to}"}
        for reply in replies.values():
            self.issue(reply)
        self.gateway.headers["Retry-After"] = "{code}"
        self.issue(replies["throttled"])
        self.gateway.headers = {}
        for case in ("accepted", "unknown"):
            for body in generate_echoes(replies[case].body):
                self.issue(GatewayReply(replies[case].status, body))
        for body in GARBAGE:
            for status in (200, 400):
                self.issue(GatewayReply(status, body))
        for status in (302, 503):
            self.issue(GatewayReply(status, b"{text} {to}"))
        self.issue(GatewayReply(200, b"explode {to} {text} {key}"))

    def break_connections(self) -> None:
        """Hold the response, and reset the connection."""
        for answer in ("hangs", "resets"):
            self.issue(answer)

    def deliver_receipts(self) -> None:
        """Deliver valid, echoing, badly signed and unreadable receipts."""
        build_callback, receipt = get_failure_receipt(self.vendor.name, "") or (None, {})
        if not build_callback:
            self.deliver(CallbackRequest("POST", self.path, {}, self.fill_text(b'{"a": "{text}"}')))
            return
        for number in range(1 + sum(1 for _ in generate_echoes(receipt))):
            if number == 0 or number % len(ECHO_PLACEHOLDERS) == 1:  # for each field of the receipt
                message, reference = self.issue(self.vendor.replies["accepted"])
            build_callback, receipt = get_failure_receipt(self.vendor.name, reference) or (
                build_callback,
                receipt,
            )
            body = receipt if number == 0 else list(generate_echoes(receipt))[number - 1]
            content = json.loads(self.fill_text(json.dumps(body).encode()))
            url = message.callback_url or self.path
            assert (url.partition("?")[0]) == self.path
            self.deliver(build_callback(self.vendor, url, content))
        right = build_callback(self.vendor, url, content)
        for name, value in right.headers.items():
            self.deliver(right._replace(headers=right.headers | {name: value[::-1]}))
        self.deliver(right._replace(headers={}))
        if "token=" in url:
            self.deliver(right._replace(url=f"{url}0"))
        for garbage in (*GARBAGE, b"explode {to} {text}"):
            body = self.fill_text(garbage)
            self.deliver(CallbackRequest("POST", url, {"x-echo": self.gateway.key}, body))
            self.deliver(CallbackRequest("POST", self.path, {}, body))

    @property
    def path(self) -> str:
        """The callback URL without a reference and a token."""
        return f"http://127.0.0.1:{self.service.port}/v1/callbacks/{self.vendor.name}"

    def fill_text(self, text: bytes) -> bytes:
        """Fill placeholders with the content of the last message."""
        return self.gateway.fill_reply(text, self.gateway.messages[-1].code)

    def issue(self, answer: GatewayReply | str) -> tuple[EchoedMessage, str]:
        """Request a code that the gateway answers so; return the message and its reference."""
        number = f"{self._prefix}{len(self.numbers):04d}"
        self.numbers.append(number)
        self.gateway.number, self.gateway.reply = number, answer
        issued = self.service.issue(number)
        # Another vendor's auto-resend may arrive in between, so the message of this number is
        # searched for.
        message = next((a for a in reversed(self.gateway.messages) if number[1:] in a.body), None)
        assert message, issued
        challenge_id = issued.json.get("id", "")
        return message, f"shop.{challenge_id}.1.1"

    def deliver(self, callback: CallbackRequest) -> HttpResponse:
        """Deliver a receipt."""
        path = callback.url.removeprefix(f"http://127.0.0.1:{self.service.port}")
        send_callback = partial(
            send_request, self.service.port, callback.method, path, headers=callback.headers
        )
        answer = send_callback(body=callback.body or None)
        self.service.responses.append(answer)
        return answer


def find_leaks(
    outputs: ProviderLeakOutputs, searched: Mapping[str, Mapping[str, bytes]]
) -> list[str]:
    """Return the outputs in which a searched text was found, and its form."""
    named = {
        text: f"{what} as {form}"
        for what, spelled in searched.items()
        for form, text in spelled.items()
    }
    return [
        f"{named[text]} in {sink}"
        for sink, output in outputs.sinks.items()
        for text in _find_texts(output, named)
    ]


def _find_texts(output: bytes, texts: Collection[bytes]) -> set[bytes]:
    """Return the texts that the output contains.

    Many texts are compared where the output has the first bytes of one of them.
    """
    if len(texts) < 1000:
        return {text for text in texts if text in output}
    size = min(map(len, texts))
    by_start: dict[bytes, list[bytes]] = {}
    for text in texts:
        by_start.setdefault(text[:size], []).append(text)
    return {
        text
        for at in range(len(output) - size + 1)
        if (start := output[at : at + size]) in by_start
        for text in by_start[start]
        if output.startswith(text, at)
    }


def test_every_provider_type_is_tested() -> None:
    """A new provider gets a contract, which adds it to these tests."""
    known = {each.__struct_config__.tag for each in Provider.__args__}

    assert known - {"inbox"} == {*PROVIDER_NAMES}


def test_every_provider_has_sent_refused_and_reported(outputs: ProviderLeakOutputs) -> None:
    """Otherwise the searches would prove little: each vendor accepts, refuses and reports."""
    events = fetch_all_events(outputs.service)
    names = {*PROVIDER_NAMES}

    for expected in (
        ("otp.sent", "success"),
        ("otp.sent", "unknown"),
        ("otp.provider_failed", "failure"),
    ):
        seen = {e["provider"] for e in events if (e["type"], e["outcome"]) == expected}
        assert names == seen, expected
    receipts = [e for e in events if e["type"] == "otp.delivery" and e["outcome"] == "failure"]
    assert names - {"sns"} == {e["provider"] for e in receipts}
    assert {e["provider"] for e in receipts if not e["trusted"]} <= {"clickatell"}
    log = outputs.sinks["log"].decode()
    assert '"level":"debug"' in log
    for name in names:
        assert f"provider {name} raised RuntimeError" in log
    for bug in ("a connection to an SMSC ended with", "a delivery could not be handled:"):
        assert f"{bug} RuntimeError" in log


def test_no_output_contains_a_code_that_a_vendor_echoes(outputs: ProviderLeakOutputs) -> None:
    """In any encoding that an attacker would search for."""
    assert 500 < len(outputs.codes)
    matches = [
        f"{code.decode()} in {sink}"
        for sink, text in outputs.sinks.items()
        for code in {*re.findall(rb"(?<![0-9A-Fa-f.])[0-9]{6}(?![0-9A-Fa-f])", text)}
        if code.decode() in outputs.codes and has_standalone_code(code.decode(), text)
    ]

    assert [] == matches + find_leaks(
        outputs, {code: encode_digits(code) for code in outputs.codes}
    )


def test_no_output_contains_a_number_that_a_vendor_echoes(outputs: ProviderLeakOutputs) -> None:
    """Neither whole, nor without its last digits, nor in groups."""
    # All numbers of a vendor have one prefix. The numbers are searched for only where a prefix is
    # found.
    prefixes = {number[:11] for number in outputs.numbers}
    matches = find_leaks(
        outputs, {each: encode_number(each) | encode_partial_number(each) for each in prefixes}
    )
    if matches:  # eight digits of a random id may match
        matches = find_leaks(
            outputs,
            {each: encode_number(each) | encode_partial_number(each) for each in outputs.numbers},
        )

    assert len(PROVIDER_NAMES) == len({number[:9] for number in prefixes})
    assert [] == matches


def encode_partial_number(number: str) -> dict[str, bytes]:
    """Return the forms of a number with masked last digits, and its usual groups."""
    digits = number[1:]
    groups = f"{digits[:5]}{{}}{digits[5:8]}{{}}{digits[8:]}"
    return {
        f"groups of {separator!r}": groups.format(separator, separator).encode()
        for separator in "-. :_"
    } | {
        "masked": f"{digits[:9]}*".encode(),
        "masked…": f"{digits[:9]}\\u2026".encode(),
        "masked•": f"{digits[:9]}\\u2022".encode(),
    }


def test_no_output_contains_a_credential(outputs: ProviderLeakOutputs) -> None:
    """Whole, in halves, or as the headers encode it."""
    spelled = {
        name: encode_digits(secret) | {"as it is": secret.encode(), "half": secret[:16].encode()}
        for name, secret in outputs.secrets.items()
    }

    assert 20 < len(spelled)
    assert [] == find_leaks(outputs, spelled)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))
def test_no_repr_contains_a_secret(contract: Any) -> None:
    """Neither a log line, nor a print, nor a traceback with locals may contain one."""
    secret = "open-sesame-open-sesame-0123"
    dialect = contract.dialect("http://127.0.0.1/v1/messages")
    fields = {f: getattr(dialect, f) for f in dialect.__struct_fields__}
    dialect = type(dialect)(
        **{f: Secret(secret) if isinstance(v, Secret) else v for f, v in fields.items()}
    )
    number = PhoneNumber("+447400718829", "GB", 44)
    message = Message(
        number,
        "864209 is your Shop code.",
        "ref",
        validity_seconds=290,
        tenant="shop",
        callback_url="https://x",
    )
    request = dialect.build_request(message)
    body = b"+447400718829 864209 open-sesame-open-sesame-0123"
    reply = HttpReply(400, {"x": body.decode()}, body)
    callback = Callback("POST", f"https://x?a={body.decode()}", {"x": body.decode()}, body, 0)
    provider = HttpProvider("acme", dialect, None)  # type: ignore[arg-type]  # it sends nothing
    objects = [dialect, provider, request, message, reply, callback, dialect.interpret_reply(reply)]
    try:
        raise ValueError(reply) from RuntimeError(callback, request, message)
    except ValueError as error:
        objects.append("".join(traceback.TracebackException.from_exception(error).format()))

    shown = "\n".join(f"{item!r} {item} {render_rich_repr(item)}" for item in objects).encode()

    for text in ("864209", secret):
        assert [] == [f for f, text in encode_digits(text).items() if text in shown], text
        assert text.encode() not in shown
    assert [] == [f for f, text in encode_number("+447400718829").items() if text in shown]


def render_rich_repr(value: Any) -> str:
    """Return the fields that a pretty traceback would show."""
    shown = getattr(value, "__rich_repr__", None)
    return repr(list(shown())) if shown else ""
