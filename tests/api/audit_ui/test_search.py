"""The search of the audit page: its filters and period, what it leads to, and its downloads."""

import csv
import json

import pytest

from otp_service.api.audit_ui import search_views
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.timestamps import HOUR_MS, parse_rfc3339
from tests.api.audit_ui.page_client import Browser, search_for
from tests.api.fakes import CHALLENGE_ID, NOW_MS, ApiHarness


NUMBER = "+447400123456"
PSEUDONYM = "n1:617915ab71e8bfbfc2786fd522b718e0"
CSV_PATH, JSON_PATH = "/audit/search/events.csv", "/audit/search/events.json"
ALL_FIELDS = {
    "number": NUMBER,
    "account": "u-81",
    "reason": "Ticket 47",
    "challenge": CHALLENGE_ID,
    "pseudonym": PSEUDONYM,
    "client_ip": "203.0.113.9",
    "client_ip_changed": "1",
    "type": "otp.verified",
    "event_reason": "mismatch",
    "event_limit": "UnverifiedPerRange",
    "country": "gb",
    "provider": "twilio",
    "tenant": "shop",
    "since": "2026-11-22T10:00",
    "until": "2026-11-22T10:30",
}


def list_inputs(page: str, name: str) -> list[str]:
    """Return the value of each input or button with this name."""
    parts = page.split(f'name="{name}" value="')[1:]
    return [part.partition('"')[0] for part in parts]


# -------------------------------------------------------------------------------- filters and period


async def test_every_field_is_a_filter(api: ApiHarness, browser: Browser) -> None:
    """F3: also the pseudonym and the change of the client IP; a country is in capitals."""
    api.reader.add_event()
    await browser.send("/audit/search", **search_for(**ALL_FIELDS))

    (query,) = api.reader.queries
    names = (
        *("challenge", "pseudonym", "client_ip", "type", "event_reason", "event_limit"),
        *("provider", "tenant"),
    )
    assert {name: ALL_FIELDS[name] for name in names} == {name: query[name] for name in names}
    assert ("GB", True, "u-81") == (query["country"], query["client_ip_changed"], query["account"])
    assert PhoneNumber(NUMBER, "GB", 44) == query["number"]
    assert parse_rfc3339("2026-11-22T10:00:00Z") == query["since"]
    assert parse_rfc3339("2026-11-22T10:31:00Z") == query["until"]


async def test_an_empty_field_is_no_filter(api: ApiHarness, browser: Browser) -> None:
    """A browser sends all fields."""
    api.reader.add_event()
    await browser.send("/audit/search", **search_for())

    (query,) = api.reader.queries
    assert {"since": NOW_MS - 24 * HOUR_MS} == {
        name: value for name, value in query.items() if value is not None and name != "limit"
    }


@pytest.mark.parametrize(
    ("fields", "since", "until"),
    [
        ({"hours": "1"}, NOW_MS - HOUR_MS, None),
        ({"hours": ""}, None, None),
        ({"since": "2026-11-22 10:00"}, parse_rfc3339("2026-11-22T10:00:00Z"), None),
        ({"until": "2026-11-22T10:00:05"}, None, parse_rfc3339("2026-11-22T10:00:06Z")),
        ({"until": "2026-11-22T10:00:05.25Z"}, None, parse_rfc3339("2026-11-22T10:00:05.251Z")),
    ],
)
async def test_a_period_is_hours_or_from_one_instant_to_another(
    api: ApiHarness, browser: Browser, fields, since, until
) -> None:
    """The end includes the last unit that was written."""
    api.reader.add_event()
    await browser.send("/audit/search", **search_for(**fields))

    (query,) = api.reader.queries
    assert (since, until) == (query["since"], query["until"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hours": "range"}, "Say from when, or to when."),
        ({"since": "yesterday"}, "This is not an instant"),
        ({"since": "2026-11-31T10:00"}, "This is not an instant"),
        ({"until": "2026-11-22T25:00"}, "This is not an instant"),
        ({"since": "2026-11-22T10:00", "until": "2026-11-22T09:00"}, "before the beginning"),
        ({"pseudonym": "GB …56"}, "not a pseudonym"),
        ({"pseudonym": NUMBER}, "not a pseudonym"),
        ({"client_ip": "203.0.113.0/24"}, "not a client IP"),
    ],
)
async def test_an_invalid_filter_is_named_beside_its_field(
    api: ApiHarness, browser: Browser, fields, message
) -> None:
    """Nothing is read, and the field keeps its text."""
    page = (await browser.send("/audit/search", **search_for(**fields))).text

    assert message in page
    assert 'aria-invalid="true"' in page
    assert [] == api.reader.queries


