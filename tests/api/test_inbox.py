"""The development inbox as it is served; its behavior in a browser is tested in tests/browser."""

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from otp_service.api.inbox import ReplyRequest, create_inbox_handlers
from otp_service.api.inbox_access import InboxAccess
from otp_service.core.ports import InboxMessage
from tests.api.fakes import ApiHarness, build_auth_header
from tests.fake_inbox import FakeInbox


NUMBER, OTHER_NUMBER = "+447700900123", "+12025550123"
TEXT = "Your Example code is 123456. It is valid for 5 min. Do not share it."
NEWEST_MS = 1_767_225_602_000  # 2026-01-01T00:00:02Z
NEWEST = InboxMessage(NUMBER, TEXT, "inbox", "shop", NEWEST_MS)
MIDDLE = InboxMessage(OTHER_NUMBER, TEXT, "inbox", "bank", NEWEST_MS - 500)
OLDEST = InboxMessage(NUMBER, "<script>alert(1)</script>", "inbox", "shop", NEWEST_MS - 1000)


class InboxApi(ApiHarness):
    """Both applications, with the inbox on the admin listener."""

    def __init__(self, *, requires_key=False, **options):
        self.inbox = FakeInbox(NEWEST, MIDDLE, OLDEST)
        self.reset_count = 0
        self.replies = []
        access = InboxAccess(requires_key=requires_key)
        super().__init__(
            admin_handlers=create_inbox_handlers(
                self.inbox.list_messages, self.count_reset, self.handle_reply, access, **options
            )
        )

    async def count_reset(self):
        self.reset_count += 1

    async def handle_reply(self, reply, answered, state):
        self.replies.append((reply.phone_number, reply.text, answered, state["request"]))
        return "opted_out"

    async def send_reply(self, number, text="STOP", **more):
        body = {"phone_number": number, "text": text}
        return await self.call_admin("POST", "/inbox/replies", json=body, **more)

    async def list_numbers(self, query="", **headers):
        answer = await self.get_admin(f"/inbox.json{query}", headers=headers)
        assert 200 == answer.status_code, answer.text
        return [message["to"] for message in answer.json()]

    async def find_error(self, query):
        answer = await self.get_admin(f"/inbox.json{query}")
        assert 400 == answer.status_code
        (error,) = answer.json()["errors"]
        return error


@pytest.fixture
def api():
    """The inbox as on a loopback address."""
    return InboxApi()


class Elements(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


async def test_messages_are_json_newest_first(api):
    """The contract defines their form, for tests that read a code."""
    answer = await api.get_admin("/inbox.json")

    assert 200 == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert {
        "to": NUMBER,
        "text": TEXT,
        "provider": "inbox",
        "at": "2026-01-01T00:00:02.000Z",
    } == answer.json()[0]
    assert [NEWEST.text, MIDDLE.text, OLDEST.text] == [one["text"] for one in answer.json()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?to=%2B447700900123", [NUMBER, NUMBER]),
        ("?to=%2B12025550123", [OTHER_NUMBER]),
        ("?to=%2B12025550199", []),
        ("?since=2026-01-01T00:00:01.500Z", [NUMBER, OTHER_NUMBER]),
        ("?since=2026-01-01T01:00:02%2B01:00", [NUMBER]),
        ("?limit=1", [NUMBER]),
        ("?to=%2B447700900123&since=2026-01-01T00:00:02Z&limit=5", [NUMBER]),
    ],
)
async def test_a_filter_finds_the_messages_of_one_test(api, query, expected):
    """Tests that run at the same time share the inbox; the newest message is first."""
    assert expected == await api.list_numbers(query)


@pytest.mark.parametrize(
    ("query", "path", "words"),
    [
        ("?to=+447700900123", "to", "%2B"),
        ("?to=447700900123", "to", "plus"),
        ("?to=%2B447400123456", "to", "fictitious"),
        ("?to=%2B44", "to", "fictitious"),
        ("?since=yesterday", "since", ""),
        ("?limit=0", "limit", ""),
        ("?limit=many", "limit", ""),
        ("?wait=31", "wait", "30"),
        ("?wait=-1", "wait", ""),
        ("?From=%2B447700900123", "From", "not a field"),
        ("?to=%2B447700900123&to=%2B447700900123", "to", "more than once"),
    ],
)
async def test_an_invalid_filter_is_refused_by_name(api, query, path, words):
    """An ignored filter would return the code of another test."""
    error = await api.find_error(query)

    assert path == error["path"]
    assert words in error["message"]


