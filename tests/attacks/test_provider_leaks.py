"""A18 for every provider: whatever a vendor answers or brings, nobody is told what it echoes.

A real service at DEBUG has all providers at once, each with a route of its own. Their gateways say
everything that their contracts know, and again with the number, the code, the text or the key in
each place of the reply; the same with receipts, signed as the vendor signs them. SMPP has a centre
in the place of a gateway (smpp.py).
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
from otp_service.sms.providers import Provider
from otp_service.sms.receipt_callbacks import Callback
from tests.attacks import echoing_smsc
from tests.attacks.attacker import encode_digits, encode_number, has_standalone_code
from tests.attacks.echoing_smsc import EchoingSmsc, SmppScenario
from tests.attacks.echoing_vendors import (
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

FAULTY = """
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.providers import Provider

async def at_hand(self, url):
    return CERTIFICATE

def exploding(method):
    def explode(self, came):
        if b"explode" in came.body:
            raise RuntimeError(came.body.decode(), dict(came.headers))
        return method(self, came)
    return explode

CertificateCache._get_certificate = at_hand
for each in Provider.__args__:
    if hasattr(each, "interpret_reply"):
        each.interpret_reply = exploding(each.interpret_reply)
        each.parse_receipts = exploding(each.parse_receipts)
"""
"""A bug of ours in every dialect, whose exception holds what came; and SNS's certificate."""


NAMES = (*(one.name for one in create_vendors("http://127.0.0.1")), echoing_smsc.PROVIDER_NAME)


class Told(NamedTuple):
    """Who was told what, and what nobody may be told."""

    sinks: dict[str, bytes]
    codes: set[str]
    numbers: set[str]
    secrets: dict[str, str]
    service: RunningService


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Every sink of a service whose providers have done everything."""
    folder = tmp_path_factory.mktemp("vendors")
    port = redis_servers.find_free_port()
    with (
        EchoingGateway() as gateway,
        EchoingSmsc() as centre,
        redis_servers.start_server(folder / "redis") as redis,
    ):
        vendors = create_vendors(f"{gateway.url}/v1/messages")
        routes = (f'"{prefix(i)}" = ["{name}"]' for i, name in enumerate(NAMES))
        settings = {
            "SERVICE__PORT": str(port),
            "SERVICE__PUBLIC_URL": f"http://127.0.0.1:{port}",
            "SERVICE__LOG_LEVEL": "debug",
            "ROUTING__ROUTES": f"{{ {', '.join(routes)} }}",
            **{f"LIMITS__{name}": '["900000 in 1 h"]' for name in LIMITS},
            **{name: value for one in vendors for name, value in one.environment.items()},
            **centre.environment,
        }
        bug = f"CERTIFICATE = {SNS_TOPIC.pem!r}\n{FAULTY}\n{echoing_smsc.BUG_SITECUSTOMIZE}"
        more = settings | HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS
        with run_service(
            folder, redis, [gateway.url], workers=1, sitecustomize=bug, **more
        ) as service:
            stories: list[Story | SmppScenario] = [
                *(Story(service, gateway, one, i) for i, one in enumerate(vendors)),
                SmppScenario(service, centre, prefix(len(vendors))),
            ]
            for story in stories:
                story.run_steps()
            answers = "\n".join(f"{a.headers} {a.body.decode()}" for a in service.responses)
            yield Told(
                {
                    "metrics": service.fetch_metrics().encode(),
                    "events": json.dumps(all_events(service)).encode(),
                    "answers": answers.encode(),
                    "log": service.log.read_bytes(),
                    "Redis's log": redis.log_path.read_bytes(),
                },
                {asked.code for asked in gateway.messages} | {*centre.codes},
                {number for story in stories for number in story.numbers},
                {f"{one.name} {name}": s for one in vendors for name, s in one.secrets.items()}
                | {"smpp password": centre.key},
                service,
            )


def prefix(place: int) -> str:
    """Return how the numbers of a vendor begin."""
    return f"+447400{20 + place:02d}"


def all_events(service: RunningService) -> list[dict[str, Any]]:
    """Return every event, page after page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = f"?limit=1000{f'&cursor={cursor}' if cursor else ''}"
        page = service.send_request("GET", f"/v1/audit/events{query}", by="security").json
        service.responses.pop()  # it has all of the events in it, which is what is looked at
        found += page["events"]
        cursor = page.get("next")
    return found


