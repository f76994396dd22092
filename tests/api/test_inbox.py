"""The development inbox as it is served; what it does in a browser is in tests/browser."""

import re
from html.parser import HTMLParser

import pytest
from litestar.testing import create_test_client

from otp_service.api.inbox import inbox_routes, policy


NEWEST = {
    "to": "+447700900123",
    "text": "Your Example code is 123456. It is valid for 5 min. Do not share it.",
    "provider": "inbox",
    "at": "2026-01-01T00:00:02.000Z",
}
OLDEST = NEWEST | {"text": "<script>alert(1)</script>", "at": "2026-01-01T00:00:01.000Z"}


@pytest.fixture
def client():
    """An application with nothing but the inbox."""
    routes = inbox_routes(lambda: [NEWEST, OLDEST])
    with create_test_client(routes, logging_config=None, openapi_config=None) as client:
        yield client


class Elements(HTMLParser):
    """Notes the elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_messages_are_json_newest_first(client):
    """The form that the contract gives them, for a test that reads a code."""
    answer = client.get("/inbox.json")

    assert 200 == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert [NEWEST, OLDEST] == answer.json()


@pytest.mark.parametrize("path", ["/inbox", "/inbox.json"])
def test_nothing_is_kept_guessed_or_shared(client, path):
    """Messages hold codes, also those of development."""
    headers = client.get(path).headers

    assert "no-store" == headers["cache-control"]
    assert "nosniff" == headers["x-content-type-options"]
    assert "no-referrer" == headers["referrer-policy"]
    assert "same-origin" == headers["cross-origin-resource-policy"]


def test_page_allows_what_is_in_it_and_nothing_else(client):
    """A script that got into the page anyhow would not be run (R92)."""
    answer = client.get("/inbox")
    rules = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )

    assert "'none'" == rules["default-src"]
    assert "'self'" == rules["connect-src"]
    assert "'script'" == rules["require-trusted-types-for"]
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[kind])
    assert "'unsafe" not in str(rules)


def test_policy_is_that_of_the_page_that_is_served(client):
    """A script with one character more has another hash, and would not be run."""
    answer = client.get("/inbox")

    assert policy(answer.text) == answer.headers["content-security-policy"]
    assert policy(answer.text.replace("</script>", " </script>")) != policy(answer.text)


def test_page_needs_nothing_from_elsewhere(client):
    """It works without internet, and tells nobody that it was opened."""
    page = client.get("/inbox").text
    addresses = set(re.findall(r"https?://[^/'\"\s]+", page))
    outside = [
        value
        for tag, attributes in Elements(page).found
        for name, value in attributes.items()
        if name in {"src", "href"} and not value.startswith(("#", "data:"))
    ]

    assert {"http://127.0.0.1:8000"} == addresses
    assert [] == outside


def test_page_never_makes_markup_of_text(client):
    """What it shows is set as text; no attribute holds a script or a style."""
    page = client.get("/inbox").text
    attributes = {name for _, found in Elements(page).found for name in found}

    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)
    assert "style" not in attributes
    assert not [name for name in attributes if name.startswith("on")]


def test_page_has_what_screen_readers_look_for(client):
    """A language, a title, landmarks, one first heading, and two places that speak up."""
    elements = Elements(client.get("/inbox").text).found
    tags = [tag for tag, _ in elements]
    spoken = [a for _, a in elements if a.get("role") == "status" or a.get("aria-live")]

    assert {"lang": "en"} == dict(elements)["html"]
    assert [1, 1, 1, 1] == [tags.count(tag) for tag in ("title", "main", "header", "h1")]
    assert 2 == len(spoken)


def test_examples_call_the_address_that_is_given():
    """And it cannot break out of the example it stands in."""
    routes = inbox_routes(list, service="http://127.0.0.1:9000/<b>")
    with create_test_client(routes, logging_config=None, openapi_config=None) as client:
        page = client.get("/inbox").text

    assert "curl -s http://127.0.0.1:9000/&lt;b&gt;/v1/challenges \\" in page
    assert "{{" not in page