async def test_a_call_can_wait_for_its_message(api):
    """A test needs no loop: the call returns as soon as a message matches."""
    later = InboxMessage(NUMBER, TEXT, "inbox", "shop", NEWEST_MS + 60_000)
    query = "?since=2026-01-01T00:01:00Z&wait=30"
    waiting = asyncio.create_task(api.list_numbers(query))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    await api.inbox.add(later, max_messages=9)

    assert [NUMBER] == await asyncio.wait_for(waiting, 20)


async def test_a_wait_ends_without_a_message(api):
    """The answer is an empty list, and not an error."""
    assert [] == await api.list_numbers("?to=%2B12025550199&wait=1")


async def test_a_reset_needs_a_json_body(api):
    """A page of another origin can send a form to loopback, and no JSON (R60)."""
    refused = await api.call_admin("POST", "/reset", content=b"", headers={})
    form = {"Content-Type": "text/plain"}
    disguised = await api.call_admin("POST", "/reset", content=b"{}", headers=form)
    done = await api.call_admin("POST", "/reset", json={})

    assert [415, 415, 204] == [one.status_code for one in (refused, disguised, done)]
    assert 1 == api.reset_count


async def test_a_reply_is_handled_with_the_message_that_it_answers(api):
    """Its provider passes the reply on, and the answer says what the service did with it."""
    answer = await api.send_reply(NUMBER)

    assert (200, {"result": "opted_out"}) == (answer.status_code, answer.json())
    ((number, text, answered, request),) = api.replies
    assert (NUMBER, "STOP", NEWEST) == (number, text, answered)
    assert request


async def test_a_phone_that_has_got_nothing_can_write_too(api):
    """A test sees then that it has no effect."""
    assert 200 == (await api.send_reply("+12025550199")).status_code

    assert [None] == [answered for _, _, answered, _ in api.replies]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"phone_number": NUMBER}, "text"),
        ({"text": "STOP"}, "phone_number"),
        ({"phone_number": NUMBER, "text": "STOP", "provider": "inbox"}, "provider"),
        ({"phone_number": NUMBER, "text": "x" * 1601}, "text"),
        ({"phone_number": 447700900123, "text": "STOP"}, "phone_number"),
    ],
)
async def test_an_invalid_reply_is_refused_by_name(api, body, path):
    """Nothing is handled."""
    answer = await api.call_admin("POST", "/inbox/replies", json=body)

    assert [(400, path)] == [(answer.status_code, each["path"]) for each in answer.json()["errors"]]
    assert [] == api.replies


async def test_a_reply_needs_a_json_body(api):
    """A page of another origin can send a form to loopback, and would opt a number out (R60)."""
    body = b'{"phone_number": "+447700900123", "text": "STOP"}'
    headers = {"Content-Type": "text/plain"}

    answer = await api.call_admin("POST", "/inbox/replies", content=body, headers=headers)

    assert 415 == answer.status_code
    assert [] == api.replies


async def test_off_loopback_a_key_replies_to_messages_of_its_tenant():
    """A25: a team of a test service cannot opt out the numbers of another team.

    Seen to fail without the tenant in the look-up.
    """
    api = InboxApi(requires_key=True)

    for key, status in (("", 401), ("expired", 401), ("operator", 403)):
        headers = build_auth_header(key) if key else {}
        assert status == (await api.send_reply(NUMBER, headers=headers)).status_code
    headers = build_auth_header("shop")
    for number in (OTHER_NUMBER, "+12025550199"):
        answer = await api.send_reply(number, headers=headers)
        assert ["phone_number"] == [each["path"] for each in answer.json()["errors"]]
    assert [] == api.replies

    assert 200 == (await api.send_reply(NUMBER, headers=headers)).status_code
    assert [NEWEST] == [answered for _, _, answered, _ in api.replies]


async def test_the_text_of_a_reply_is_in_no_repr():
    """It may hold a code, and tracebacks show values."""
    reply = ReplyRequest(NUMBER, "my code is 864209")

    for shown in (repr(reply), str(reply.__rich_repr__())):
        assert "864209" not in shown
        assert NUMBER not in shown


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/inbox/replies", "/reset"])
async def test_a_change_is_a_post(api, method, path):
    """A link or an image never changes anything."""
    answer = await api.call_admin(method, path)

    assert 405 == answer.status_code
    assert 0 == api.reset_count


