"""The development inbox as it is served; its behavior in a browser is tested in tests/browser."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from otp_service.api.inbox import create_inbox_handlers
from tests.api.fakes import ApiHarness


NEWEST = {
    "to": "+447700900123",
    "text": "Your Example code is 123456. It is valid for 5 min. Do not share it.",
    "provider": "inbox",
    "at": "2026-01-01T00:00:02.000Z",
}
OLDEST = NEWEST | {"text": "<script>alert(1)</script>", "at": "2026-01-01T00:00:01.000Z"}


@pytest.fixture
def api():
    """Both applications, and the inbox on the admin listener."""
    return ApiHarness(admin_handlers=create_inbox_handlers(lambda: [NEWEST, OLDEST]))


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
    assert [NEWEST, OLDEST] == answer.json()


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
    api = ApiHarness(
        admin_handlers=create_inbox_handlers(list, service_url="http://127.0.0.1:9000/<b>")
    )
    page = (await api.get_admin("/inbox")).text

    assert "curl -s http://127.0.0.1:9000/&lt;b&gt;/v1/challenges \\" in page
    assert "{{" not in page