async def test_every_field_keeps_what_was_typed_after_an_error(browser: Browser) -> None:
    """F5: the number field, too. Seen to fail with a form that empties the invalid field."""
    fields = ALL_FIELDS | {"number": "07400 123456", "challenge": "c07", "provider": "<b>"}
    page = (await browser.send("/audit/search", **search_for(**fields))).text

    for name, text in (fields | {"provider": "&lt;b&gt;"}).items():
        if name not in {"type", "tenant", "client_ip_changed"}:
            assert [text] == list_inputs(page, name)
    for option in (">otp.verified<", ">shop<", ' value="1" selected'):
        assert option in page
    assert 2 == page.count(" selected>otp.verified<") + page.count(" selected>shop<")


async def test_after_a_search_the_form_does_not_show_the_person(
    api: ApiHarness, browser: Browser
) -> None:
    """R68: whoever looks over the shoulder reads events, and no number. Seen to fail with one that stays.

    Only the hidden fields of the files and of the next page have both.
    """
    person = {"number": "+447400718299", "account": "u-7182"}
    api.reader.add_event()
    api.reader.next_cursor = "further"
    page = (await browser.send("/audit/search", **search_for(reason="Ticket 47", **person))).text

    for name, text in person.items():
        assert ["", text, text] == list_inputs(page, name)
        assert text not in page.replace(f'<input type="hidden" name="{name}" value="{text}">', "")
    assert "Ticket 47" == list_inputs(page, "reason")[0]


async def test_all_invalid_fields_are_named_at_once(browser: Browser) -> None:
    """One after another would cost a request for each."""
    fields = {"number": "1", "account": "u\x0081", "client_ip": "x", "since": "x", "pseudonym": "x"}
    page = (await browser.send("/audit/search", **search_for(**fields))).text

    assert {*fields, "reason"} == {
        name for name in (*fields, "reason", "challenge") if f'id="wrong-{name}"' in page
    }


async def test_several_types_of_a_finding_stay_selected(api: ApiHarness, browser: Browser) -> None:
    """The select of a single type gets one more option."""
    api.reader.add_event()
    kinds = "otp.issue_denied,otp.verify_denied"
    page = (await browser.send("/audit/search", **search_for(type=kinds))).text

    assert f'<option value="{kinds}" selected>{kinds}</option>' in page
    assert kinds == api.reader.queries[0]["type"]


# --------------------------------------------------------------------------------- where rows lead


async def test_every_value_of_a_row_leads_to_its_events(api: ApiHarness, browser: Browser) -> None:
    """F3: by a form, so that no pseudonym and no client IP is in a URL."""
    account = "n1:00112233445566778899aabbccddeeff"
    api.reader.add_event(
        tenant="shop",
        number=PSEUDONYM,
        number_suffix="56",
        country="GB",
        account=account,
        client_ip="2001:db8::9",
        challenge=CHALLENGE_ID,
        prefix="n1:aabb",
        provider="twilio",
    )
    page = (await browser.send("/audit/search", **search_for())).text

    assert {PSEUDONYM, account, "n1:aabb"} <= set(list_inputs(page, "pseudonym"))
    assert "2001:db8::9" in list_inputs(page, "client_ip")
    assert "twilio" in list_inputs(page, "provider")
    assert 'form="find-tenant" name="tenant" value="shop"' in page
    assert f'href="/audit/challenges/{CHALLENGE_ID}"' in page
    assert not any(f"?{name}" in page for name in ("pseudonym", "client_ip", "account"))
    assert ">07-1-1</td>" in page  # the event id has a column


@pytest.mark.parametrize(
    "value",
    ["", "x", "p1:", "p1:zz", "<b>:00", "p1:00\n", "p1:" + "0" * 65, 5, ["p1:00"], {"a": 1}],
)
async def test_a_malformed_value_is_text_and_no_link(
    api: ApiHarness, browser: Browser, value
) -> None:
    """R70: an attacker with write access to Redis may have written it."""
    names = ("number", "account", "prefix", "client_ip", "challenge")
    api.reader.add_event(number_suffix="56", **dict.fromkeys(names, value))

    page = (await browser.send("/audit/search", **search_for())).text

    assert 'form="find"' not in page
    assert 'href="/audit/challenges/' not in page


@pytest.mark.parametrize(
    ("event", "weight"),
    [
        ({"type": "otp.issued"}, ""),
        ({"type": "otp.verified", "outcome": "success", "client_ip_changed": True}, "alarm"),
        ({"type": "otp.verified", "outcome": "success"}, ""),
        ({"type": "otp.rejected", "outcome": "failure", "reason": "mismatch"}, "notice"),
        ({"type": "otp.provider_failed", "outcome": "failure", "reason": "refused"}, ""),
        ({"type": "otp.locked", "outcome": "success", "reason": "number_locked"}, "alarm"),
        ({"type": "otp.issued", "mac": "forged"}, "alarm"),
    ],
)
async def test_a_row_is_colored_by_its_weight(
    api: ApiHarness, browser: Browser, event, weight
) -> None:
    """F5: a lock is a success of ours and grave; a provider's failure is neither."""
    api.reader.add_event(**event)
    page = (await browser.send("/audit/search", **search_for())).text

    expected = f'<tr role="row" class="{weight}">' if weight else '<tr role="row">'
    assert expected in page.partition("<tbody")[2]