async def test_off_loopback_the_messages_need_an_api_key():
    """A25: others can reach the listener, and messages contain codes."""
    api = InboxApi(requires_key=True)

    for key, status in (("", 401), ("nonsense", 401), ("expired", 401), ("operator", 403)):
        headers = build_auth_header(key) if key else {}
        answer = await api.get_admin("/inbox.json", headers=headers)
        assert status == answer.status_code, key
        assert "123456" not in answer.text
    for key, status in (("", 401), ("shop", 403)):
        headers = build_auth_header(key) if key else {}
        answer = await api.call_admin("POST", "/reset", json={}, headers=headers)
        assert status == answer.status_code, key
    assert 0 == api.reset_count


async def test_off_loopback_a_key_reads_the_messages_of_its_tenant():
    """A team in the same test service reads no code of another one."""
    api = InboxApi(requires_key=True)

    assert [NUMBER, NUMBER] == await api.list_numbers(**build_auth_header("shop"))


async def test_off_loopback_an_operator_resets():
    """The key needs the scope."""
    api = InboxApi(requires_key=True)

    answer = await api.call_admin("POST", "/reset", json={}, headers=build_auth_header("operator"))

    assert 204 == answer.status_code
    assert 1 == api.reset_count


@pytest.mark.parametrize("path", ["/inbox", "/inbox.json"])
async def test_nothing_is_kept_guessed_or_shared(api, path):
    """Messages contain codes, in development too."""
    headers = (await api.get_admin(path)).headers

    assert "no-store" == headers["cache-control"]
    assert "nosniff" == headers["x-content-type-options"]
    assert "no-referrer" == headers["referrer-policy"]
    assert "same-origin" == headers["cross-origin-resource-policy"]


async def test_page_allows_what_is_in_it_and_nothing_else(api):
    """An injected script would not run (R92)."""
    answer = await api.get_admin("/inbox")
    rules = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )

    assert "'none'" == rules["default-src"]
    assert "'self'" == rules["connect-src"]
    assert "'script'" == rules["require-trusted-types-for"]
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[kind])
    assert "'unsafe" not in str(rules)


async def test_policy_is_that_of_the_page_that_is_served(api):
    """A changed script has another hash, and would not run."""
    answer = await api.get_admin("/inbox")

    for kind in ("script", "style"):
        (inline,) = re.findall(f"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


async def test_page_needs_nothing_from_elsewhere(api):
    """It works without internet, and no other host learns that it was opened."""
    page = (await api.get_admin("/inbox")).text
    addresses = set(re.findall(r"https?://[^/'\"\s]+", page))
    outside = [
        value
        for tag, attributes in Elements(page).found
        for name, value in attributes.items()
        if name in {"src", "href"} and not value.startswith(("#", "data:"))
    ]

    assert {"http://127.0.0.1:8000"} == addresses
    assert [] == outside


async def test_page_never_makes_markup_of_text(api):
    """Messages are set as text; no attribute contains a script or a style."""
    page = (await api.get_admin("/inbox")).text
    attributes = {name for _, found in Elements(page).found for name in found}

    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)
    assert "style" not in attributes
    assert not [name for name in attributes if name.startswith("on")]


async def test_page_has_what_screen_readers_look_for(api):
    """It has a language, a title, landmarks, one first heading, and two live regions."""
    elements = Elements((await api.get_admin("/inbox")).text).found
    tags = [tag for tag, _ in elements]
    spoken = [a for _, a in elements if a.get("role") == "status" or a.get("aria-live")]

    assert {"lang": "en"} == dict(elements)["html"]
    assert [1, 1, 1, 1] == [tags.count(tag) for tag in ("title", "main", "header", "h1")]
    assert 2 == len(spoken)


async def test_examples_call_the_address_that_is_given():
    """A hostile address cannot break out of the example."""
    api = InboxApi(service_url="http://127.0.0.1:9000/<b>")
    page = (await api.get_admin("/inbox")).text

    assert "curl -s http://127.0.0.1:9000/&lt;b&gt;/v1/challenges \\" in page
    assert "{{" not in page


@pytest.mark.parametrize(
    ("host", "names", "has_proxy", "requires_key"),
    [
        ("127.0.0.1", (), False, False),
        ("::1", ("localhost", "127.0.0.1"), False, False),
        ("127.0.0.1", ("otp.example.com",), False, True),
        ("127.0.0.1", (), True, True),
        ("10.0.0.5", (), False, True),
        ("0.0.0.0", ("localhost",), False, True),  # noqa: S104  # nothing is bound
    ],
)
def test_a_listener_that_others_reach_requires_a_key(host, names, has_proxy, requires_key):
    """A25: docs/operation.md puts a proxy in front of loopback, and strangers would read every code.

    Seen to fail with the address of the listener alone.
    """
    assert InboxAccess(requires_key) == InboxAccess.for_listener(host, names, has_proxy=has_proxy)
