"""The audit page: sign-in, which events a caller sees, and the escaping of hostile values."""

import asyncio
import itertools
import re

import pytest

from otp_service.api.audit_ui import views
from otp_service.api.audit_ui.sessions import (
    MAX_SESSIONS_PER_KEY,
    SESSION_LIFETIME_SECONDS,
    SessionStore,
)
from otp_service.api.auth import ApiKeyRegistry
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.tenant import ApiKey, Scope, Tenant, hash_api_key
from tests.api.audit_ui.page_client import OURS, Browser, search_for
from tests.api.fakes import CHALLENGE_ID, NOW_MS, ApiHarness, to_plain_key
from tests.audit.archive_builder import build_standard_archive


NUMBER = "+447400123456"
PAGES = ["/audit", "/audit/search", f"/audit/challenges/{CHALLENGE_ID}", "/audit/archive"]
FORMS = [
    *("/audit/login", "/audit/logout", "/audit/search", "/audit/archive"),
    *("/audit/search/events.csv", "/audit/search/events.json"),
]
HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'--></style></svg><iframe src=//example.com>",
    "{{ 7*7 }}{% include 'x' %}",
]

# --------------------------------------------------------------------------------------- sign-in


@pytest.mark.parametrize("path", PAGES)
async def test_a_stranger_is_sent_to_the_form(api: ApiHarness, path) -> None:
    """No event is read for a caller without a session."""
    answer = await Browser(api).get(path)

    assert (303, "/audit/login") == (answer.status_code, answer.headers["location"])
    assert [] == api.reader.queries


async def test_a_key_becomes_a_cookie_that_is_none(api: ApiHarness) -> None:
    """The cookie is Strict, HttpOnly, valid for an hour, and not derived from the key."""
    answer = await Browser(api).log_in()

    pair, *flags = answer.headers["set-cookie"].split("; ")
    name, token = pair.split("=", 1)
    assert (303, "/audit") == (answer.status_code, answer.headers["location"])
    assert "otp-audit" == name
    assert {"Path=/", f"Max-Age={SESSION_LIFETIME_SECONDS}", "HttpOnly", "SameSite=Strict"} == set(
        flags
    )
    assert len(token) >= 43
    for secret in (to_plain_key("security"), hash_api_key(to_plain_key("security")).hex()):
        assert secret not in token
    assert token != (await Browser(api).log_in()).headers["set-cookie"].split(";")[0]


async def test_off_loopback_the_cookie_goes_over_tls_only(api: ApiHarness) -> None:
    """Another host of the same domain cannot set it either."""
    browser = Browser(api, "audit.example.com")
    cookie = (await browser.log_in()).headers["set-cookie"]

    assert cookie.startswith("__Host-otp-audit=")
    assert "; Secure" in cookie
    assert 200 == (await browser.get("/audit")).status_code


async def test_behind_a_proxy_with_tls_the_cookie_goes_over_tls_whatever_host_it_sends(
    api: ApiHarness,
) -> None:
    """ASVS 3.3.1: nginx sends its own loopback address as Host unless it is told otherwise."""
    api.sessions._has_tls = True
    browser = Browser(api)

    cookie = (await browser.log_in()).headers["set-cookie"]

    assert cookie.startswith("__Host-otp-audit=")
    assert "; Secure" in cookie


@pytest.mark.parametrize(
    ("key", "status", "counted", "says"),
    [
        ("nobody", 401, "unknown", "unknown or has expired"),
        ("expired", 401, "expired", "unknown or has expired"),
        ("shop", 403, "scope", "the scope audit"),
        ("operator", 403, "scope", "the scope audit"),
    ],
)
async def test_a_key_that_may_not_is_told_so_and_counted(
    api: ApiHarness, key, status, counted, says
) -> None:
    """R55: it is counted as on the other listener, and answered with a page, not a problem."""
    browser = Browser(api)
    answer = await browser.log_in(key)

    assert status == answer.status_code
    assert says in answer.text
    assert "set-cookie" not in answer.headers
    assert [counted] == api.denied
    assert to_plain_key(key) not in answer.text
    assert 303 == (await browser.get("/audit")).status_code


