"""The first day of an attack on the audit page, in a real browser (F1).

There are a few logins, a guesser, pumping, a phished login, calls with wrong keys, and no event of the
day before.
"""

import base64
import csv
import json
from pathlib import Path

import pytest

from tests.browser.audit_page import AuditPage
from tests.processes import GatewayServer, delete_cooldowns, run_service, send_request
from tests.store import redis_servers


VICTIM, PHISHED, PUMPED_PREFIX = "+447400123456", "+447400223456", "+44740032"
HOME, PROXY, GUESSER = "203.0.113.9", "198.51.100.7", "192.0.2.66"
PUMPED_SENDS, WRONG_KEYS, WRONG_CODES = 24, 12, 10

FIND_CUT_ELEMENTS = """
const isScrolled = (element) => element.closest('.scroll, .story') !== null;
return [...document.querySelectorAll('main *')].filter((element) => {
  const box = element.getBoundingClientRect();
  const isShown = box.width > 1 && element.checkVisibility() && !element.closest('.away, .skip');
  return isShown && !isScrolled(element) && (box.right > innerWidth + 1 || box.left < -1);
}).map((element) => element.outerHTML.slice(0, 120));
"""
"""The visible elements that exceed the window, beside those in a box that scrolls by itself."""

OPEN_DETAILS = """
for (const details of [...document.querySelectorAll('main details:not([open])')].slice(0, 3))
  details.open = true;
"""

FLUSH_SOON = "import otp_service.app.application as app\napp.HOUSEKEEPING_INTERVAL_SECONDS = 1.0\n"
"""Workers append the counts of wrong keys once a minute; here once a second."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Return a service after the attack."""
    folder = tmp_path_factory.mktemp("attack")
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(folder / "redis") as redis,
        run_service(
            folder / "service", redis, [gateway.url], workers=1, sitecustomize=FLUSH_SOON
        ) as service,
    ):
        Attack(service, gateway, redis).run()
        redis_servers.wait_until(
            lambda: WRONG_KEYS == count_wrong_keys(service),
            interval_seconds=0.5,
            description="all wrong keys",
        )
        yield service


def count_wrong_keys(service):
    """Return how many calls the log counts, which the worker may tell in more than one event."""
    return sum(event["count"] for event in service.fetch_events(type="access.denied"))


class Attack:
    """A few logins, and four attacks."""

    def __init__(self, service, gateway, redis):
        self.service, self.gateway, self.redis = service, gateway, redis

    def run(self):
        for i in range(3):
            self._log_in(f"+4474004{i}3456", HOME, HOME)
        for _ in range(2):
            self._guess()
            delete_cooldowns(self.redis)
        self._pump()
        self._log_in(PHISHED, HOME, PROXY)
        for i in range(WRONG_KEYS):
            send_request(self.service.port, "GET", "/v1/challenges/c00", key=f"wrong-{i}")

    def _log_in(self, number, issued_for, verified_from):
        issued = self.service.issue(number, client_ip=issued_for)
        code = self.gateway.find_code(number)
        assert 200 == self.service.verify(issued, code, client_ip=verified_from).status

    def _guess(self):
        issued = self.service.issue(VICTIM, client_ip=GUESSER)
        code = int(self.gateway.find_code(VICTIM))
        for i in range(1, 6):
            wrong = f"{(code + i) % 1_000_000:06}"
            self.service.verify(issued, wrong, client_ip=GUESSER)

    def _pump(self):
        """The back end cancels each challenge: one that can still be entered is not judged yet."""
        for i in range(PUMPED_SENDS):
            issued = self.service.issue(f"{PUMPED_PREFIX}{3000 + i}")
            assert (
                204
                == self.service.send_request("DELETE", f"/v1/challenges/{issued.json['id']}").status
            )


