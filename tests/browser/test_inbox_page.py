"""The inbox in a real browser: Debian's Chromium, without a window."""

import json
import re
import socket
import struct
import threading
import time
from datetime import UTC, datetime

import pytest
import uvicorn
from litestar import Litestar
from litestar.exceptions import ServiceUnavailableException
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from otp_service.api.inbox import create_inbox_handlers


ENGLISH = "Your Example code is {}. It is valid for 5 min. Do not share it."

pytestmark = pytest.mark.slow


class Inbox:
    """A server with nothing but the inbox, and the messages in it."""

    def __init__(self):
        self.messages = []
        self.is_away = False
        app = Litestar(create_inbox_handlers(self._read), logging_config=None, openapi_config=None)
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def receive(self, text, to="+447700900123"):
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.messages.insert(0, {"to": to, "text": text, "provider": "inbox", "at": at})

    def _read(self):
        if self.is_away:
            raise ServiceUnavailableException
        return list(self.messages)


class Page:
    """What a person sees of it and does with it."""

    def __init__(self, driver, origin):
        self.driver = driver
        self.origin = origin
        driver.get(f"{origin}/inbox")
        self.until(lambda: self.status == "Connected")

    def until(self, holds):
        WebDriverWait(self.driver, 10, poll_frequency=0.05).until(lambda _: holds())

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        return [element.get_property("textContent") for element in self.find(selector)]

    def receives(self, count):
        self.until(lambda: len(self.find("#list > li")) == count)

    def press(self, *keys):
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    @property
    def status(self):
        return self.texts("#live")[0]

    @property
    def focused(self):
        """The code of the message that has the focus."""
        return self.driver.execute_script(
            "return document.activeElement.closest('li')?.querySelector('.code').textContent"
        )

    @property
    def clipboard(self):
        return self.driver.execute_async_script(
            "const done = arguments[0]; navigator.clipboard.readText().then(done, done)"
        )

    @property
    def complaints(self):
        """What it wrote to the console; a breach of its policy is written there too."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @property
    def addresses(self):
        """Where it asked for anything."""
        entries = [json.loads(one["message"]) for one in self.driver.get_log("performance")]
        return {
            entry["message"]["params"]["request"]["url"]
            for entry in entries
            if entry["message"]["method"] == "Network.requestWillBeSent"
        }


@pytest.fixture
def inbox():
    """An empty inbox."""
    with Inbox() as inbox:
        yield inbox


@pytest.fixture
def page(driver, inbox):
    """The page of the inbox, on a wide and light screen; nothing of an earlier page is heard."""
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": permissions, "origin": inbox.origin}
    )
    page = Page(driver, inbox.origin)
    page.resize(1280, 860)
    page.prefer("light")
    return page


def test_messages_appear_by_themselves_newest_first(page, inbox):
    """Nobody has to reload, and the code stands out."""
    inbox.receive(ENGLISH.format("004213"))
    page.receives(1)
    inbox.receive(ENGLISH.format("918273") + "\n@example.com #918273", to="+33639981234")
    page.receives(2)

    assert ["+33639981234", "+447700900123"] == page.texts(".to")
    assert ["918273", "004213"] == page.texts(".code")
    assert all(re.fullmatch(r"\d{1,2}:\d\d\s[AP]M", time) for time in page.texts("time"))
    assert "polite" == page.find("#list")[0].get_attribute("aria-live")


def test_empty_inbox_shows_how_to_make_the_first_call(page, inbox):
    """It goes away with the first message, and comes back when the service has forgotten it."""
    (empty,) = page.find("#empty")
    assert empty.is_displayed()
    assert "curl -s http://127.0.0.1:8000/v1/challenges" in empty.text

    inbox.receive(ENGLISH.format("123456"))
    page.receives(1)
    assert not empty.is_displayed()

    inbox.messages.clear()
    page.receives(0)
    assert empty.is_displayed()


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'owned'</script>",
        "<img src=x onerror=\"document.title = 'owned'\">",
        "</p></li></ol><iframe src='https://example.com'></iframe>",
    ],
)
def test_markup_in_a_message_stays_text(page, inbox, text):
    """A brand or a provider must not be able to run anything here."""
    inbox.receive(text, to=text)
    page.receives(1)

    assert [text] == page.texts(".text")
    assert [text] == page.texts(".to")
    assert [] == page.find("li script, li img, iframe")
    assert "owned" not in page.driver.title
    assert [] == page.complaints


def test_code_is_copied_by_keyboard(page, inbox):
    """Tab to it and press Enter; what was done is said there, and the focus stays."""
    inbox.receive(ENGLISH.format("004213"))
    page.receives(1)

    page.press(Keys.TAB)
    assert "004213" == page.focused
    page.press(Keys.ENTER)

    page.until(lambda: page.texts("li button") == ["Copied"])
    assert "004213" == page.clipboard
    assert "004213" == page.focused


def test_message_that_arrives_takes_no_focus(page, inbox):
    """Who is about to press Copy presses what he was about to press."""
    inbox.receive(ENGLISH.format("111111"))
    page.receives(1)
    page.press(Keys.TAB)

    inbox.receive(ENGLISH.format("222222"), to="+33639981234")
    page.receives(2)

    assert "111111" == page.focused


def test_code_is_found_in_what_phones_would_find_it_in(page, inbox):
    """The last line says it for sure; a brand may have digits of its own."""
    inbox.receive("Your Route 661234 code is 987654. Valid 5 min.\n@example.com #987654")
    inbox.receive("您的Example验证码为0123456789。", to="+8613800138000")
    inbox.receive("There is none in this one.")
    page.receives(3)

    assert ["0123456789", "987654"] == page.texts(".code")
    assert 2 == len(page.find("li button"))


def test_same_message_twice_is_shown_twice(page, inbox):
    """And none of them again and again."""
    inbox.receive(ENGLISH.format("111111"))
    inbox.messages *= 2
    page.receives(2)
    time.sleep(2.2)

    assert 2 == len(page.find("#list > li"))


def test_lost_service_is_told_and_found_again(page, inbox):
    """What was there stays to be read."""
    inbox.receive(ENGLISH.format("111111"))
    page.receives(1)

    inbox.is_away = True
    page.until(lambda: page.status == "The service does not answer. Trying again…")
    assert 1 == len(page.find("#list > li"))

    inbox.is_away = False
    page.until(lambda: page.status == "Connected")


def test_nothing_is_asked_of_another_host_and_nothing_is_complained_of(page, inbox):
    """The policy fits the page, and the page needs nobody."""
    inbox.receive(ENGLISH.format("111111"))
    page.receives(1)
    page.find("li button")[0].click()
    page.until(lambda: page.clipboard == "111111")

    asked = {address for address in page.addresses if not address.startswith("data:")}
    assert {f"{inbox.origin}/inbox", f"{inbox.origin}/inbox.json"} == asked
    assert [] == page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [(1280, 860), (390, 844), (320, 640)])
def test_page_fits_every_screen(page, inbox, tmp_path, scheme, screen):
    """Nothing sticks out sideways, and the newest message is in sight; the picture is kept."""
    for number in range(30):
        inbox.receive(ENGLISH.format(f"{number * 34567:06d}"), to=f"+4477009001{number:02d}")
    inbox.receive("x" * 500 + " 12345678", to="+999999999999999")
    page.resize(*screen)
    page.prefer(scheme)
    page.receives(31)

    width, top = page.driver.execute_script(
        "return [document.documentElement.scrollWidth,"
        " document.querySelector('li').getBoundingClientRect().top]"
    )
    picture = tmp_path / "inbox.png"
    assert page.driver.save_screenshot(str(picture))
    assert screen == struct.unpack(">II", picture.read_bytes()[16:24])
    assert screen[0] >= width
    assert screen[1] > top
