"""The audit page in a real browser, on the admin listener of a running service."""

import json
import os
import signal
import struct
import time

import pytest
from selenium.webdriver.common.keys import Keys

from otp_service.audit.archive_format.key_files import create_key_files
from tests.browser.audit_page import AuditPage
from tests.processes import GatewayServer, run_service
from tests.store import redis_servers


VERIFIED_NUMBER, UNVERIFIED_NUMBER, BANK_NUMBER = "+447400123456", "+447400987654", "+447400555123"
VERIFIED_ACCOUNT = "person-4711"
MARKUP = "\"'></td></style><script>document.title='owned'</script><img src=x onerror=alert(1)>"

OPTED_OUT_NUMBER, OWN_NUMBER = "+447400444123", "447400999001"
INBOUND_TOKEN = "worthless-token-of-the-gateway"
INBOUND_SETTINGS = {
    "PROVIDERS__GATEWAY__INBOUND_TOKEN": INBOUND_TOKEN,
    "PROVIDERS__GATEWAY__INBOUND__SENDER": "from",
    "PROVIDERS__GATEWAY__INBOUND__TEXT": "text",
    "PROVIDERS__GATEWAY__INBOUND__RECEIVER": "to",
}

UNKNOWN_CHALLENGE_PATH = f"/challenges/c00-{'0' * 32}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Return a service with events of two tenants, an archive, and one verified challenge."""
    folder = tmp_path_factory.mktemp("scene")
    create_key_files(folder / "audit.pem")
    archive = {"AUDIT__ARCHIVE": str(folder / "archive"), "AUDIT__SEAL_SECONDS": "1"}
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(folder / "redis") as redis,
        run_service(
            folder / "service",
            redis,
            [gateway.url],
            workers=1,
            AUDIT__SIGNING_KEY=str(folder / "audit.pem"),
            **archive,
            **INBOUND_SETTINGS,
        ) as service,
    ):
        service.redis = redis
        service.challenge = issue_challenges(service, gateway)
        redis_servers.wait_until(lambda: has_seal(folder / "archive"), description="a seal")
        yield service


def issue_challenges(service, gateway) -> str:
    """Issue two challenges of shop, one verified after a wrong code, one refused, and one of bank."""
    issued = service.issue(VERIFIED_NUMBER, client_ip="203.0.113.9", account=VERIFIED_ACCOUNT)
    wrong = "000000" if gateway.find_code(VERIFIED_NUMBER) != "000000" else "000001"
    assert 422 == service.verify(issued, wrong).status
    assert 200 == service.verify(issued, gateway.find_code(VERIFIED_NUMBER)).status
    assert 429 == service.issue(VERIFIED_NUMBER, client_ip="203.0.113.9").status
    assert 201 == service.issue(UNVERIFIED_NUMBER).status
    assert 201 == service.issue(BANK_NUMBER, by="bank").status
    opt_out(service)
    return str(issued.json["id"])


def opt_out(service) -> None:
    """Let a person ask for help, opt out, and ask for a code again, which is refused."""
    assert 201 == service.issue(OPTED_OUT_NUMBER).status
    for token, text, status in (
        (INBOUND_TOKEN, "HELP", 204),
        (INBOUND_TOKEN, "Stop!", 204),
        ("wrong", "START", 401),
    ):
        body = {"from": OPTED_OUT_NUMBER, "to": OWN_NUMBER, "text": text}
        path = f"/v1/inbound/gateway?token={token}"
        assert status == service.send_request("POST", path, body=body).status
    assert 422 == service.issue(OPTED_OUT_NUMBER).status


def has_seal(archive) -> bool:
    return any(b'{"seal":' in path.read_bytes() for path in archive.glob("*/*.jsonl"))


@pytest.fixture
def page(driver, service):
    """Return the page without a session, and with empty logs."""
    page = AuditPage(driver, service)
    page.open_page("/audit/login")
    driver.delete_all_cookies()
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    return page


def test_login_and_logout_work_with_the_keyboard_alone(page):
    """The form has the focus; on every page the first key leads to the skip link."""
    page.open_page("/audit")
    assert "/audit/login" == page.path
    assert "key" == page.focused_element.get_attribute("id")
    page.press(page.service.keys["security"], Keys.ENTER)
    page.wait_until(lambda: page.path == "/audit")

    page.press(Keys.TAB)
    assert "Skip to the content" == page.focused_element.text
    assert page.focused_element.is_displayed()
    page.press(Keys.ENTER)
    assert "main" == page.focused_element.get_attribute("id")
    page.open_page("/audit")
    page.press(*[Keys.TAB] * 5)
    assert "Log out" == page.focused_element.text
    page.press(Keys.ENTER)

    page.wait_until(lambda: page.path == "/audit/login")
    page.open_page("/audit")
    assert "/audit/login" == page.path
    assert [] == page.console_messages