class Story:
    """Everything that one vendor can do."""

    def __init__(
        self, service: RunningService, gateway: EchoingGateway, vendor: VendorAccount, place: int
    ) -> None:
        self.service, self.gateway, self.vendor = service, gateway, vendor
        self.numbers: list[str] = []
        self._prefix = prefix(place)

    def run_steps(self) -> None:
        """Do all of it."""
        self.gateway.key = self.vendor.key
        self.replies()
        self.accidents()
        self.receipts()

    def replies(self) -> None:
        """What its contract knows, with headers that echo, and echoes in every place."""
        says = self.vendor.replies
        self.gateway.headers = {"X-Echo": "{to} {code} {key}", "Location": "/?{code}&{to}"}
        for said in says.values():
            self.issue(said)
        self.gateway.headers["Retry-After"] = "{code}"
        self.issue(says["throttled"])
        self.gateway.headers = {}
        for case in ("accepted", "unknown"):
            for body in generate_echoes(says[case].body):
                self.issue(GatewayReply(says[case].status, body))
        for body in GARBAGE:
            for status in (200, 400):
                self.issue(GatewayReply(status, body))
        for status in (302, 503):
            self.issue(GatewayReply(status, b"{text} {to}"))
        self.issue(GatewayReply(200, b"explode {to} {text} {key}"))

    def accidents(self) -> None:
        """Nobody answers, or somebody hangs up."""
        for answer in ("hangs", "resets"):
            self.issue(answer)

    def receipts(self) -> None:
        """Right ones, echoes in every place, wrong signatures, other submissions, and garbage."""
        brings, news = get_failure_receipt(self.vendor.name, "") or (None, {})
        if not brings:
            self.bring(CallbackRequest("POST", self.path, {}, self.filled(b'{"a": "{text}"}')))
            return
        for number in range(1 + sum(1 for _ in generate_echoes(news))):
            asked, reference = self.issue(self.vendor.replies["accepted"])
            brings, news = get_failure_receipt(self.vendor.name, reference) or (brings, news)
            said = news if number == 0 else list(generate_echoes(news))[number - 1]
            filled = json.loads(self.filled(json.dumps(said).encode()))
            url = asked.callback_url or self.path
            assert (url.partition("?")[0]) == self.path
            self.bring(brings(self.vendor, url, filled))
        right = brings(self.vendor, url, filled)
        for name, value in right.headers.items():
            self.bring(right._replace(headers=right.headers | {name: value[::-1]}))
        self.bring(right._replace(headers={}))
        if "token=" in url:
            self.bring(right._replace(url=f"{url}0"))
        for garbage in (*GARBAGE, b"explode {to} {text}"):
            body = self.filled(garbage)
            self.bring(CallbackRequest("POST", url, {"x-echo": self.gateway.key}, body))
            self.bring(CallbackRequest("POST", self.path, {}, body))

    @property
    def path(self) -> str:
        """Where receipts come in that have no address of their own."""
        return f"http://127.0.0.1:{self.service.port}/v1/callbacks/{self.vendor.name}"

    def filled(self, text: bytes) -> bytes:
        """Put in what the last message held."""
        return self.gateway.fill_reply(text, self.gateway.messages[-1].code)

    def issue(self, answer: GatewayReply | str) -> tuple[EchoedMessage, str]:
        """Ask for a code, which the gateway answers so; return the reference too."""
        number = f"{self._prefix}{len(self.numbers):04d}"
        self.numbers.append(number)
        self.gateway.number, self.gateway.reply = number, answer
        issued = self.service.issue(number)
        # Another vendor's rescue may come in between; what is looked for is this number's message.
        asked = next((a for a in reversed(self.gateway.messages) if number[1:] in a.body), None)
        assert asked, issued
        known = issued.json.get("id", "")
        return asked, f"shop.{known}.1.1"

    def bring(self, brought: CallbackRequest) -> HttpResponse:
        """Bring a receipt."""
        path = brought.url.removeprefix(f"http://127.0.0.1:{self.service.port}")
        ask = partial(
            send_request, self.service.port, brought.method, path, headers=brought.headers
        )
        answer = ask(body=brought.body or None)
        self.service.responses.append(answer)
        return answer


