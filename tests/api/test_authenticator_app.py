"""The development authenticator app as it is served; a browser uses it in tests/browser."""

import re

import pyotp
import pytest

from otp_service.api.authenticator_app import MAX_ENTRIES, create_authenticator_app_handlers
from otp_service.api.inbox_access import InboxAccess
from otp_service.core.errors import InvalidRequest
from otp_service.service.authenticator_service import NewAuthenticator
from tests.api.fakes import NOW_MS, ApiHarness
from tests.qr_reader import read_qr_svg


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PASTED_URI = f"otpauth://totp/Bank:bob?secret={SECRET}&algorithm=SHA256&digits=8&period=60"


def build_uri(account):
    return f"otpauth://totp/Example:{account}?secret={SECRET}&issuer=Example"


class App:
    """The admin listener with the page."""

    def __init__(self):
        self.now = NOW_MS
        self.enrolled = []
        handlers = create_authenticator_app_handlers(
            self.enroll,
            lambda: self.now,
            InboxAccess(requires_key=False),
            service_url="http://127.0.0.1:9000/<b>",
        )
        self.api = ApiHarness(admin_handlers=handlers)

    async def enroll(self, account, state):
        if ":" in account:
            raise InvalidRequest(("name", "must not contain a colon"))
        self.enrolled.append((account, state["request"]))
        return NewAuthenticator(f"a1.{account}", SECRET, build_uri(account), NOW_MS)

    async def add(self, **fields):
        return await self.api.call_admin("POST", "/authenticator.json", json=fields)

    async def list(self):
        return (await self.api.get_admin("/authenticator.json")).json()


@pytest.fixture
def app():
    return App()


async def test_an_enrolled_account_has_a_token_a_qr_code_and_the_codes_of_now(app):
    """A developer scans the code, or takes the code from here."""
    assert [] == await app.list()

    answer = await app.add(account="u-81")

    assert 201 == answer.status_code
    (entry,) = answer.json()
    assert [("u-81", app.api.request_summaries[-1].request)] == app.enrolled
    assert ("u-81", "a1.u-81", build_uri("u-81")) == (
        entry["account"],
        entry["authenticator"],
        entry["uri"],
    )
    assert entry["uri"] == read_qr_svg(entry["qr_svg"])
    phone, seconds = pyotp.TOTP(SECRET), NOW_MS // 1000
    assert (phone.at(seconds), phone.at(seconds + 30)) == (entry["code"], entry["next_code"])
    assert (30 - seconds % 30, 30) == (entry["seconds_left"], entry["period"])


async def test_the_codes_change_with_the_clock(app):
    """The next code becomes the code when no second is left."""
    await app.add(account="u-81")
    (before,) = await app.list()

    app.now += before["seconds_left"] * 1000 - NOW_MS % 1000 - 1
    (last,) = await app.list()
    app.now += 1
    (after,) = await app.list()

    assert (before["code"], 1) == (last["code"], last["seconds_left"])
    assert (before["next_code"], 30) == (after["code"], after["seconds_left"])