def test_the_last_day_shows_the_numbers_of_all_tenants(page):
    """Those of the issued challenges; the plots have the same values."""
    page.log_in()

    assert (4, 1, 2) == tuple(map(page.read_figure, ("issued", "verified", "refused")))
    assert {"shop", "bank"} == set(page.list_texts("section[aria-labelledby=Tenant] tbody th"))
    assert ["GB"] == page.list_texts("section[aria-labelledby=Country] tbody th")
    assert ["gateway"] == page.list_texts("section[aria-labelledby=Provider] tbody th")
    assert 3 == len(page.find(".big rect"))
    assert "203.0.113.9" in page.main_text
    assert [] == page.console_messages


def test_a_tenants_key_sees_its_tenant_only(page):
    """R55: it sees its own numbers and events, and no challenge of another tenant."""
    page.log_in("bank")

    assert (1, 0, 0) == tuple(map(page.read_figure, ("issued", "verified", "refused")))
    assert "shop" not in page.driver.page_source.replace("otp-service", "")
    page.search(number=VERIFIED_NUMBER, reason="Ticket 1")
    assert "0 events of this number" == page.list_texts("#found")[0]
    page.search(client_ip="203.0.113.9")
    assert "0 events" == page.list_texts("#found")[0]
    page.open_page(f"/audit/challenges/{page.service.challenge}")
    assert "There is no event of this challenge" in page.main_text


def test_a_number_is_found_and_leads_to_the_timeline_of_its_challenge(page):
    """R58: no URL, no history entry and no log line contains the number; the lookup is an event."""
    page.log_in()
    page.search(number=VERIFIED_NUMBER, reason="Ticket 4711")

    kinds = page.list_texts(".events summary")
    assert {"otp.issued", "otp.rejected", "otp.verified", "otp.issue_denied"} <= set(kinds)
    page.find(f"td[data-name=Challenge] a[title='{page.service.challenge}']")[0].click()
    page.wait_until(lambda: page.find(".story"))
    assert f"/audit/challenges/{page.service.challenge}" == page.path
    assert "issued" in page.list_texts(".story li")[0]
    assert page.list_texts(".verdict")[0].startswith("Verified ")

    (lookup,) = page.service.fetch_events(type="audit.lookup")[:1]
    assert ("Ticket 4711", "first", "56") == (
        lookup["reason"],
        lookup["key_id"],
        lookup["number_suffix"],
    )
    digits = VERIFIED_NUMBER[1:]
    assert not any(digits in address for address in page.requested_urls)
    assert digits not in page.service.log.read_text()
    assert [] == page.console_messages


def test_the_last_day_leads_to_people_who_opted_out_and_to_what_was_refused(page):
    """The number leads from the person to the answers: a search by number finds all of them."""
    page.log_in()
    (row,) = page.find("#answers tbody tr")
    assert ["gateway", OWN_NUMBER, "1", "0", "1", "0"] == row.text.split()[1:]

    page.find("button.link[form=find-answers]")[0].click()
    page.wait_until(lambda: page.find("#found"))
    assert ["number.opted_out", "number.help_requested"] == page.list_texts(".events summary")
    page.open_page()
    page.find("button[form=find-refused]")[0].click()
    page.wait_until(lambda: page.find("#found"))
    assert ["otp.issue_denied"] == page.list_texts(".events summary")
    page.search(number=OPTED_OUT_NUMBER, reason="Ticket 4713")

    types = {"number.opted_out", "number.help_requested", "otp.issue_denied", "otp.issued"}
    assert types <= set(page.list_texts(".events summary"))
    assert f"to {OWN_NUMBER}" in page.main_text
    assert OPTED_OUT_NUMBER not in page.driver.page_source.replace(
        f'value="{OPTED_OUT_NUMBER}"', ""
    )
    assert [] == page.console_messages


def test_a_heading_is_smaller_than_that_of_its_section(page):
    """Otherwise a table of a section looks like the next section."""
    page.log_in()

    section, inner = page.driver.execute_script(
        "const section = document.querySelector('section:has(> #opt-outs)');"
        "section.append(document.createElement('h3'));"  # as with messages that had no effect
        "return ['h2', 'h3'].map((name) => getComputedStyle(section.querySelector(name)).fontSize)"
        ".map(parseFloat)"
    )

    assert section > inner


def test_an_account_is_found_and_its_name_is_in_no_url(page):
    """R58, R69: the lookup is an event with the account's pseudonym."""
    page.log_in()
    page.search(account=VERIFIED_ACCOUNT, reason="Ticket 4712")

    assert {"otp.issued", "otp.rejected", "otp.verified"} <= set(page.list_texts(".events summary"))
    assert page.list_texts("#found")[0].endswith("events of this account")
    (lookup,) = page.service.fetch_events(type="audit.lookup")[:1]
    assert ("Ticket 4712", "first") == (lookup["reason"], lookup["key_id"])
    assert "number" not in lookup
    assert lookup["account"] in page.driver.page_source
    assert not any(VERIFIED_ACCOUNT in address for address in page.requested_urls)
    assert VERIFIED_ACCOUNT not in page.service.log.read_text()
    assert f'value="{VERIFIED_ACCOUNT}"' in page.driver.page_source  # its field alone
    assert [] == page.console_messages