@pytest.fixture
def page(driver, service):
    """Return the page after the login of the security team, without emulation."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page = AuditPage(driver, service)
    page.open_page("/audit")
    if page.path != "/audit":  # the session of an earlier test goes on
        page.log_in()
    driver.get_log("browser")
    return page


def find_finding(page, word):
    """Return the finding whose sentence has this word."""
    (finding,) = [one for one in page.find(".finding") if word in one.text]
    return finding


@pytest.mark.parametrize(
    ("word", "count", "type_"),
    [
        ("were wrong for", WRONG_CODES, "otp.rejected"),
        ("out of attempts", 2, "otp.locked"),
        ("came back", PUMPED_SENDS, "otp.issued"),
        ("another client IP", 1, "otp.verified"),
        ("no valid key", None, "access.denied"),
    ],
)
def test_each_attack_is_an_alarm_that_leads_to_its_events_in_one_click(page, word, count, type_):
    """Within one view: the alarms are the first section of the page that opens after the login."""
    finding = find_finding(page, word)
    assert "ALARM" in finding.text.upper()
    assert "What to do:" in finding.text

    finding.find_element("css selector", "button").click()
    page.wait_until(lambda: page.find("#found"))

    assert {type_} == set(page.list_texts(".events summary"))
    if count:
        assert count == len(page.find(".events tbody tr"))
    assert "/audit/search" == page.path
    assert [] == page.console_messages


def test_the_alarms_are_the_first_section_and_the_missing_baseline_is_stated(page):
    """Nothing is called normal that cannot be compared yet."""
    assert "looks" == page.find("main section")[0].get_attribute("aria-labelledby")
    assert 5 == len(page.find(".finding.alarm"))
    assert "No baseline yet" in page.list_texts("#baseline")[0]


def test_from_an_offender_to_its_events_and_on_to_the_phished_login(page):
    """F3: pseudonyms, client IPs and challenges are links; none of them is in a URL."""
    numbers = page.find("section[aria-labelledby=numbers] button.link")
    pseudonym = numbers[0].get_attribute("value")
    numbers[0].click()
    page.wait_until(lambda: page.find("#found"))
    assert pseudonym == page.find("#pseudonym")[0].get_attribute("value")
    ips = {button.text for button in page.find("td[data-name='Client IP'] button")}
    assert {GUESSER} == ips

    page.find("td[data-name='Client IP'] button")[0].click()
    page.wait_until(lambda: page.find(f"#client_ip[value='{GUESSER}']"))
    page.search(client_ip_changed="another")
    (link,) = page.find("td[data-name=Challenge] a")
    link.click()
    page.wait_until(lambda: page.find(".story"))

    assert f"issued for {HOME} and verified from {PROXY}" in page.list_texts(".verdict")[0]
    secrets = (pseudonym, HOME, PROXY, GUESSER)
    assert not any(secret in url for url in page.requested_urls for secret in secrets)


def test_what_a_search_shows_is_downloaded_without_a_script(page, tmp_path):
    """As CSV and as JSON, with the same events."""
    behavior = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.driver.execute_cdp_cmd("Page.setDownloadBehavior", behavior)
    find_finding(page, "were wrong for").find_element("css selector", "button").click()
    page.wait_until(lambda: page.find(".files button"))
    shown = page.list_texts("td[data-name='Event id']")

    for button in page.find(".files button"):
        button.click()
    page.wait_until(lambda: {".csv", ".json"} == {file.suffix for file in tmp_path.iterdir()})

    files: dict[str, Path] = {file.suffix: file for file in tmp_path.iterdir()}
    rows = list(csv.DictReader(files[".csv"].read_text().splitlines()))
    assert shown == [row["event_id"] for row in rows]
    assert shown == [one["event_id"] for one in json.loads(files[".json"].read_text())["events"]]
    assert [] == page.console_messages


@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_no_page_is_cut_off_or_scrolls_to_the_side(page, tmp_path, width, scheme):
    """F5: at 375 px the events are cards, and other tables scroll inside their own box."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    challenge = next(e["challenge"] for e in page.service.fetch_events() if "challenge" in e)

    for name, open_it in {
        "last day": lambda: page.open_page("/audit"),
        "results": lambda: page.search(client_ip=GUESSER),
        "errors": lambda: page.search(number="07400", client_ip="x"),
        "challenge": lambda: page.open_page(f"/audit/challenges/{challenge}"),
        "archive": lambda: page.open_page("/audit/archive"),
    }.items():
        open_it()
        page.driver.execute_script(OPEN_DETAILS)
        save_screenshot(page, tmp_path / f"{name}-{scheme}-{width}.png")
        assert width >= page.driver.execute_script("return document.documentElement.scrollWidth")
        assert [] == page.driver.execute_script(FIND_CUT_ELEMENTS)


def save_screenshot(page, path):
    """Save the whole page."""
    shot = {"captureBeyondViewport": True}
    data = page.driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
    path.write_bytes(base64.b64decode(data))
