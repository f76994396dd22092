"""The example login in a real browser, with both frameworks: Debian's Chromium, without a window."""

import base64
import json
import time

import pyotp
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from examples.login.refusals import REFUSAL_TEXT
from tests.browser.page_wait import wait_until
from tests.examples.example_site import FRAMEWORKS, change_code, start_site
from tests.processes import run_dev


pytestmark = pytest.mark.slow

COOLDOWN_SECONDS = 2

FAKE_WEBOTP = """
window.OTPCredential = function () {};
const waiting = new Promise((resolve) => { window.receiveMessage = resolve; });
navigator.credentials.get = (options) => {
  window.askedFor = JSON.stringify(options.otp);
  return waiting;
};
"""
"""WebOTP as on a phone: `receiveMessage` gives the page a code."""


# Pages and script are the same files for both frameworks: one of them shows what they do.
once = pytest.mark.parametrize("site", FRAMEWORKS[:1], indirect=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Return `otp-service dev`; a user can ask for another code after two seconds."""
    folder = tmp_path_factory.mktemp("example")
    with run_dev(folder / "data", "--cooldown", str(COOLDOWN_SECONDS)) as service:
        yield service


@pytest.fixture(scope="module", params=FRAMEWORKS)
def site(request, service, tmp_path_factory):
    with start_site(request.param, service, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def page(driver, site):
    """Return the page of the login, without cookies and emulation."""
    site.reset_service()
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.get(f"{site.url}/login")
    driver.delete_all_cookies()
    driver.get(f"{site.url}/login")
    driver.get_log("browser")
    return LoginPage(driver, site)


class LoginPage:
    """The pages of the login as a person sees and uses them."""

    def __init__(self, driver, site):
        self.driver, self.site = driver, site

    def open_page(self, path):
        self.driver.get(self.site.url + path)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait_until(self, condition):
        """Wait until the condition holds, on a page that may be replaced in the meantime."""
        return wait_until(self.driver, condition)

    def wait_for_title(self, title):
        self.wait_until(lambda: self.find("h1")[0].text == title)

    def enter_password(self, name):
        self.find("#name")[0].send_keys(name)
        self.find("#password")[0].send_keys("worthless", Keys.ENTER)
        self.wait_until(lambda: self.find("#code"))

    def enter_code(self, code):
        """Type into the field that has the focus."""
        old = self.driver.switch_to.active_element
        assert "code" == old.get_attribute("id")
        old.send_keys(code, Keys.ENTER)

    def press_button(self, action):
        self.find(f'form[action="{action}"] button')[0].click()

    def log_out(self):
        self.press_button("/logout")
        self.wait_for_title("Log in")

    @property
    def session_id(self):
        cookies = {cookie["name"]: cookie["value"] for cookie in self.driver.get_cookies()}
        return cookies.get("session") or cookies.get("sessionid")

    @property
    def is_send_enabled(self):
        return self.find('form[action="/login/sms/send"] button')[0].is_enabled()

    @property
    def policy_breaches(self):
        """What the console says, without the statuses of refusals."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        return [text for text in messages if "Failed to load resource" not in text]


class App:
    """The app of a person: each code that it shows is of a step after the last one."""

    def __init__(self, secret):
        self._totp = pyotp.TOTP(secret)
        self._step = int(time.time()) // 30 - 1

    def show_code(self):
        self._step += 1
        return self._totp.generate_otp(self._step)


def test_a_person_logs_in_with_each_factor(page, site):
    """By SMS, then with an app and a recovery code that are set up in the same browser ("Done when")."""
    ids = [page.session_id]
    page.enter_password("bob")
    ids.append(page.session_id)
    page.enter_code(site.read_code("bob"))
    page.wait_for_title("You are logged in")
    ids.append(page.session_id)

    page.press_button("/account/app")
    page.wait_for_title("Set up an app")
    (picture,) = page.find("img.qr")
    page.wait_until(lambda: picture.get_property("naturalWidth"))
    app = App(page.find(".key")[0].text)
    page.enter_code(app.show_code())
    page.wait_for_title("You are logged in")
    page.press_button("/account/recovery-codes")
    page.wait_for_title("Your recovery codes")
    codes = [code.text for code in page.find(".codes code")]
    page.find("a.button")[0].click()
    page.wait_for_title("You are logged in")
    page.log_out()

    page.enter_password("bob")
    page.wait_for_title("Enter the code of your app")
    page.enter_code(app.show_code())
    page.wait_for_title("You are logged in")
    ids.append(page.session_id)
    page.log_out()

    page.enter_password("bob")
    page.find('a[href="/login/recovery"]')[0].click()
    page.wait_for_title("Enter a recovery code")
    page.enter_code(codes[3])
    page.wait_for_title("You are logged in")
    ids.append(page.session_id)

    assert "9 of 10 are left" in page.find("main")[0].text
    assert len(ids) == len(set(ids))
    assert [] == page.policy_breaches
    page.press_button("/account/app/remove")
    page.wait_until(lambda: not page.find('form[action="/account/app/remove"]'))
    page.log_out()


def test_a_refusal_is_next_to_the_field_that_has_the_focus(page, site):
    """A screen reader reads it as the description of the field (WCAG 2.2, 3.3.1)."""
    page.enter_password("alice")
    assert "one-time-code" == page.find("#code")[0].get_attribute("autocomplete")
    assert "numeric" == page.find("#code")[0].get_attribute("inputmode")
    assert "Code from the SMS" == page.find("label[for=code]")[0].text
    page.enter_code(change_code(site.read_code("alice")))

    (refusal,) = page.wait_until(lambda: page.find("#refusal"))
    field = page.driver.switch_to.active_element

    assert REFUSAL_TEXT == refusal.text
    assert "alert" == refusal.get_attribute("role")
    assert "refusal" in field.get_attribute("aria-describedby").split()
    assert "true" == field.get_attribute("aria-invalid")
    assert page.driver.title.startswith("Error: ")


@once
def test_the_next_code_can_be_asked_for_when_the_countdown_ends(page, site):
    """Only the end is announced, and not each second."""
    page.enter_password("alice")
    first = site.read_code("alice")
    assert not page.is_send_enabled
    assert "2 s" in page.find(".countdown .text")[0].text
    assert not page.find(".countdown .text [role], .countdown .text [aria-live]")

    page.wait_until(lambda: page.is_send_enabled)
    assert "You can ask for a new code now." == page.find(".countdown [role=status]")[0].text
    page.press_button("/login/sms/send")
    page.wait_until(lambda: site.read_code("alice") != first)
    page.wait_until(lambda: not page.is_send_enabled)
    page.enter_code(site.read_code("alice"))

    page.wait_for_title("You are logged in")


@once
def test_a_phone_that_has_read_the_message_logs_in(page, site, driver):
    """WebOTP: the code is filled in and sent, in the form that carries the token."""
    script = driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": FAKE_WEBOTP}
    )
    try:
        page.enter_password("alice")
        asked_for = page.wait_until(lambda: driver.execute_script("return window.askedFor"))
        assert {"transport": ["sms"]} == json.loads(asked_for)

        driver.execute_script("receiveMessage({code: arguments[0]})", site.read_code("alice"))
        page.wait_for_title("You are logged in")
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def is_refused(page):
    """Ask for another code, which is refused if it is within the cooldown: a busy machine may be too late."""
    if not page.find("#refusal"):
        page.press_button("/login/sms/send")
    return "You can try again in" in page.find("#refusal")[0].text