def test_the_cookie_is_inaccessible_and_contains_no_key(page):
    """SameSite Strict, for this host, for an hour; loopback needs no TLS."""
    page.log_in()
    (cookie,) = page.driver.get_cookies()

    assert ("Strict", True, "/") == (cookie["sameSite"], cookie["httpOnly"], cookie["path"])
    assert 3500 < cookie["expiry"] - time.time() <= 3601
    assert page.service.keys["security"] not in cookie["value"]
    assert "" == page.driver.execute_script("return document.cookie")
    assert {} == page.driver.execute_script("return {...localStorage, ...sessionStorage}")

    page.driver.delete_all_cookies()
    page.open_page("/audit/search")
    assert "/audit/login" == page.path


@pytest.mark.parametrize(
    ("key", "message"), [("", "unknown or has expired"), ("shop", "the scope audit")]
)
def test_an_invalid_key_gets_an_alert_with_the_remedy(page, key, message):
    """The alert has its ARIA role, and the field is marked as invalid."""
    page.open_page("/audit/login")
    page.press(page.service.keys.get(key, "wrong"), Keys.ENTER)
    page.wait_until(lambda: page.find("[role=alert]"))

    assert message in page.list_texts("[role=alert]")[0]
    assert "true" == page.focused_element.get_attribute("aria-invalid")
    assert [] == page.driver.get_cookies()


def test_the_archive_is_verified_by_a_button(page):
    """And the page of the last day shows the verified extent."""
    page.log_in()
    page.open_page("/audit/archive")
    page.wait_until(lambda: page.find("main form") or page.driver.refresh())
    page.find("main form button")[0].click()
    page.wait_until(lambda: page.list_texts(".tag.right") == ["sound"] or page.driver.refresh())

    assert "up to seal" in page.list_texts(".state")[0]
    assert [] == page.console_messages


def test_markup_that_was_written_to_redis_stays_text(page):
    """R70: on every page; even otherwise the policy would run nothing of it."""
    page.log_in()
    fields_with_markup = (
        "tenant",
        "purpose",
        "country",
        "number_suffix",
        "client_ip",
        "reason",
        "provider",
        "key_id",
    )
    forged = {
        "type": MARKUP,
        "challenge": page.service.challenge,
        **dict.fromkeys(fields_with_markup, MARKUP),
    }
    slot = f"{{{page.service.challenge[1:3]}}}"
    with redis_servers.open_client(page.service.redis) as client:
        last, sequence = map(int, client.hmget(f"{slot}:log", "ms", "seq"))
        fields = {"event": json.dumps(forged), "mac": MARKUP, "epoch": "0"}
        client.xadd(f"{slot}:events", fields, id=f"{last}-{sequence + 1}")

    page.open_page(f"/audit/challenges/{page.service.challenge}")
    assert MARKUP in page.main_text
    page.search()
    assert MARKUP in page.main_text
    page.open_page("/audit")

    assert "owned" not in page.driver.title
    assert [] == page.find("main script, main img, main style")
    assert [] == page.console_messages


@pytest.mark.parametrize(
    ("screen", "scheme"), [((1280, 900), "light"), ((375, 800), "dark")], ids=["wide", "narrow"]
)
def test_every_page_fits_every_screen(page, tmp_path, screen, scheme):
    """Nothing exceeds the width; the screenshots are kept."""
    size = {"width": screen[0], "height": screen[1], "deviceScaleFactor": 1}
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"mobile": screen[0] < 600}
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.log_in()

    for path in (
        "",
        "/search",
        "/archive",
        f"/challenges/{page.service.challenge}",
        UNKNOWN_CHALLENGE_PATH,
    ):
        page.open_page(f"/audit{path}")
        screenshot = tmp_path / f"{path[1:7] or 'last-day'}.png"
        assert page.driver.save_screenshot(str(screenshot))
        assert screen == struct.unpack(">II", screenshot.read_bytes()[16:24])
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert screen[0] >= width


def test_a_revoked_key_ends_its_sessions(page):
    """SIGHUP: the admin listener reloads the keys and ends every session."""
    page.log_in("bank")
    config = page.service.log.parent / "otp.toml"
    text = config.read_text()
    changed = text.replace('scopes = ["challenges", "deliver", "audit"]', 'scopes = ["challenges"]')
    assert changed != text
    config.write_text(changed)

    os.kill(page.service.process.pid, signal.SIGHUP)

    def is_logged_out():
        page.open_page("/audit")
        return page.path == "/audit/login"

    page.wait_until(is_logged_out)
    page.press(page.service.keys["bank"], Keys.ENTER)
    page.wait_until(lambda: page.find("[role=alert]"))
    assert "the scope audit" in page.list_texts("[role=alert]")[0]