def leaks(told: Told, looked_for: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """Return where what is found in which form."""
    named = {
        text: f"{what} as {form}"
        for what, spelled in looked_for.items()
        for form, text in spelled.items()
    }
    return [
        f"{named[text]} in {sink}"
        for sink, said in told.sinks.items()
        for text in _in_it(said, named)
    ]


def _in_it(said: bytes, texts: Collection[bytes]) -> Iterator[bytes]:
    """Give those of the texts that stand in it; for many, it is walked once for each length."""
    if len(texts) < 1000:
        yield from (text for text in texts if text in said)
        return
    for size in {len(text) for text in texts}:
        windows = (said[i : i + size] for i in range(len(said) - size + 1))
        yield from {window for window in windows if window in texts}


def test_every_provider_of_the_union_is_here() -> None:
    """A new one gets its contract, and with it is looked at here."""
    known = {each.__struct_config__.tag for each in Provider.__args__}

    assert known - {"inbox"} == {*NAMES}


def test_they_did_what_they_can(told: Told) -> None:
    """Or this would prove little: each has accepted and refused, and its receipts count."""
    events = all_events(told.service)
    names = {*NAMES}

    for told_as in (
        ("otp.sent", "success"),
        ("otp.sent", "unknown"),
        ("otp.provider_failed", "failure"),
    ):
        seen = {e["provider"] for e in events if (e["type"], e["outcome"]) == told_as}
        assert names == seen, told_as
    brought = [e for e in events if e["type"] == "otp.delivery" and e["outcome"] == "failure"]
    assert names - {"sns"} == {e["provider"] for e in brought}
    assert {e["provider"] for e in brought if not e["trusted"]} <= {"clickatell"}
    log = told.sinks["log"].decode()
    assert '"level":"debug"' in log
    for name in names:
        assert f"provider {name} raised RuntimeError" in log
    for bug in ("a connection to an SMSC ended with", "a receipt could not be handled:"):
        assert f"{bug} RuntimeError" in log


def test_nobody_is_told_a_code_that_a_vendor_echoes(told: Told) -> None:
    """In any of the ways that a thief would look for."""
    assert 500 < len(told.codes)
    found = [
        f"{code.decode()} in {sink}"
        for sink, text in told.sinks.items()
        for code in {*re.findall(rb"(?<![0-9A-Fa-f.])[0-9]{6}(?![0-9A-Fa-f])", text)}
        if code.decode() in told.codes and has_standalone_code(code.decode(), text)
    ]

    assert [] == found + leaks(told, {code: encode_digits(code) for code in told.codes})


def test_nobody_is_told_a_number_that_a_vendor_echoes(told: Told) -> None:
    """Nor all of it but the end, nor in groups."""
    # All of a vendor's numbers begin alike; they are gone through only where such a beginning is.
    begins = {number[:11] for number in told.numbers}
    found = leaks(told, {each: encode_number(each) | most_of(each) for each in begins})
    if found:  # eight digits of a random id may look like it
        found = leaks(told, {each: encode_number(each) | most_of(each) for each in told.numbers})

    assert len(NAMES) == len({number[:9] for number in begins})
    assert [] == found


def most_of(number: str) -> dict[str, bytes]:
    """Return what is left of a number whose end is masked, and how it may be grouped."""
    digits = number[1:]
    groups = f"{digits[:5]}{{}}{digits[5:8]}{{}}{digits[8:]}"
    return {f"groups of {one!r}": groups.format(one, one).encode() for one in "-. :_"} | {
        "masked": f"{digits[:9]}*".encode(),
        "masked…": f"{digits[:9]}\\u2026".encode(),
        "masked•": f"{digits[:9]}\\u2022".encode(),
    }


def test_nobody_is_told_a_credential(told: Told) -> None:
    """Whole, by halves, or as the headers write it."""
    spelled = {
        name: encode_digits(secret) | {"as it is": secret.encode(), "half": secret[:16].encode()}
        for name, secret in told.secrets.items()
    }

    assert 20 < len(spelled)
    assert [] == leaks(told, spelled)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))
def test_no_repr_holds_what_it_was_made_of(contract: Any) -> None:
    """Whatever somebody logs or prints, and what a traceback with its locals would show."""
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
    provider = HttpProvider("acme", dialect, None)  # type: ignore[arg-type]  # it asks nobody
    objects = [dialect, provider, request, message, reply, callback, dialect.interpret_reply(reply)]
    try:
        raise ValueError(reply) from RuntimeError(callback, request, message)
    except ValueError as error:
        objects.append("".join(traceback.TracebackException.from_exception(error).format()))

    shown = "\n".join(f"{one!r} {one} {rich(one)}" for one in objects).encode()

    for what in ("864209", secret):
        assert [] == [f for f, text in encode_digits(what).items() if text in shown], what
        assert what.encode() not in shown
    assert [] == [f for f, text in encode_number("+447400718829").items() if text in shown]


def rich(thing: Any) -> str:
    """Return what a pretty traceback would show."""
    shown = getattr(thing, "__rich_repr__", None)
    return repr(list(shown())) if shown else ""