async def test_whoever_logs_out_is_out_with_every_copy_of_his_cookie(
    api: ApiHarness, browser
) -> None:
    """The session ends in the service, so a copy of the cookie is invalid too."""
    copied = dict(browser.client.cookies)
    assert 200 == (await browser.get("/audit")).status_code

    answer = await browser.send("/audit/logout")

    assert "Max-Age=0" in answer.headers["set-cookie"]
    thief = Browser(api)
    thief.client.cookies.update(copied)
    assert 303 == (await thief.get("/audit")).status_code


async def test_a_session_ends_after_an_hour(api: ApiHarness, browser) -> None:
    """Requests do not prolong it."""
    api.now += SESSION_LIFETIME_SECONDS * 1000 - 1
    assert 200 == (await browser.get("/audit")).status_code

    api.now += 1
    assert 303 == (await browser.get("/audit")).status_code


@pytest.mark.parametrize("cookie", ["", "x", "a" * 4000, to_plain_key("security"), "otp-audit"])
@pytest.mark.usefixtures("browser")
async def test_a_made_up_cookie_opens_nothing(api: ApiHarness, cookie) -> None:
    """The key itself is no valid cookie either."""
    stranger = Browser(api)
    stranger.client.cookies.set("otp-audit", cookie, domain="localhost.local")
    answer = await stranger.get("/audit")

    assert 303 == answer.status_code


def sessions_of(*keys: ApiKey, now: int = NOW_MS) -> SessionStore:
    """Return sessions for these keys, with numbered tokens."""
    keyring = ApiKeyRegistry(keys, {"shop": Tenant("shop", "Shop", frozenset())}, lambda _: None)
    tokens = iter(map(str, itertools.count()))
    return SessionStore(keyring, now=lambda: now, new_token=lambda: next(tokens))


def test_a_session_ends_with_its_key() -> None:
    """A session of a key that was removed or has expired is refused."""
    key = ApiKey("a", "shop", hash_api_key("k"), frozenset({Scope.AUDIT}), NOW_MS + 1)
    sessions = sessions_of(key)
    token = sessions.begin_session(key.sha256)

    assert sessions.find_session_key(token)
    later, without = sessions_of(key, now=NOW_MS + 1), sessions_of()
    later._sessions = without._sessions = sessions._sessions
    assert later.find_session_key(token) is None
    assert without.find_session_key(token) is None


def test_there_are_so_many_sessions_at_most() -> None:
    """A new session replaces the oldest one."""
    key = ApiKey("a", "shop", hash_api_key("k"), frozenset({Scope.AUDIT}))
    sessions = sessions_of(key)
    tokens = [sessions.begin_session(key.sha256) for _ in range(MAX_SESSIONS_PER_KEY + 1)]

    assert sessions.find_session_key(tokens[0]) is None
    assert sessions.find_session_key(tokens[1])
    assert MAX_SESSIONS_PER_KEY == len(sessions._sessions)


def test_nobody_logs_others_out_by_logging_in() -> None:
    """One key ends no session of another key, however often it logs in."""
    one, other = (
        ApiKey(name, "shop", hash_api_key(name), frozenset({Scope.AUDIT})) for name in ("a", "b")
    )
    sessions = sessions_of(one, other)
    token = sessions.begin_session(one.sha256)

    for _ in range(2 * MAX_SESSIONS_PER_KEY):
        sessions.begin_session(other.sha256)

    assert sessions.find_session_key(token)


