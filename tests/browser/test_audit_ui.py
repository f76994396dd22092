"""The page of the security team in a real browser, on the admin listener of a service that runs."""

import json
import os
import signal
import struct
import time

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from otp_service.audit.archive_format.key_files import create_key_files
from tests.processes import GatewayServer, run_service
from tests.store import redis_servers


ONE, OTHER, BANKS = "+447400123456", "+447400987654", "+447400555123"
MARKUP = "\"'></td></style><script>document.title='owned'</script><img src=x onerror=alert(1)>"

NOTHING = f"/challenges/c00-{'0' * 32}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A service that has told of two tenants: Redis, its processes, and one verified challenge."""
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
        ) as service,
    ):
        service.redis = redis
        service.challenge = _script(service, gateway)
        redis_servers.wait_until(lambda: _is_sealed(folder / "archive"), description="a seal")
        yield service


def _script(service, gateway) -> str:
    """Two issues of shop, one verified after a wrong code, one refused; one issue of bank."""
    issued = service.issue(ONE, client_ip="203.0.113.9")
    wrong = "000000" if gateway.find_code(ONE) != "000000" else "000001"
    assert 422 == service.verify(issued, wrong).status
    assert 200 == service.verify(issued, gateway.find_code(ONE)).status
    assert 429 == service.issue(ONE, client_ip="203.0.113.9").status
    assert 201 == service.issue(OTHER).status
    assert 201 == service.issue(BANKS, by="bank").status
    return str(issued.json["id"])


def _is_sealed(archive) -> bool:
    return any(b'{"seal":' in path.read_bytes() for path in archive.glob("*/*.jsonl"))


class Page:
    """What a person sees of it and does with it."""

    def __init__(self, driver, service):
        self.driver = driver
        self.service = service
        self.origin = f"http://127.0.0.1:{service.admin_port}"

    def go(self, path="/audit"):
        self.driver.get(self.origin + path)

    def press(self, *keys):
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def log_in(self, key="security"):
        self.go("/audit/login")
        self.press(self.service.keys[key], Keys.ENTER)
        self.until(lambda: self.path == "/audit")

    def search(self, **fields):
        self.go("/audit/search")
        for name, text in fields.items():
            self.find(f"#{name}")[0].send_keys(text)
        self.find("form.fields button")[0].click()
        self.until(lambda: self.find("#found, .alert"))

    def until(self, holds):
        """Wait for it; the page that is looked at may be going meanwhile."""
        stale = [StaleElementReferenceException]
        waiting = WebDriverWait(self.driver, 20, poll_frequency=0.05, ignored_exceptions=stale)
        waiting.until(lambda _: holds())

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        return [element.get_property("textContent").strip() for element in self.find(selector)]

    def figure(self, kind):
        return int(self.texts(f"#figure-{kind}")[0])

    @property
    def path(self):
        return self.driver.current_url.removeprefix(self.origin)

    @property
    def main(self):
        return self.texts("main")[0]

    @property
    def focused(self):
        return self.driver.switch_to.active_element

    @property
    def complaints(self):
        """What stands on the console; a breach of the policy does."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @property
    def addresses(self):
        """Where the browser asked for anything."""
        entries = [json.loads(one["message"])["message"] for one in self._performance()]
        asked = [one for one in entries if one["method"] == "Network.requestWillBeSent"]
        return {one["params"]["request"]["url"] for one in asked}

    def _performance(self):
        return self.driver.get_log("performance")


@pytest.fixture
def page(driver, scene):
    """Nobody has logged in yet, and nothing of an earlier page is heard."""
    page = Page(driver, scene)
    page.go("/audit/login")
    driver.delete_all_cookies()
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    return page


def test_somebody_logs_in_and_out_with_the_keyboard_alone(page):
    """The form has the focus; the first key on every page leads past the navigation."""
    page.go("/audit")
    assert "/audit/login" == page.path
    assert "key" == page.focused.get_attribute("id")
    page.press(page.service.keys["security"], Keys.ENTER)
    page.until(lambda: page.path == "/audit")

    page.press(Keys.TAB)
    assert "Skip to the content" == page.focused.text
    assert page.focused.is_displayed()
    page.press(Keys.ENTER)
    assert "main" == page.focused.get_attribute("id")
    page.go("/audit")
    page.press(*[Keys.TAB] * 5)
    assert "Log out" == page.focused.text
    page.press(Keys.ENTER)

    page.until(lambda: page.path == "/audit/login")
    page.go("/audit")
    assert "/audit/login" == page.path
    assert [] == page.complaints


def test_today_is_told_in_numbers(page):
    """Those of the script, of all tenants; the plots hold the same."""
    page.log_in()

    assert (3, 1, 1) == tuple(map(page.figure, ("issued", "verified", "refused")))
    assert {"shop", "bank"} == set(page.texts("section[aria-labelledby=Tenant] tbody th"))
    assert ["GB"] == page.texts("section[aria-labelledby=Country] tbody th")
    assert ["gateway"] == page.texts("section[aria-labelledby=Provider] tbody th")
    assert 3 == len(page.find(".big rect"))
    assert "203.0.113.9" in page.main
    assert [] == page.complaints


def test_a_tenants_key_sees_its_tenant_only(page):
    """R55: its numbers, its events, and no challenge of anybody else."""
    page.log_in("bank")

    assert (1, 0, 0) == tuple(map(page.figure, ("issued", "verified", "refused")))
    assert "shop" not in page.driver.page_source.replace("otp-service", "")
    page.search(number=ONE, reason="Ticket 1")
    assert "0 events of this number" == page.texts("#found")[0]
    page.search(address="203.0.113.9")
    assert "0 events" == page.texts("#found")[0]
    page.go(f"/audit/challenges/{page.service.challenge}")
    assert "There is no event of this challenge" in page.main


def test_a_number_is_found_and_leads_to_its_challenges_story(page):
    """R58: the number stands in no address, no history and no log; the lookup is an event."""
    page.log_in()
    page.search(number=ONE, reason="Ticket 4711")

    kinds = page.texts(".events summary")
    assert {"otp.issued", "otp.rejected", "otp.verified", "otp.issue_denied"} <= set(kinds)
    page.find(f"a[title='{page.service.challenge}']")[0].click()
    page.until(lambda: page.find(".story"))
    assert f"/audit/challenges/{page.service.challenge}" == page.path
    assert "issued" in page.texts(".story li")[0]
    assert page.texts(".verdict")[0].startswith("Verified ")

    (looked,) = page.service.fetch_events(type="audit.lookup")[:1]
    assert ("Ticket 4711", "first", "56") == (
        looked["reason"],
        looked["key_id"],
        looked["number_suffix"],
    )
    digits = ONE[1:]
    assert not any(digits in address for address in page.addresses)
    assert digits not in page.service.log.read_text()
    assert [] == page.complaints


def test_the_cookie_is_out_of_reach_and_no_key(page):
    """Strict, for this host, for an hour; this machine needs no TLS."""
    page.log_in()
    (cookie,) = page.driver.get_cookies()

    assert ("Strict", True, "/") == (cookie["sameSite"], cookie["httpOnly"], cookie["path"])
    assert 3500 < cookie["expiry"] - time.time() <= 3601
    assert page.service.keys["security"] not in cookie["value"]
    assert "" == page.driver.execute_script("return document.cookie")
    assert {} == page.driver.execute_script("return {...localStorage, ...sessionStorage}")

    page.driver.delete_all_cookies()
    page.go("/audit/search")
    assert "/audit/login" == page.path


@pytest.mark.parametrize(
    ("key", "says"), [("", "unknown or has expired"), ("shop", "the scope audit")]
)
def test_a_key_that_may_not_is_told_what_to_do(page, key, says):
    """As an alert, and with the field marked."""
    page.go("/audit/login")
    page.press(page.service.keys.get(key, "wrong"), Keys.ENTER)
    page.until(lambda: page.find("[role=alert]"))

    assert says in page.texts("[role=alert]")[0]
    assert "true" == page.focused.get_attribute("aria-invalid")
    assert [] == page.driver.get_cookies()


def test_the_archive_is_verified_by_a_button(page):
    """And today's page says up to when."""
    page.log_in()
    page.go("/audit/archive")
    page.until(lambda: page.find("main form") or page.driver.refresh())
    page.find("main form button")[0].click()
    page.until(lambda: page.texts(".tag.right") == ["sound"] or page.driver.refresh())

    assert "up to seal" in page.texts(".state")[0]
    assert [] == page.complaints


