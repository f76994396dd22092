"""The admin listener: documents, metrics, the inbox."""

import email.utils
import re
import time
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
import yaml
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.support import (
    KEY,
    PROBLEMS,
    Challenge,
    Dev,
    assert_problem,
    fresh_number,
)


SERVICE_ROUTES = {
    ("/v1/challenges", "post"),
    ("/v1/challenges/{}", "get"),
    ("/v1/challenges/{}", "delete"),
    ("/v1/challenges/{}/verify", "post"),
    ("/v1/challenges/{}/resend", "post"),
    ("/v1/audit/events", "get"),
    ("/v1/audit/search", "post"),
    ("/v1/numbers/unlock", "post"),
    ("/v1/accounts/unlock", "post"),
    ("/health/live", "get"),
    ("/health/ready", "get"),
}


def test_the_admin_listener_issues_nothing(dev: Dev) -> None:
    """It does not serve the public API."""
    headers = {"Authorization": f"Bearer {KEY}"}

    refused = dev.admin.post(
        "/v1/challenges", json={"phone_number": fresh_number()}, headers=headers
    )

    assert_problem(refused, "not-found")


def test_the_document_describes_every_route(dev: Dev) -> None:
    """It is valid OpenAPI, and names every route and every problem."""
    served = dev.admin.get("/openapi.yaml")

    assert 200 == served.status_code
    assert "yaml" in served.headers["content-type"]
    validate(yaml.safe_load(served.text))
    assert described(served.text) >= SERVICE_ROUTES
    assert [] == [slug for slug in PROBLEMS if slug not in served.text]


def described(document: str) -> set[tuple[str, str]]:
    """Return the paths and methods of an OpenAPI document."""
    return {
        (re.sub(r"\{[^}]*\}", "{}", path), method)
        for path, item in yaml.safe_load(document)["paths"].items()
        for method in item
    }


class Links(HTMLParser):
    """What a page fetches."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect scripts, styles, pictures and frames."""
        wanted = "href" if tag == "link" else "src"
        self.found += [value or "" for name, value in attrs if name == wanted]


@pytest.mark.parametrize("path", ["/docs", "/inbox"])
def test_pages_need_no_internet(dev: Dev, path: str) -> None:
    """Everything that they fetch comes from this listener."""
    page = dev.admin.get(path)

    assert 200 == page.status_code
    assert "text/html" == page.headers["content-type"].split(";")[0]
    for link in Links(page.text).found:
        if not link.startswith("data:"):
            whole = urljoin(str(page.url), link)
            assert whole.startswith(str(dev.admin.base_url))
            assert 200 == dev.admin.get(whole).status_code
    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", page.text)


def test_metrics_are_prometheus(dev: Dev, challenge: Challenge) -> None:
    """They parse, and no label holds a number, a code or a key."""
    metrics = dev.admin.get("/metrics")

    assert 200 == metrics.status_code
    families = list(text_string_to_metric_families(metrics.text))
    labels = [v for family in families for sample in family.samples for v in sample.labels.values()]
    assert families
    assert not [v for v in labels if challenge.number[-9:] in v or challenge.code == v]
    assert KEY not in metrics.text


def test_the_authenticator_app_stands_for_a_phone(dev: Dev) -> None:
    """Its token is confirmed with its code, and a login is verified with the next one."""
    shown = dev.admin.post("/authenticator.json", json={"account": "app-u-81"}).json()[0]
    if shown["seconds_left"] == 1:
        time.sleep(1.1)
        shown = dev.admin.get("/authenticator.json").json()[0]

    def call(path: str, token: str, code: str) -> dict[str, str]:
        body = {"authenticator": token, "account": "app-u-81", "code": code}
        answer = dev.api.post(f"/v1/authenticators/{path}", json=body)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    active = call("confirm", shown["authenticator"], shown["code"])
    verified = call("verify", active["authenticator"], shown["next_code"])

    assert ("active", "verified") == (active["status"], verified["status"])


def test_the_inbox_is_newest_first(dev: Dev) -> None:
    """The order is that of a phone."""
    one, other = dev.challenge(), dev.challenge()

    numbers = [message["to"] for message in dev.inbox()]

    assert numbers.index(other.number) < numbers.index(one.number)


def test_the_date_of_an_answer_is_now(dev: Dev) -> None:
    """Callers may use the Date header as a clock."""
    date = dev.api.get("/health/live").headers.get("date")

    if date is not None:
        assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5