def test_everything_works_without_a_script(page, site, driver):
    """The server refuses what the countdown would have held back."""
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open_page("/login")
        page.enter_password("alice")
        page.wait_until(lambda: is_refused(page))
        time.sleep(COOLDOWN_SECONDS)  # the cooldown, whose clock is that of Redis
        page.press_button("/login/sms/send")
        page.wait_until(lambda: not page.find("#refusal"))
        page.enter_code(site.read_code("alice"))
        page.wait_for_title("You are logged in")
        page.log_out()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@once
def test_a_second_click_sends_nothing(page, driver):
    """The second answer would be a refusal, on a page that has logged in."""
    page.enter_password("alice")
    cancelled = driver.execute_script(
        """
        const form = document.querySelector('form[action="/login/sms"]');
        const send = () => form.dispatchEvent(new Event("submit", {bubbles: true, cancelable: true}));
        return [send(), send()].map((sent) => !sent);
        """
    )

    assert [False, True] == cancelled


@once
@pytest.mark.parametrize("screen", [(1280, "light"), (375, "dark")])
def test_no_page_exceeds_the_window(page, site, driver, tmp_path, screen):
    """The screenshots are kept."""
    width, scheme = screen
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def check_page(name):
        page.wait_until(lambda: driver.execute_script("return document.readyState") == "complete")
        shot = {"captureBeyondViewport": True}
        data = driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
        (tmp_path / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(data))
        assert width >= driver.execute_script("return document.documentElement.scrollWidth")

    check_page("login")
    page.enter_password("carol")
    check_page("sms")
    page.enter_code(change_code(site.read_code("carol")))
    page.wait_until(lambda: page.find("#refusal"))
    check_page("refusal")
    page.enter_code(site.read_code("carol"))
    page.wait_for_title("You are logged in")
    check_page("account")
    page.press_button("/account/app")
    page.wait_for_title("Set up an app")
    check_page("enrollment")
    page.open_page("/")
    page.press_button("/account/recovery-codes")
    page.wait_for_title("Your recovery codes")
    check_page("recovery-codes")
    assert [] == page.policy_breaches
