"""The audit log's endpoints: which filters they accept, and which tenant's events they return."""

import pytest

from otp_service.core.errors import InvalidRequest, StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from tests.api.fakes import CHALLENGE_ID, ApiHarness


EVENTS, SEARCH = "/v1/audit/events", "/v1/audit/search"
NOTHING = {
    "tenant": "shop",
    "number": None,
    "account": None,
    "since": None,
    "until": None,
    "type": None,
    "challenge": None,
    "limit": 100,
    "cursor": None,
}
FILTERS = {
    "since": "2026-11-22T00:00:00Z",
    "until": "2026-11-22T13:00:00.250+01:00",
    "type": "otp.verified",
    "challenge": CHALLENGE_ID,
    "limit": 1000,
    "cursor": "abc",
}
ASKED = NOTHING | FILTERS | {"since": 1_795_305_600_000, "until": 1_795_348_800_250}


async def test_a_page_holds_events_and_where_to_go_on(api: ApiHarness) -> None:
    """The contract: `{"events": […], "next": "cursor" or null}`."""
    response = await api.call_public("GET", EVENTS, key="shop-audit")

    assert 200 == response.status_code
    page = {"events": [{"type": "otp.issued", "tenant": "shop"}], "next": "next-page"}
    assert page == response.json()
    assert [NOTHING] == api.reader.queries


async def test_a_tenant_sees_its_own_events_and_the_security_team_all(api: ApiHarness) -> None:
    """R55: the scope decides, and no parameter can widen it."""
    await api.call_public("GET", EVENTS, key="shop-audit")
    await api.call_public("GET", EVENTS, key="security")
    await api.call_public("POST", SEARCH, key="shop-audit", json={})
    await api.call_public("POST", SEARCH, key="security", json={})

    assert ["shop", None, "shop", None] == [asked["tenant"] for asked in api.reader.queries]


async def test_every_filter_reaches_the_log(api: ApiHarness) -> None:
    """The query and the body have the same filters; instants are in the units of the service."""
    await api.call_public("GET", EVENTS, key="shop-audit", params=FILTERS)
    await api.call_public("POST", SEARCH, key="shop-audit", json=FILTERS)

    assert [ASKED, ASKED] == api.reader.queries


async def test_a_search_finds_one_number(api: ApiHarness) -> None:
    """R58: the number is in the body, not in the URL."""
    await api.call_public("POST", SEARCH, key="security", json={"phone_number": "+447400123456"})

    assert PhoneNumber("+447400123456", "GB", 44) == api.reader.queries[0]["number"]


async def test_a_search_finds_one_account_alone_or_with_a_number(api: ApiHarness) -> None:
    """R58: it is in the body as well; a search for both looks for events of both."""
    both = {"account": "u-81", "phone_number": "+447400123456"}
    await api.call_public("POST", SEARCH, key="security", json={"account": "u-81"})
    await api.call_public("POST", SEARCH, key="security", json=both)

    one, other = api.reader.queries
    assert ("u-81", None) == (one["account"], one["number"])
    assert ("u-81", PhoneNumber("+447400123456", "GB", 44)) == (other["account"], other["number"])


async def test_a_search_has_filters_that_a_url_has_not(api: ApiHarness) -> None:
    """F3: from a finding or a list of offenders to the events, and no pseudonym in a URL."""
    filters = {
        "pseudonym": "p1:9f",
        "client_ip": "2001:db8::/64",
        "client_ip_changed": True,
        "event_reason": "mismatch",
        "event_limit": "UnverifiedPerRange",
        "country": "GB",
        "provider": "east",
    }
    await api.call_public("POST", SEARCH, key="shop-audit", json=filters)

    assert [NOTHING | filters] == api.reader.queries
    assert [] == api.lookups
    for name in filters:
        response = await api.call_public("GET", f"{EVENTS}?{name}=x", key="shop-audit")
        assert (400, [name]) == (
            response.status_code,
            [error["path"] for error in response.json()["errors"]],
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_ip_changed", "true"),
        ("client_ip_changed", 1),
        ("client_ip", 7),
        ("client_ip", "x" * 49),
        ("pseudonym", ["p1:9f"]),
        ("pseudonym", "x" * 129),
        ("event_reason", {}),
        ("event_limit", "x" * 65),
        ("country", "GBRX"),
        ("provider", "x" * 65),
    ],
)
async def test_a_filter_that_is_not_as_documented_is_400(api: ApiHarness, name, value) -> None:
    """R58: strict decoding, as in every body."""
    response = await api.call_public("POST", SEARCH, key="security", json={name: value})

    assert (400, [name]) == (
        response.status_code,
        [error["path"] for error in response.json()["errors"]],
    )
    assert [] == api.reader.queries