def test_markup_that_somebody_has_put_into_redis_stays_text(page):
    """R70: on every page; and if it did not, the policy would run nothing of it."""
    page.log_in()
    names = (
        "tenant",
        "purpose",
        "country",
        "number_suffix",
        "client_address",
        "reason",
        "provider",
        "key_id",
    )
    forged = {"type": MARKUP, "challenge": page.service.challenge, **dict.fromkeys(names, MARKUP)}
    slot = f"{{{page.service.challenge[1:3]}}}"
    with redis_servers.open_client(page.service.redis) as client:
        last, sequence = map(int, client.hmget(f"{slot}:log", "ms", "seq"))
        fields = {"event": json.dumps(forged), "mac": MARKUP, "epoch": "0"}
        client.xadd(f"{slot}:events", fields, id=f"{last}-{sequence + 1}")

    page.go(f"/audit/challenges/{page.service.challenge}")
    assert MARKUP in page.main
    page.search()
    assert MARKUP in page.main
    page.go("/audit")

    assert "owned" not in page.driver.title
    assert [] == page.find("main script, main img, main style")
    assert [] == page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [(1280, 900), (400, 800)])
def test_every_page_fits_every_screen(page, tmp_path, scheme, screen):
    """Nothing sticks out sideways; the pictures are kept."""
    size = {"width": screen[0], "height": screen[1], "deviceScaleFactor": 1}
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"mobile": screen[0] < 600}
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.log_in()

    for name in ("", "/search", "/archive", f"/challenges/{page.service.challenge}", NOTHING):
        page.go(f"/audit{name}")
        picture = tmp_path / f"{name[1:7] or 'today'}.png"
        assert page.driver.save_screenshot(str(picture))
        assert screen == struct.unpack(">II", picture.read_bytes()[16:24])
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert screen[0] >= width


def test_a_key_that_is_taken_away_lets_nobody_in_any_more(page):
    """SIGHUP: the admin listener takes the keys that are in force then, and forgets who was in."""
    page.log_in("bank")
    config = page.service.log.parent / "otp.toml"
    text = config.read_text()
    changed = text.replace('scopes = ["challenges", "audit"]', 'scopes = ["challenges"]')
    assert changed != text
    config.write_text(changed)

    os.kill(page.service.process.pid, signal.SIGHUP)

    def is_out():
        page.go("/audit")
        return page.path == "/audit/login"

    page.until(is_out)
    page.press(page.service.keys["bank"], Keys.ENTER)
    page.until(lambda: page.find("[role=alert]"))
    assert "the scope audit" in page.texts("[role=alert]")[0]