# ---------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "null"},
        {},
    ],
)
async def test_a_form_of_another_site_does_nothing(api: ApiHarness, browser, path, headers) -> None:
    """Another service on this machine is refused too: SameSite ignores ports."""
    fields = (
        {"key": to_plain_key("security")} if path == "/audit/login" else search_for(number=NUMBER)
    )
    answer = await browser.send(path, headers=headers, **fields)

    assert 403 == answer.status_code
    assert "set-cookie" not in answer.headers
    assert [] == api.reader.queries
    assert 200 == (await browser.get("/audit")).status_code


async def test_a_browser_that_says_only_origin_is_believed(api: ApiHarness) -> None:
    """Some browsers send only Origin for a page that came over plain HTTP."""
    answer = await Browser(api).send(
        "/audit/login", headers={"Origin": "http://localhost"}, key=to_plain_key("security")
    )

    assert 303 == answer.status_code


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"key=a&key=b", "application/x-www-form-urlencoded", 400),
        (b"key=%FF", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"name=a", "application/x-www-form-urlencoded", 400),
        (b"key=" + b"a" * 20_000, "application/x-www-form-urlencoded", 413),
        (b'{"key": "a"}', "application/json", 415),
        (b"key=a", "text/plain", 415),
    ],
)
async def test_what_is_no_form_of_ours_is_refused_with_a_page(
    api: ApiHarness, body, kind, status
) -> None:
    """R92: the page is for a person, and does not repeat what was sent."""
    headers = OURS | {"Content-Type": kind}
    answer = await Browser(api).client.post("/audit/login", content=body, headers=headers)

    assert status == answer.status_code
    assert "text/html; charset=utf-8" == answer.headers["content-type"]