async def test_the_uri_of_another_call_has_its_codes_too(app):
    """An application under development enrolls by itself, and shows its own QR code."""
    (entry,) = (await app.add(uri=PASTED_URI)).json()

    assert (None, None, 60) == (entry["account"], entry["authenticator"], entry["period"])
    assert pyotp.parse_uri(PASTED_URI).at(NOW_MS // 1000) == entry["code"]
    assert PASTED_URI == read_qr_svg(entry["qr_svg"])


async def test_the_newest_is_first_once_and_the_oldest_is_dropped(app):
    """Secrets stay in memory, and not all of them."""
    for number in range(MAX_ENTRIES + 2):
        await app.add(account=f"u-{number}")
    await app.add(account="u-5")

    accounts = [entry["account"] for entry in await app.list()]

    assert ["u-5", "u-9", "u-8", "u-7", "u-6", "u-4", "u-3", "u-2"] == accounts


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "account"),
        ({"account": "u-81", "uri": PASTED_URI}, "account"),
        ({"account": ""}, "account"),
        ({"account": "a:b"}, "name"),
        ({"uri": "https://example.com"}, "uri"),
        ({"uri": PASTED_URI.replace("digits=8", "digits=9")}, "uri"),
        ({"uri": PASTED_URI.replace(SECRET, "secret")}, "uri"),
        ({"uri": PASTED_URI.replace(SECRET, "JBSWY3DPEHPK3PXP")}, "uri"),  # 80 bits
        ({"uri": PASTED_URI.replace(SECRET, "A" * 21)}, "uri"),  # 104 bits
        ({"uri": PASTED_URI.replace(SECRET, "A" * 207)}, "uri"),  # 1,032 bits
        ({"uri": PASTED_URI.replace(SECRET, "")}, "uri"),
        ({"name": "u-81"}, "name"),
    ],
)
async def test_a_wrong_form_is_a_problem_that_names_the_field(app, fields, path):
    """The page shows it."""
    answer = await app.add(**fields)

    assert 400 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert [path] == [error["path"] for error in answer.json()["errors"]]
    assert [] == await app.list()


@pytest.mark.parametrize("chars", [23, 205])
async def test_the_shortest_and_the_longest_secret_have_codes(app, chars):
    """112 bits (NIST SP 800-63B-4) to 1,024, as the service takes them."""
    uri = PASTED_URI.replace(SECRET, "A" * chars)

    assert 201 == (await app.add(uri=uri)).status_code
    assert [uri] == [entry["uri"] for entry in await app.list()]


async def test_a_uri_without_a_code_is_not_kept(app, monkeypatch):
    """Whatever the reason: else every later list fails, until the process ends."""
    await app.add(account="u-81")
    message = "Secrets must be longer"

    def fail(_, __):
        raise ValueError(message)

    with monkeypatch.context() as patch:
        patch.setattr("otp_service.core.authenticator.Authenticator.compute_code", fail)
        answer = await app.add(uri=PASTED_URI)

    assert 400 == answer.status_code
    assert [{"path": "uri", "message": message}] == answer.json()["errors"]
    assert ["u-81"] == [entry["account"] for entry in await app.list()]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_page_of_another_origin_cannot_enroll(app, kind):
    """A browser sends these types without asking first; JSON it asks for, and nothing grants it."""
    answer = await app.api.call_admin(
        "POST", "/authenticator.json", content=b'{"account": "x"}', headers={"Content-Type": kind}
    )

    assert 415 == answer.status_code
    assert [] == app.enrolled
    preflight = await app.api.call_admin("OPTIONS", "/authenticator.json")
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/authenticator", "/authenticator.json"])
async def test_nothing_is_kept_guessed_or_shared(app, path):
    """Secrets are on the page, in development too."""
    headers = (await app.api.get_admin(path)).headers

    assert "no-store" == headers["cache-control"]
    assert "nosniff" == headers["x-content-type-options"]
    assert "no-referrer" == headers["referrer-policy"]
    assert "same-origin" == headers["cross-origin-resource-policy"]
    assert 404 == (await app.api.call_public("GET", path)).status_code


async def test_the_page_makes_no_markup_of_text_and_loads_nothing(app):
    """Names are set as text, and the policy admits only what is in the page (R92)."""
    answer = await app.api.get_admin("/authenticator")
    page, policy = answer.text, answer.headers["content-security-policy"]

    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)
    assert not re.search(r"<[^>]+ (style|on[a-z]+)=", page)
    assert [] == re.findall(r'(?:src|href)="(?!data:)', page)
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "Bearer $KEY" in page  # as in docs/authenticators.md
    assert 'data-service="http://127.0.0.1:9000/&lt;b&gt;"' in page
    assert "{{" not in page
