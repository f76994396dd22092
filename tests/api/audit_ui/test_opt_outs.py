"""The section of the audit page about STOP, START and HELP, and the forms that lead to the events."""

import re
from html import unescape

from tests.api.audit_ui.page_client import Browser
from tests.api.fakes import ApiHarness


PSEUDONYM = "n1:617915ab71e8bfbfc2786fd522b718e0"
ANSWER_TYPES = "number.opted_out,number.opted_in,number.help_requested"
HOSTILE = '"><img src=x onerror=alert(1)>'


def add_answer(api: ApiHarness, event_type: str = "number.opted_out", **fields: str) -> None:
    known = {"provider": "east", "own_number": "13013", "keyword": "stop", "number": PSEUDONYM}
    event_id = f"{len(api.reader.log):032}"
    api.reader.add_event(type=event_type, id=event_id, **(known | fields))


def read_section(page: str) -> str:
    """Return the section, or an empty string where the page has none."""
    _, _, rest = page.partition('<section class="card" aria-labelledby="opt-outs">')
    return rest.partition("</section>")[0]


def read_cells(section: str, table: str) -> list[list[str]]:
    """Return the cells of each row of a table."""
    _, _, rest = section.partition(f'<table id="{table}">')
    body = rest.partition("</table>")[0].partition("<tbody>")[2]
    return [
        [unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in re.split("</t[hd]>", row)[:-1]]
        for row in body.split("<tr>")[1:]
    ]


def read_form(section: str, form: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    _, _, rest = section.partition(f'<form id="{form}"')
    pairs = re.findall(r'name="(\w+)" value="([^"]*)"', rest.partition("</form>")[0])
    return {name: unescape(text) for name, text in pairs}


async def test_a_day_without_answers_has_no_section(browser: Browser) -> None:
    """Most services have no number that can be answered."""
    assert "" == read_section((await browser.get("/audit")).text)


async def test_the_section_counts_answers_refusals_and_messages_without_effect(
    api: ApiHarness, browser: Browser
) -> None:
    add_answer(api)
    add_answer(api)
    add_answer(api, "number.opted_in", keyword="start")
    add_answer(api, "number.help_requested", keyword="help", provider="west", own_number="")
    api.reader.add_event(type="otp.issue_denied", id="r" * 32, reason="opted_out", tenant="shop")
    api.reader.add_event(
        type="callback.rejected", id="c" * 32, reason="token", provider="west", count=3
    )

    section = read_section((await browser.get("/audit")).text)

    assert [
        ["2026-11-22", "east", "13013", "2", "1", "0", "0"],
        ["2026-11-22", "west", "-", "0", "0", "1", "0"],
    ] == read_cells(section, "answers")
    assert "1 send refused because of an opt-out." in section
    assert [["token", "west", "3"]] == read_cells(section, "ignored")


async def test_each_count_leads_to_its_events(api: ApiHarness, browser: Browser) -> None:
    """F1: by forms, with the filters of the search."""
    add_answer(api)
    api.reader.add_event(type="otp.issue_denied", id="r" * 32, reason="opted_out")
    api.reader.add_event(
        type="callback.rejected", id="c" * 32, reason="token", provider="west", count=3
    )
    section = read_section((await browser.get("/audit")).text)
    expected = {
        "find-answers": {"type": ANSWER_TYPES},
        "find-refused": {"type": "otp.issue_denied,delivery.denied", "event_reason": "opted_out"},
        "find-ignored": {"type": "callback.rejected"},
    }

    for form, filters in expected.items():
        page = await browser.send("/audit/search", **read_form(section, form))
        assert 200 == page.status_code
        query = api.reader.queries[-1]
        assert filters == {name: query.get(name) for name in filters}
        assert f'form="{form}"' in section
    assert 'form="find-answers" name="provider" value="east"' in section
    assert 'form="find-ignored" name="provider" value="west"' in section


async def test_the_page_of_a_tenant_leads_to_its_answers_alone(
    api: ApiHarness, browser: Browser
) -> None:
    """The count is of its events (test_views.py), and so is what the form finds."""
    add_answer(api, tenant="shop")

    section = read_section((await browser.get("/audit?tenant=shop")).text)

    assert {"shop"} == {query["tenant"] for query in api.reader.queries}
    assert "shop" == read_form(section, "find-answers")["tenant"]


async def test_a_hostile_provider_or_own_number_is_text_and_in_no_form(
    api: ApiHarness, browser: Browser
) -> None:
    """R70: an own number is what a vendor says."""
    add_answer(api, provider=HOSTILE, own_number=HOSTILE)

    section = read_section((await browser.get("/audit")).text)

    assert HOSTILE in read_cells(section, "answers")[0]
    assert "<img" not in section
    assert 'class="link"' not in section