@pytest.mark.parametrize("path", [*PAGES, "/audit/login", "/audit/style.css", "/audit?tenant=x"])
async def test_nothing_is_kept_framed_or_run(browser, path) -> None:
    """Every page, also a refusal, has a policy that allows no script."""
    answer = await browser.get(path)

    policy = answer.headers["content-security-policy"].split("; ")
    assert {
        *("default-src 'none'", "style-src 'self'", "form-action 'self'"),
        *("frame-ancestors 'none'", "base-uri 'none'"),
    } <= set(policy)
    assert not any(rule.startswith("script-src") or "unsafe" in rule for rule in policy)
    assert "no-store" == answer.headers["cache-control"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-referrer" == answer.headers["referrer-policy"]
    assert "<script" not in answer.text
    assert " style=" not in answer.text


# ------------------------------------------------------------------------------- visible events


async def test_a_tenant_sees_its_own_events_whatever_it_asks_for(api: ApiHarness, shop) -> None:
    """R55: the scope decides on every page, and no field can widen it."""
    api.reader.add_event(challenge=CHALLENGE_ID, tenant="shop")
    for path in ("/audit", "/audit?tenant=bank", f"/audit/challenges/{CHALLENGE_ID}"):
        assert 200 == (await shop.get(path)).status_code
    await shop.send("/audit/search", **search_for(tenant="bank", client_ip="203.0.113.9"))
    await shop.send("/audit/search", **search_for(number=NUMBER, reason="Ticket 1"))

    assert {"shop"} == {asked["tenant"] for asked in api.reader.queries}


async def test_the_security_team_sees_all_and_may_choose_one(api: ApiHarness, browser) -> None:
    """An unknown tenant is refused: it would be counted and stored."""
    await browser.get("/audit")
    await browser.get("/audit?tenant=shop")
    await browser.send("/audit/search", **search_for())
    await browser.send("/audit/search", **search_for(tenant="shop"))

    assert [None, None, "shop", "shop", None, "shop"] == [
        asked["tenant"] for asked in api.reader.queries
    ]
    assert 400 == (await browser.get("/audit?tenant=nobody")).status_code


async def test_findings_and_the_button_are_for_who_sees_everything(
    api: ApiHarness, browser, shop, tmp_path
) -> None:
    """Findings name files and events of all tenants; a tenant sees only whether it is sound."""
    archive = build_standard_archive(tmp_path)
    verifications = api.use_archive(tmp_path, archive.keys)

    await shop.send("/audit/archive")
    assert verifications.last_run is None

    await browser.send("/audit/archive")
    assert verifications.last_run
    assert verifications.last_run.report
    assert verifications.last_run.report.is_sound
    assert "Verify now" in (await browser.get("/audit/archive")).text
    page = (await shop.get("/audit/archive")).text
    assert "sound" in page
    assert "Verify now" not in page


@pytest.mark.parametrize("path", ["/audit", "/audit/archive"])
async def test_a_tenant_sees_no_count_of_the_events_of_others(
    api: ApiHarness, browser, shop, tmp_path, path
) -> None:
    """The archive holds the events of all tenants: its counts, files and paths tell of theirs.

    Seen to fail with one text for both.
    """
    archive = build_standard_archive(tmp_path)
    api.use_archive(tmp_path, archive.keys)
    await browser.send("/audit/archive")
    counts = re.compile(r"up to seal \d|\d events?\.|<dt>(?:Segments|Seals|Lines)</dt>|otp-seal")

    assert counts.search((await browser.get(path)).text)
    assert not counts.search((await shop.get(path)).text)
    assert ">sound</strong>" in (await shop.get(path)).text


@pytest.mark.parametrize("path", ["/audit", "/audit/archive"])
async def test_a_tenant_sees_no_path_of_this_machine(
    api: ApiHarness, browser, shop, tmp_path, path
) -> None:
    """An archive that cannot be read is named to those who can mend it."""
    (tmp_path / "file").touch()
    api.use_archive(tmp_path / "file", {})
    await browser.send("/audit/archive")

    assert str(tmp_path) in (await browser.get(path)).text
    page = (await shop.get(path)).text
    assert ">not verified</strong>" in page
    assert str(tmp_path) not in page


# -------------------------------------------------------------------------------------- searching


async def test_a_number_is_looked_up_in_the_body_with_a_reason(api: ApiHarness, browser) -> None:
    """R58, R69: an event records caller, time and reason; the number itself is never stored."""
    api.reader.add_event()
    answer = await browser.send("/audit/search", **search_for(number=NUMBER, reason="Ticket 47"))

    assert 200 == answer.status_code
    assert PhoneNumber(NUMBER, "GB", 44) == api.reader.queries[0]["number"]
    ((number, _, who),) = api.lookups
    assert NUMBER == number
    assert ("security", None, "Ticket 47") == (who["key_id"], who["tenant"], who["reason"])
    assert NUMBER[1:] not in str([(one.route, one.problem) for one in api.request_summaries])
    assert str(answer.url).endswith("/audit/search")


async def test_an_account_is_looked_up_as_a_number_is(api: ApiHarness, browser) -> None:
    """R58, R69: in the body, with a reason, and recorded."""
    account = {"type": "authenticator.denied", "account": "1:9f8e7d6c5b4a39281706f5e4d3c2b1a0"}
    api.reader.add_event(**account, tenant="shop")
    answer = await browser.send("/audit/search", **search_for(account="u-81", reason="Ticket 47"))

    assert ("u-81", None) == (api.reader.queries[0]["account"], api.reader.queries[0]["number"])
    ((found, _, who),) = api.lookups
    assert ("u-81", "security", "Ticket 47") == (found, who["key_id"], who["reason"])
    assert "1 event of this account" in answer.text
    assert ">account 1:9f8e7d6c5b</button>" in answer.text
    assert str(answer.url).endswith("/audit/search")


async def test_older_events_of_an_account_are_asked_for_in_a_body(api: ApiHarness, browser) -> None:
    """The next page has the same filters, without a script and without a URL."""
    api.reader.add_event()
    api.reader.next_cursor = "further"
    form = search_for(account="u-81", number=NUMBER, reason="Ticket 47")

    page = (await browser.send("/audit/search", **form)).text

    assert "1 event of this number and account" in page
    for name, text in {"account": "u-81", "cursor": "further"}.items():
        assert f'<input type="hidden" name="{name}" value="{text}">' in page


async def test_what_cannot_be_recorded_is_not_shown(api: ApiHarness, browser) -> None:
    """R73: a lookup that cannot be recorded as an event is not done."""
    api.reader.add_event(purpose="unseen")
    api.lookup_error = StoreUnavailable()

    answer = await browser.send("/audit/search", **search_for(number=NUMBER, reason="Ticket 47"))

    assert 503 == answer.status_code
    assert "unseen" not in answer.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"number": NUMBER}, "Say why"),
        ({"number": NUMBER, "reason": f"call {NUMBER}"}, "must not contain a number"),
        ({"number": NUMBER, "reason": "for 07400 123456"}, "must not contain a number"),
        ({"number": NUMBER, "reason": "also of +44 7400 999999"}, "must not contain a number"),
        ({"number": "07400123456", "reason": "a"}, "not a number in the form"),
        ({"account": "u-81"}, "Say why"),
        ({"account": "u-81", "reason": "ask U-81"}, "must not contain the account"),
        ({"account": "u-81", "reason": f"for {NUMBER}"}, "must not contain a number"),
        ({"account": "x" * 129, "reason": "a"}, "not the name of an account"),
        ({"account": "u\x0081", "reason": "a"}, "not the name of an account"),
        ({"challenge": "abc"}, "not the id"),
        ({"client_ip": NUMBER}, "not a client IP"),
    ],
)
async def test_a_search_that_is_not_done_says_why_beside_its_field(
    api: ApiHarness, browser, fields, says
) -> None:
    """It reads no event, and every field keeps what was typed (F5)."""
    answer = await browser.send("/audit/search", **search_for(**fields))

    assert says in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert all(f'value="{text}"' in answer.text for text in fields.values())
    assert [] == api.reader.queries