async def test_the_next_page_and_the_downloads_have_the_same_filters(
    api: ApiHarness, browser: Browser
) -> None:
    """An empty period is one: everything there is."""
    api.reader.add_event()
    api.reader.next_cursor = "further"
    page = (await browser.send("/audit/search", **search_for(hours="", pseudonym=PSEUDONYM))).text

    files, older = page.split('class="files"')[1].split('name="cursor" value="further"')
    for form in (files.partition("</form>")[0], files.rpartition("<form")[2]):
        assert ([""], [PSEUDONYM]) == (list_inputs(form, "hours"), list_inputs(form, "pseudonym"))
    assert "Older events" in older


# -------------------------------------------------------------------------------------- downloads


async def test_a_download_has_the_events_of_the_search(api: ApiHarness, browser: Browser) -> None:
    """As a table and as the API returns them; a cell is no formula."""
    api.reader.add_event(tenant="shop", reason="=1+1")
    api.reader.add_event(type="otp.verified", tenant="shop")
    table = await browser.send(CSV_PATH, **search_for(**ALL_FIELDS))
    data = await browser.send(JSON_PATH, **search_for(**ALL_FIELDS))

    rows = list(csv.DictReader(table.text.splitlines()))
    assert ["otp.verified", "otp.issued"] == [row["type"] for row in rows]
    assert "'=1+1" == rows[1]["reason"]
    assert [row["event_id"] for row in rows] == [one["event_id"] for one in data.json()["events"]]
    assert data.json()["next"] is None
    first, second = api.reader.queries
    assert first == second
    assert (PSEUDONYM, "shop") == (first["pseudonym"], first["tenant"])


@pytest.mark.parametrize(
    ("path", "media_type"), [(CSV_PATH, "text/csv"), (JSON_PATH, "application/json")]
)
async def test_a_download_is_a_file_that_no_cache_keeps(
    api: ApiHarness, browser: Browser, path, media_type
) -> None:
    """A browser stores it under a name with the time, and displays nothing of it."""
    api.reader.add_event()
    answer = await browser.send(path, **search_for())

    assert answer.headers["content-type"].startswith(media_type)
    disposition = answer.headers["content-disposition"]
    assert (
        f'attachment; filename="otp-events-20261122T120000Z.{path[-4:].strip(".")}"' == disposition
    )
    assert "no-store" == answer.headers["cache-control"]
    assert "nosniff" == answer.headers["x-content-type-options"]


@pytest.mark.parametrize("path", [CSV_PATH, JSON_PATH])
async def test_a_download_for_a_person_is_recorded_or_refused(
    api: ApiHarness, browser: Browser, path
) -> None:
    """R69, R73: as a search on the page is."""
    api.reader.add_event(purpose="unseen")
    fields = search_for(number=NUMBER, reason="Ticket 47")
    await browser.send(path, **fields)
    api.lookup_error = StoreUnavailable()
    refused = await browser.send(path, **fields)

    ((number, found, who),) = api.lookups
    assert (NUMBER, 1, "Ticket 47") == (number, found, who["reason"])
    assert 503 == refused.status_code
    assert "unseen" not in refused.text
    assert 400 == (await browser.send(path, **search_for(number=NUMBER))).status_code


@pytest.mark.parametrize("path", [CSV_PATH, JSON_PATH])
async def test_a_download_of_a_tenant_has_its_events_alone(api: ApiHarness, shop, path) -> None:
    """R55: whatever tenant the form names."""
    api.reader.add_event()
    await shop.send(path, **search_for(tenant="bank"))
    without_session = await Browser(api).send(path, **search_for())

    assert ["shop"] == [query["tenant"] for query in api.reader.queries]
    assert 303 == without_session.status_code


async def test_a_download_reads_all_pages_up_to_its_bound(
    api: ApiHarness, browser: Browser, monkeypatch
) -> None:
    """The name of the file says that older events are missing, and the JSON where they begin."""
    monkeypatch.setattr(search_views, "MAX_FILE_EVENTS", 3)
    api.reader.add_event()
    api.reader.next_cursor = "further"
    answer = await browser.send(JSON_PATH, **search_for())

    assert [(3, None), (2, "further"), (1, "further")] == [
        (query["limit"], query["cursor"]) for query in api.reader.queries
    ]
    assert "further" == json.loads(answer.content)["next"]
    assert "-newest-only.json" in answer.headers["content-disposition"]