@pytest.mark.parametrize("account", ["", "a" * 129, "a\0", 7, ["u-81"]])
async def test_a_search_for_no_account_is_400(api: ApiHarness, account) -> None:
    """An account is what `account` of an issue can be."""
    response = await api.call_public("POST", SEARCH, key="security", json={"account": account})

    assert 400 == response.status_code
    assert ["account"] == [error["path"] for error in response.json()["errors"]]
    assert [] == api.reader.queries


async def test_whoever_looks_for_a_number_is_recorded(api: ApiHarness) -> None:
    """Caller, time and count are recorded before anything is returned; other searches are not."""
    number = {"phone_number": "+447400123456"}
    await api.call_public("POST", SEARCH, key="security", json=number)
    await api.call_public("POST", SEARCH, key="shop-audit", json=number)
    await api.call_public("POST", SEARCH, key="shop-audit", json={"account": "u-81"})
    await api.call_public("POST", SEARCH, key="shop-audit", json={"type": "otp.verified"})
    await api.call_public("GET", EVENTS, key="security")

    people = ["+447400123456", "+447400123456", "u-81"]
    assert [(person, 1) for person in people] == [told[:2] for told in api.lookups]
    assert [("security", None), ("shop-audit", "shop"), ("shop-audit", "shop")] == [
        (who["key_id"], who["tenant"]) for _, _, who in api.lookups
    ]


@pytest.mark.parametrize("person", [{"phone_number": "+447400123456"}, {"account": "u-81"}])
async def test_nothing_is_shown_of_a_person_that_cannot_be_recorded(
    api: ApiHarness, person
) -> None:
    """Seen to fail where the record comes after the answer."""
    api.lookup_error = StoreUnavailable()

    response = await api.call_public("POST", SEARCH, key="security", json=person)

    assert 503 == response.status_code
    assert "otp.issued" not in response.text


@pytest.mark.parametrize(
    ("number", "slug"),
    [("+44", "invalid-phone-number"), ("+12025550123;ext=1", "invalid-phone-number")],
)
async def test_a_search_for_no_number_is_422(api: ApiHarness, number, slug) -> None:
    """R35: refused, not repaired."""
    response = await api.call_public("POST", SEARCH, key="security", json={"phone_number": number})

    assert (422, f"/problems/{slug}") == (response.status_code, response.json()["type"])


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("phone_number=%2B447400123456", "phone_number"),
        ("account=u-81", "account"),
        ("tenant=bank", "tenant"),
        ("limit=1&limit=2", "limit"),
        ("type=a&type=a", "type"),
        *((f"limit={limit}", "limit") for limit in ("0", "1001", "-1", "1.0", "1e2", "", "%D9%A3")),
        ("limit=" + "9" * 5000, "limit"),
        *(
            (f"since={since}", "since")
            for since in (
                *("", "yesterday", "2026-11-22", "2026-11-22T00:00:00", "1795305600", "null"),
                *("2026-11-22T00:00:00+00:00", "20261122T000000Z", "2026-13-01T00:00:00Z"),
            )
        ),
        ("until=2026-11-22T00:00:00", "until"),
        ("challenge=x", "challenge"),
        ("cursor=" + "a" * 4097, "cursor"),
        ("type", ""),
        ("type=%FF", ""),
        ("=1", ""),
    ],
)
async def test_a_query_that_is_not_as_documented_is_400(api: ApiHarness, query, path) -> None:
    """R58: ignoring an unknown filter would return too much. (A bare + is a space there.)"""
    response = await api.call_public("GET", f"{EVENTS}?{query}", key="security")

    assert 400 == response.status_code
    assert [path] == [error["path"] for error in response.json()["errors"]]
    assert [] == api.reader.queries


@pytest.mark.parametrize(
    "body", [{"limit": "100"}, {"limit": 0}, {"since": 1}, {"since": "2026-11-22"}, {"tenant": "a"}]
)
async def test_a_search_that_is_not_as_documented_is_400(api: ApiHarness, body) -> None:
    """R58: a number in a body has to be a JSON number."""
    response = await api.call_public("POST", SEARCH, key="security", json=body)

    assert 400 == response.status_code
    assert [*body] == [error["path"] for error in response.json()["errors"]]


async def test_a_cursor_that_is_none_is_400(api: ApiHarness) -> None:
    """Only the reader knows the format of its cursors."""
    api.reader.error = InvalidRequest(("cursor", "is not one that was given"))

    response = await api.call_public("GET", f"{EVENTS}?cursor=x", key="security")

    assert 400 == response.status_code


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
async def test_the_ends_of_time_break_nothing(api: ApiHarness, moment) -> None:
    """R92: every instant can be compared, however far away."""
    response = await api.call_public("GET", EVENTS, key="security", params={"since": moment})

    assert response.status_code in {200, 400}