@pytest.mark.parametrize("typed", ["2001:DB8:0::9", "::ffff:203.0.113.9", "2001:db8::/64"])
async def test_an_address_is_found_however_it_is_written(api: ApiHarness, browser, typed) -> None:
    """The reader compares it as limits do, for 'audit search --client-ip' too."""
    await browser.send("/audit/search", **search_for(client_ip=typed))

    assert [typed] == [asked["client_ip"] for asked in api.reader.queries]


async def test_a_number_in_a_url_is_not_looked_at(api: ApiHarness, browser) -> None:
    """It would be stored in browser histories and in the logs of proxies."""
    answer = await browser.get("/audit/search", params=search_for(number=NUMBER, reason="a"))

    assert 200 == answer.status_code
    assert [] == api.reader.queries


async def test_a_challenge_alone_leads_to_its_story(api: ApiHarness, browser) -> None:
    """An id is not personal data, so it may be in a URL that colleagues share."""
    api.reader.add_event(
        challenge=CHALLENGE_ID, tenant="shop", purpose="login", country="GB", number_suffix="56"
    )
    api.reader.add_event(type="otp.verified", challenge=CHALLENGE_ID, tenant="shop")

    answer = await browser.send("/audit/search", **search_for(challenge=CHALLENGE_ID))
    page = (await browser.get(answer.headers["location"])).text

    assert f"Challenge {CHALLENGE_ID} of shop, for login, to GB …56" in page
    assert "Verified 0.000 s after it was issued" in page
    assert 2 == page.count("<summary>")


async def test_a_copied_issue_hides_nothing_that_is_older(api: ApiHarness, browser) -> None:
    """R72: an attacker with write access to Redis can copy an event with its MAC."""
    issue = {"challenge": CHALLENGE_ID, "tenant": "shop", "id": "a" * 32}
    api.reader.add_event(**issue)
    api.reader.add_event(type="otp.verified", challenge=CHALLENGE_ID, tenant="shop", id="b" * 32)
    api.reader.add_event(**issue)

    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert 3 == page.count("<summary>")
    assert "Verified 0.000 s after it was issued" in page
    assert "is a copy of the event 07-1-1, at another position" in page
    assert "copy of 07-1-1" in page


