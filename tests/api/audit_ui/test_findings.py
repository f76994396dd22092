"""What looks wrong on the audit page: its weight, its meaning, and the form that finds its events."""

import re
from html import unescape

import pytest

from otp_service.api.audit_ui.finding_forms import build_finding
from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomaly import build_anomaly
from otp_service.core.timestamps import parse_rfc3339
from tests.api.audit_ui.page_client import Browser
from tests.api.fakes import CHALLENGE_ID, NOW_MS, ApiHarness


PSEUDONYM = "n1:617915ab71e8bfbfc2786fd522b718e0"
SINCE = parse_rfc3339("2026-11-22T00:00:00Z")
LAST_DAY_BEGINS = parse_rfc3339("2026-11-21T13:00:00Z")  # the clock shows some minutes after noon


def list_findings(page: str) -> list[str]:
    """Return the items of the list."""
    return [item.partition("</li>")[0] for item in page.split('<li class="finding ')[1:]]


def read_form(finding: str) -> dict[str, str]:
    """Return the fields that the button of a finding sends."""
    pairs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', finding)
    return {name: unescape(text) for name, text in pairs}


def add_guesses(api: ApiHarness, count: int = 10, **fields: str) -> None:
    about = {"tenant": "shop", "number": PSEUDONYM, "number_suffix": "56", "country": "GB"}
    for i in range(count):
        api.reader.add_event(type="otp.rejected", id=f"{i:032}", **(about | fields))


async def test_a_finding_leads_to_its_events_by_one_button(
    api: ApiHarness, browser: Browser
) -> None:
    """F1: the search has the filters of the finding, from the begin of the day."""
    add_guesses(api)
    (finding,) = list_findings((await browser.get("/audit")).text)
    await browser.send("/audit/search", **read_form(finding))

    assert finding.startswith("alarm")
    assert "10 codes" in finding
    assert "More wrong codes than a person types" in finding
    assert "What to do:" in finding
    query = api.reader.queries[-1]
    assert ("otp.rejected", PSEUDONYM) == (query["type"], query["pseudonym"])
    assert (LAST_DAY_BEGINS, None) == (query["since"], query["until"])


async def test_a_finding_of_one_tenant_leads_to_its_events_alone(
    api: ApiHarness, browser: Browser
) -> None:
    """The page of a tenant counts no other one."""
    add_guesses(api)
    (finding,) = list_findings((await browser.get("/audit?tenant=shop")).text)

    assert "shop" == read_form(finding)["tenant"]


async def test_without_a_baseline_the_page_says_so(browser: Browser) -> None:
    """F1: "nothing" would mean that nothing is wrong."""
    page = (await browser.get("/audit")).text

    assert "No baseline yet" in page
    assert "Nothing, by the rules that need no comparison." in page


@pytest.mark.parametrize("name", ["a\nb", "\u202eabc", "x" * 201])
def test_an_unprintable_value_is_in_no_form(name: str) -> None:
    """R70: a worker writes none, so only a client of Redis with a key can have done it."""
    anomaly = build_anomaly(
        "wrong-codes", "number", name, "text", now=10, criteria=EventCriteria(pseudonym=name)
    )

    assert {} == build_finding(anomaly, SINCE).fields


def test_an_hour_and_a_change_become_the_fields_of_the_form() -> None:
    """The end of the hour is exclusive, and the field includes what it names."""
    criteria = EventCriteria(client_ip_changed=True, since=SINCE, until=SINCE + 3_600_000)
    anomaly = build_anomaly("refusals", "hour", "", "text", now=100, criteria=criteria)

    assert {
        "client_ip_changed": "1",
        "hours": "range",
        "since": "2026-11-22T00:00:00.000",
        "until": "2026-11-22T00:59:59.999",
    } == build_finding(anomaly, SINCE).fields


async def test_the_lists_of_the_last_day_lead_to_the_events_of_their_offenders(
    api: ApiHarness, browser: Browser
) -> None:
    """F3: numbers, accounts, client IPs, countries and tenants."""
    account = "n1:00112233445566778899aabbccddeeff"
    add_guesses(api, 1, account=account, client_ip="2001:db8::9")
    page = (await browser.get("/audit")).text

    for field, value in (
        ("pseudonym", PSEUDONYM),
        ("pseudonym", account),
        ("client_ip", "2001:db8::/64"),
        ("country", "GB"),
    ):
        assert f'form="find" name="{field}" value="{value}"' in page
    assert 'href="/audit?tenant=shop"' in page


@pytest.mark.parametrize("minutes", [0, 20])
async def test_a_refused_issue_is_never_called_open(
    api: ApiHarness, browser: Browser, minutes
) -> None:
    """F4: nothing was stored, so nothing may still be verified."""
    api.reader.add_event(
        type="otp.issue_denied", challenge=CHALLENGE_ID, tenant="shop", reason="rate_limited"
    )
    api.now = NOW_MS + minutes * 60_000

    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert "Refused: rate_limited. No challenge was stored" in page
    assert "open until" not in page
    assert "may still be verified" not in page
