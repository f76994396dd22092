"""The section of the audit page about SMS pumping, and the form that leads to its events."""

import re
from typing import Any

from tests.api.audit_ui.page_client import Browser
from tests.api.audit_ui.test_opt_outs import HOSTILE, read_cells, read_form
from tests.api.fakes import ApiHarness
from tests.money_text import list_bare_amounts


RANGE = "n1:617915ab71e8bfbfc2786fd522b718e0"
PAST = "2025-11-24T10:00:00.000Z"
"""A deadline that is over."""
CHALLENGE = "c07-5d41402abc4b2a76b9719d911017c592"


def add_event(api: ApiHarness, event_type: str = "otp.issued", **fields: Any) -> None:
    known: dict[str, Any] = {"price": 40_000, "prefix": RANGE, "country": "GB", "number": RANGE}
    known["expires_at"] = PAST
    event_id = f"{len(api.reader.log):032}"
    api.reader.add_event(type=event_type, id=event_id, **(known | fields))


def read_section(page: str) -> str:
    """Return the section, or an empty string where the page has none."""
    _, _, rest = page.partition('<section class="card" aria-labelledby="pumping">')
    return rest.partition("</section>")[0]


async def test_without_a_brake_there_is_no_section(api: ApiHarness, browser: Browser) -> None:
    """Events have no price then."""
    add_event(api, price=None)

    assert "" == read_section((await browser.get("/audit")).text)


async def test_the_section_has_ranges_refusals_and_money(api: ApiHarness, browser: Browser) -> None:
    for _ in range(3):
        add_event(api, measure="unverified", challenge=CHALLENGE)
    add_event(
        api, "otp.issue_denied", reason="rate_limited", limit="UnverifiedPerRange", price=250_000
    )
    add_event(api, measure="unverified", over_limit="UnverifiedPerCountryAndTenant")

    section = read_section((await browser.get("/audit")).text)

    assert "Messages cost 0.16 EUR; 0.16 EUR of it for codes that were not entered." in section
    assert "saved at most 0.25 EUR, and would have saved 0.04 EUR more" in section
    assert [
        ["UnverifiedPerRange", "refuse", "1", "1", "0", "0.25 EUR"],
        ["UnverifiedPerCountryAndTenant", "record", "1", "1", "0", "0.04 EUR"],
    ] == read_cells(section, "braked")
    assert [[RANGE, "GB", "4", "4", "0", "2", "0.16 EUR"]] == read_cells(section, "ranges")


async def test_what_can_still_be_entered_is_pending(api: ApiHarness, browser: Browser) -> None:
    """It was among the codes that were not entered, seconds after the message."""
    for name, deadline in (("1", PAST), ("2", "2099-01-01T00:00:00.000Z")):
        add_event(api, measure="unverified", challenge=CHALLENGE[:-1] + name, expires_at=deadline)

    page = (await browser.get("/audit")).text

    section = read_section(page)
    cost = (
        "0.04 EUR of it for codes that were not entered, and 0.04 EUR for codes that still can be."
    )
    assert f"Messages cost 0.08 EUR; {cost}" in section
    assert [[RANGE, "GB", "2", "1", "1", "0", "0.04 EUR"]] == read_cells(section, "ranges")
    ((_, *hour),) = read_cells(page, "by-hour")
    assert ["2", "0", "0", "0", "0", "1", "0", "0", "0"] == hour


async def test_findings_rows_and_timelines_have_the_currency(
    api: ApiHarness, browser: Browser
) -> None:
    """They gave money without one: a reader took yen for dollars."""
    scope = {"limit": "UnverifiedPerCountryAndTenant", "period": 3600}
    figures = {"unverified": 1_075_000, "allowance": 1_100_000, "reason": "rate_limited"}
    for n in range(10):
        add_event(api, measure="unverified", challenge=f"c07-{n:032}", price=75_000)
        add_event(
            api, "otp.issue_denied", number=f"n1:{n:032}", challenge=CHALLENGE, **scope, **figures
        )

    overview = read_text((await browser.get("/audit")).text)
    rows = read_text(
        (await browser.send("/audit/search", hours="24", type="otp.issue_denied")).text
    )
    timeline = read_text((await browser.get(f"/audit/challenges/{CHALLENGE}")).text)

    assert "cost 0.75 EUR, and no code came back" in overview
    assert "their price is 0.40 EUR." in overview
    for page in (rows, timeline):
        assert "1.075 of 1.10 EUR" in page
    assert [] == list_bare_amounts(overview + rows + timeline, "EUR")


def read_text(page: str) -> str:
    """Return a page without its tags, which have sizes of drawings."""
    return re.sub(r"<[^>]+>", " ", page)


async def test_limits_and_ranges_lead_to_their_events(api: ApiHarness, browser: Browser) -> None:
    """F1: by a form, with the filters of the search."""
    add_event(api, measure="unverified", over_limit="UnverifiedPerRange", tenant="shop")

    section = read_section((await browser.get("/audit?tenant=shop")).text)
    form = read_form(section, "find-braked")
    page = await browser.send("/audit/search", **form, event_limit="UnverifiedPerRange")

    assert "pumping allow SCOPE --for 6h --reason TEXT , where SCOPE is like range:+44740012 ." in (
        " ".join(read_text(section).split())
    )
    assert 'form="find-braked" name="event_limit" value="UnverifiedPerRange"' in section
    assert f'form="find-braked" name="pseudonym" value="{RANGE}"' in section
    assert 200 == page.status_code
    query = api.reader.queries[-1]
    assert ("shop", "UnverifiedPerRange") == (query["tenant"], query["event_limit"])
    assert {"otp.issued", "otp.issue_denied"} < {*query["type"].split(",")}


async def test_a_hostile_range_is_text_and_in_no_form(api: ApiHarness, browser: Browser) -> None:
    """R70: any client of Redis may have written it."""
    add_event(api, measure="unverified", prefix=HOSTILE, country=HOSTILE)

    section = read_section((await browser.get("/audit")).text)

    assert HOSTILE in read_cells(section, "ranges")[0]
    assert "<img" not in section
    assert 'class="link"' not in section