async def test_the_search_for_an_older_issue_ends_soon(
    api: ApiHarness, browser, monkeypatch
) -> None:
    """An archive may hold years of events."""
    monkeypatch.setattr(views, "AFTER_ISSUE_SECONDS", 0.05)
    never, read_log = asyncio.Event(), api.reader.iterate_entries

    async def read_slowly(**query):
        async for entry in read_log(**query):
            yield entry
        await never.wait()

    monkeypatch.setattr(api.reader, "iterate_entries", read_slowly)
    api.reader.add_event(challenge=CHALLENGE_ID, tenant="shop")

    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert 1 == page.count("<summary>")
    assert "ended early" not in page


async def test_a_story_that_takes_too_long_is_told_as_far_as_it_was_found(
    api: ApiHarness, browser, monkeypatch
) -> None:
    """R92: a request does not wait for the end of a large archive."""
    never = asyncio.Event()

    async def entries(**_):
        yield api.reader.log[0]
        await never.wait()

    api.reader.add_event(type="otp.verified", challenge=CHALLENGE_ID, tenant="shop")
    monkeypatch.setattr(api.reader, "iterate_entries", entries)
    monkeypatch.setattr(views, "TIMELINE_TIMEOUT_SECONDS", 0.05)

    page = (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).text

    assert "there may be older ones" in page
    assert 1 == page.count("<summary>")


@pytest.mark.parametrize("challenge", ["abc", "c07-%3Cscript%3E", CHALLENGE_ID[:-1]])
async def test_what_is_no_challenge_is_not_found(api: ApiHarness, browser, challenge) -> None:
    """An id without any event is not found either."""
    assert 404 == (await browser.get(f"/audit/challenges/{challenge}")).status_code
    assert [] == api.reader.queries
    assert 404 == (await browser.get(f"/audit/challenges/{CHALLENGE_ID}")).status_code


async def test_older_events_are_a_form_away(api: ApiHarness, browser) -> None:
    """The number is sent in the body again."""
    api.reader.add_event()
    api.reader.next_cursor = "the-cursor"
    await browser.send("/audit/search", **search_for(number=NUMBER, reason="Ticket 1"))
    fields = search_for(number=NUMBER, reason="Ticket 1", cursor="the-cursor")
    page = await browser.send("/audit/search", **fields)

    assert [None, "the-cursor"] == [asked["cursor"] for asked in api.reader.queries]
    assert 'name="cursor" value="the-cursor"' in page.text


# -------------------------------------------------------------------------------- hostile values


@pytest.mark.parametrize("value", HOSTILE)
async def test_no_value_becomes_markup(api: ApiHarness, browser, value) -> None:
    """R70: events come from Redis, where an attacker may have written them."""
    names = (
        "type",
        "tenant",
        "country",
        "number_suffix",
        "client_ip",
        "reason",
        "limit",
        "provider",
    )
    fields = dict.fromkeys(names, value) | {value: {value: [value]}}
    api.reader.add_event(challenge=CHALLENGE_ID, **fields)
    issued = dict.fromkeys(("tenant", "country", "purpose", "key_id", "client_ip"), value)
    api.reader.add_event(challenge=CHALLENGE_ID, **issued)
    api.reader.add_event(type="otp.sent", challenge=CHALLENGE_ID, provider=value, country=value)
    api.reader.add_event(type="otp.issue_denied", **issued, reason=value, limit=value, number=value)
    api.reader.add_event(
        type="otp.locked", **issued, reason="number_locked", number=value, number_suffix=value
    )

    for page in [
        await browser.get("/audit"),
        await browser.get(f"/audit/challenges/{CHALLENGE_ID}"),
        await browser.send("/audit/search", **search_for(reason=value)),
    ]:
        assert 200 == page.status_code
        assert value not in page.text
        for tag in ("<script", "<img", "<iframe", "</style>"):
            assert tag not in page.text


@pytest.mark.parametrize("value", ["a\nb", "\x1b[31m", "\u202eabc", "a\u2028b", "x" * 5000])
async def test_a_value_stays_on_its_line_and_in_its_direction(
    api: ApiHarness, browser, value
) -> None:
    """R70: control and bidi characters are shown as escapes, and long values are cut."""
    api.reader.add_event(client_ip=value, tenant=value)

    for page in [
        (await browser.get("/audit")).text,
        (await browser.send("/audit/search", **search_for())).text,
    ]:
        assert value not in page


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, {"a": {"b": 1}}, "x"])
async def test_a_forged_event_of_any_shape_is_shown(api: ApiHarness, browser, value) -> None:
    """It is marked as forged, and is not counted."""
    names = (
        "tenant",
        "challenge",
        "country",
        "number_suffix",
        "client_ip",
        "outcome",
        "folded",
    )
    api.reader.add_event(mac="forged", **dict.fromkeys(names, value))

    found = await browser.send("/audit/search", **search_for())
    last_day = await browser.get("/audit")

    assert "not ours" in found.text
    assert "1 event not written by this service" in last_day.text
    assert 'id="figure-issued">0<' in last_day.text


@pytest.mark.parametrize("folded", ["-5", "0", "1" + "0" * 400, "1e400", '"2"'])
async def test_a_forged_count_blinds_nobody(api: ApiHarness, browser, folded) -> None:
    """No MAC covers what Redis adds: a forged count could hide a flood, or break the page."""
    api.reader.add_event(type="otp.issue_denied", tenant="shop", country="GB", reason="a")
    stamp = f'{{"folded": {folded}}}'.encode()
    api.reader.add_event(
        type="otp.issue_denied", tenant="shop", country="GB", reason="a", stamp=stamp
    )

    page = await browser.get("/audit")

    assert 200 == page.status_code
    assert 'id="figure-refused">1<' in page.text
    assert "1 event not written by this service" in page.text


async def test_an_event_with_many_fields_fills_no_browser(api: ApiHarness, browser) -> None:
    """Each of the hundred events on a page may be as large as the archive accepts."""
    fields = {f"f{number}": number for number in range(2 * MAX_SESSIONS_PER_KEY)}
    api.reader.add_event(type="otp.issued", tenant="shop", **fields)

    page = await browser.send("/audit/search", **search_for())

    assert page.text.count("<dt>") < 200
    assert "fields that are not shown" in page.text


async def test_the_last_day_counts_authenticators_and_recovery_codes(
    api: ApiHarness, browser
) -> None:
    """In no figure of SMS; with the accounts that were refused most, by their pseudonyms."""
    about = {"tenant": "shop", "account": "1:9f8e7d6c"}
    for kind in ("authenticator.verified", "authenticator.rejected", "recovery.used"):
        api.reader.add_event(type=kind, **about)
    api.reader.add_event(type="recovery.locked", reason="account_locked", **about)

    page = (await browser.get("/audit")).text

    for kind in ("verified", "locked"):
        assert f'id="figure-{kind}">0<' in page
    assert "<tbody></tbody>" in "".join(page.partition('id="by-hour"')[2].split())
    (_, _, table) = page.partition('id="factors"')
    rows = {
        "authenticator": (0, 0, 1, 1, 0, 0, 0),
        "recovery": (0, 0, 1, 0, 0, 0, 1),
    }
    for name, counts in rows.items():
        cells = "".join(f'<td class="n">{count}</td>' for count in counts)
        assert f'<tr><th scope="row">{name}</th>{cells}</tr>' in table
    assert '>1:9f8e7d6c</button></th><td class="n">1</td>' in page
    assert "An account of shop is locked for recovery codes until an operator unlocks it." in page
