"""The example login as its users and their attackers see it, with both frameworks."""

import re
import time

import pyotp
import pytest

from examples.login.fastapi_app import forms, pages
from examples.login.refusals import OLD_FORM_TEXT, OUTAGE_TEXT, PASSWORD_TEXT, REFUSAL_TEXT
from tests.examples.example_site import change_code, get_text


pytestmark = pytest.mark.slow

POST_PATHS = (
    "/login",
    "/login/sms",
    "/login/sms/send",
    "/login/app",
    "/login/recovery",
    "/logout",
    "/account/app",
    "/account/app/confirm",
    "/account/app/remove",
    "/account/recovery-codes",
)
"""Every path that takes a form."""

PERIOD_SECONDS = 30


class App:
    """The user's app: each code that it shows is of a step after the last one."""

    def __init__(self, secret):
        self._totp = pyotp.TOTP(secret)
        self._step = int(time.time()) // PERIOD_SECONDS - 1

    def show_code(self):
        self._step += 1
        return self._totp.generate_otp(self._step - 1)


# ------------------------------------------------------------------------------------- the three ways


def test_a_user_logs_in_with_a_code_by_sms(visitor, site):
    """The page shows no more of the number than its end."""
    page = visitor.enter_password("alice")
    assert "ends in <b>81</b>" in page.text
    assert "+12025550181" not in page.text

    visitor.submit("/login/sms", code=site.read_code("alice"))

    assert "You are logged in" == visitor.title
    assert visitor.page.url.path == "/"


def test_a_user_sets_up_an_app_and_logs_in_with_it(visitor, site):
    """No message is sent then. The code that confirmed does not log in."""
    visitor.log_in("bob")
    visitor.submit("/account/app")
    app = App(visitor.find(r'class="key">(\w+)<'))
    confirming = app.show_code()
    visitor.submit("/account/app/confirm", code=change_code(confirming))
    assert REFUSAL_TEXT == visitor.refusal
    visitor.submit("/account/app/confirm", code=confirming)
    assert "It is set up." in visitor.page.text
    visitor.submit("/logout")
    site.reset_service()

    visitor.enter_password("bob")
    assert visitor.page.url.path == "/login/app"
    visitor.submit("/login/app", code=confirming)
    assert REFUSAL_TEXT == visitor.refusal
    visitor.submit("/login/app", code=app.show_code())

    assert "You are logged in" == visitor.title
    assert [] == site.service.fetch_inbox()

    visitor.submit("/account/app/remove")
    visitor.submit("/logout")
    visitor.enter_password("bob")
    assert visitor.page.url.path == "/login/sms"


def test_a_user_creates_recovery_codes_and_logs_in_with_one(visitor):
    """They are shown once, and each works once; the page then advises what to do about a lost phone."""
    visitor.log_in("carol")
    visitor.submit("/account/recovery-codes")
    codes = re.findall(r"<li><code>([\w-]+)</code></li>", visitor.page.text)
    assert 10 == len(codes)
    visitor.open_page("/")
    assert codes[0] not in visitor.page.text
    visitor.submit("/logout")

    visitor.enter_password("carol")
    visitor.open_page("/login/recovery")
    visitor.submit("/login/recovery", code=codes[0].lower().replace("-", " "))

    assert "You are logged in" == visitor.title
    assert "9 of 10 are left" in visitor.page.text
    assert "If your phone is lost" in visitor.page.text

    visitor.submit("/logout")
    visitor.enter_password("carol")
    visitor.open_page("/login/recovery")
    visitor.submit("/login/recovery", code=codes[0])
    assert REFUSAL_TEXT == visitor.refusal


# ------------------------------------------------------------------------------------------- refusals


def test_every_refused_code_gets_the_same_page(visitor, site):
    """Its bytes do not depend on the reason: a guesser learns nothing. Nor does the status (R22)."""
    visitor.enter_password("alice")
    right = site.read_code("alice")

    answers = {
        "wrong": visitor.submit("/login/sms", code=change_code(right)),
        "malformed": visitor.submit("/login/sms", code="12"),
        "empty": visitor.submit("/login/sms", code=""),
        "of other digits": visitor.submit("/login/sms", code="１２３４５６"),
        "unprintable": visitor.submit("/login/sms", code="\x00\ud7ff"),
        "too long": visitor.submit("/login/sms", code="1" * 1000),
    }
    for attempt in range(2, 6):
        answers[f"wrong {attempt}"] = visitor.submit("/login/sms", code=change_code(right, attempt))
    answers["locked"] = visitor.submit("/login/sms", code=right)
    site.reset_service()
    answers["unknown to the service"] = visitor.submit("/login/sms", code=right)

    assert {422} == {answer.status_code for answer in answers.values()}
    assert 1 == len({get_text(answer) for answer in answers.values()})
    assert REFUSAL_TEXT == visitor.refusal
    assert not visitor.is_logged_in()


def test_a_used_code_gets_the_page_of_a_wrong_one(visitor, other_visitor, site):
    """The session that used it is logged in, and any other one is refused."""
    visitor.enter_password("alice")
    code = site.read_code("alice")
    time.sleep(1.1)  # the cooldown, whose clock is that of Redis
    other_visitor.enter_password("alice")
    visitor.submit("/login/sms", code=code)
    assert visitor.is_logged_in()

    used = other_visitor.submit("/login/sms", code=code)

    assert 422 == used.status_code
    assert REFUSAL_TEXT == other_visitor.refusal


def test_after_too_many_wrong_codes_a_new_one_leads_on(visitor, site):
    """The session forgets the locked challenge when the user asks for a new code."""
    visitor.enter_password("alice")
    right = site.read_code("alice")
    for attempt in range(1, 6):
        visitor.submit("/login/sms", code=change_code(right, attempt))
    time.sleep(1.1)  # the cooldown, whose clock is that of Redis

    visitor.submit("/login/sms/send")
    assert "/login/sms" == visitor.page.url.path
    assert "" == visitor.refusal
    visitor.submit("/login/sms", code=site.read_code("alice"))

    assert "You are logged in" == visitor.title


def test_both_codes_work_after_a_resend(visitor, site):
    """Messages arrive late: the first one is still valid."""
    visitor.enter_password("alice")
    first = site.read_code("alice")
    time.sleep(1.1)  # the cooldown, whose clock is that of Redis
    visitor.submit("/login/sms/send")
    assert 2 == len(site.service.fetch_inbox())

    visitor.submit("/login/sms", code=first)

    assert "You are logged in" == visitor.title


def test_a_code_that_is_asked_for_too_early_shows_how_long_to_wait(visitor, other_visitor):
    """The wait is that of Retry-After, also without a script. The password is not asked for again."""
    other_visitor.enter_password("alice")
    refused = visitor.enter_password("alice")

    assert 429 == refused.status_code
    assert "1" == refused.headers["retry-after"]
    assert REFUSAL_TEXT == visitor.refusal
    assert "You can try again in" in refused.text
    assert ["1 s"] == re.findall(r'<span class="left">(.*?)</span>', refused.text)
    time.sleep(1.1)  # the wait, which is what is tested
    visitor.submit("/login/sms/send")
    assert "ends in <b>81</b>" in visitor.page.text


@pytest.mark.parametrize(
    ("name", "status", "text"), [("dave", 422, REFUSAL_TEXT), ("erin", 503, OUTAGE_TEXT)]
)
def test_a_message_that_cannot_be_sent_is_a_refusal_or_an_outage(visitor, name, status, text):
    """A number that no provider reaches, and providers that fail. The password is not asked for again."""
    page = visitor.enter_password(name)
    assert (status, text) == (page.status_code, visitor.refusal)

    again = visitor.submit("/login/sms/send")

    assert again.status_code in {status, 429}
    assert not visitor.is_logged_in()


@pytest.mark.parametrize("login", [("alice", "wrong"), ("mallory", "worthless"), ("", "")])
def test_a_wrong_name_gets_the_page_of_a_wrong_password(visitor, site, login):
    """And no message is sent."""
    visitor.submit("/login", name=login[0], password=login[1])

    assert (422, PASSWORD_TEXT) == (visitor.page.status_code, visitor.refusal)
    assert [] == site.service.fetch_inbox()


# ------------------------------------------------------------------------------------------- attacks


def test_the_code_of_another_session_does_not_log_in(visitor, other_visitor, site):
    """The id of a challenge is in the session of its user, and in no request."""
    visitor.enter_password("alice")
    other_visitor.enter_password("bob")

    other_visitor.submit("/login/sms", code=site.read_code("alice"))

    assert REFUSAL_TEXT == other_visitor.refusal
    assert not other_visitor.is_logged_in()
    assert "" == visitor.find(r"\b(c\d\d-[0-9a-f]{32})\b")


def test_the_session_id_changes_with_the_password_and_with_the_code(visitor, site):
    """Session fixation: an earlier id, which may have been planted or seen, opens nothing."""
    before = visitor.session_id
    visitor.enter_password("alice")
    pending = visitor.session_id
    visitor.submit("/login/sms", code=site.read_code("alice"))
    logged_in = visitor.session_id
    assert visitor.is_logged_in()

    assert 3 == len({before, pending, logged_in})
    for old in (before, pending):
        visitor.take_session(old)
        assert not visitor.is_logged_in()
    visitor.take_session(logged_in)
    assert visitor.is_logged_in()


def test_a_logout_ends_the_session_on_the_server(visitor):
    """A copy of the cookie opens nothing."""
    visitor.log_in("alice")
    copied = visitor.session_id
    visitor.submit("/logout")

    visitor.take_session(copied)

    assert not visitor.is_logged_in()


def test_an_id_that_the_site_did_not_make_is_replaced_at_the_login(visitor, other_visitor):
    planted = "p" * 32
    visitor.take_session(planted)
    visitor.log_in("alice")
    assert visitor.is_logged_in()

    other_visitor.take_session(planted)

    assert not other_visitor.is_logged_in()


def test_a_form_without_the_token_of_its_session_is_refused(visitor, other_visitor, site):
    """CSRF: another site can send a form with the user's cookies, and cannot read the token."""
    visitor.log_in("alice")
    messages = site.service.fetch_inbox()
    other_token = dict(re.findall(r'name="(\w+)" value="([^"]*)"', other_visitor.page.text))

    fields = {"name": "bob", "password": "worthless", "code": "123456"}
    answers = {
        (path, bool(token)): visitor.http.post(path, data=fields | token)
        for path in POST_PATHS
        for token in ({}, other_token)
    }

    assert {403} == {answer.status_code for answer in answers.values()}, answers
    assert all(OLD_FORM_TEXT in answer.text for answer in answers.values())
    assert visitor.is_logged_in()
    assert messages == site.service.fetch_inbox()


def test_every_path_that_takes_a_form_is_tested():
    """So that a new one cannot be without its token."""
    assert set(POST_PATHS) == {route.path for route in forms.routes}
    assert {("GET",)} == {tuple(route.methods) for route in pages.routes}


@pytest.mark.parametrize(
    "path", ["/", "/account/app", "/login/sms", "/login/app", "/login/recovery"]
)
def test_a_page_without_its_proof_leads_to_the_login(visitor, path):
    visitor.open_page(path)

    assert "Log in" == visitor.title


def test_a_right_password_alone_opens_nothing(visitor):
    visitor.enter_password("alice")

    for path in ("/", "/account/app"):
        answer = visitor.http.get(path, follow_redirects=False)
        assert ("/login", True) == (answer.headers["location"], answer.is_redirect)


@pytest.mark.parametrize("query", ["?next=//evil.example", "?next=https://evil.example/login"])
def test_no_redirect_leads_to_another_site(visitor, site, query):
    """No part of a request becomes an address."""
    visitor.http.follow_redirects = False
    visitor.open_page(f"/login{query}")
    locations = []
    visitor.submit("/login", name="alice", password="worthless", next="//evil.example")
    locations.append(visitor.page.headers["location"])
    visitor.open_page("/login/sms")
    visitor.submit("/login/sms", code=site.read_code("alice"), next="//evil.example")
    locations.append(visitor.page.headers["location"])

    assert ["/login/sms", "/"] == locations


def test_a_path_with_a_slash_at_its_end_is_not_redirected(visitor):
    """A framework would take the address of the redirect from the request."""
    assert 404 == visitor.http.get("/login/", follow_redirects=False).status_code


def test_text_that_is_no_unicode_is_refused_like_any_other(visitor):
    """A lone surrogate, by a charset of the sender's choice."""
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', visitor.page.text))
    header = {"Content-Type": "multipart/form-data; boundary=b; charset=unicode_escape"}
    statuses = []
    for form in (
        fields | {"name": "alice", "password": "\\ud800"},
        dict.fromkeys(fields, "\\ud800"),
    ):
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in form.items()
        ]
        answer = visitor.http.post("/login", content="".join(parts) + "--b--\r\n", headers=header)
        statuses.append(answer.status_code)

    assert [422, 403] == statuses


def test_another_host_is_refused(visitor):
    """A page that links to itself by the Host could be made to link elsewhere."""
    answer = visitor.http.get("/login", headers={"Host": "evil.example"})

    assert 400 == answer.status_code


# ----------------------------------------------------------------------------------------- what leaves


@pytest.mark.parametrize("path", ["/login", "/", "/missing"])
def test_every_page_has_the_security_headers(visitor, path):
    headers = visitor.open_page(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "no-store" == headers["cache-control"]
    assert "nosniff" == headers["x-content-type-options"]
    assert "same-origin" == headers["referrer-policy"]


def test_no_page_has_an_inline_script_or_style(visitor, site):
    """The policy would refuse it."""
    visitor.enter_password("alice")
    pages = [visitor.page, visitor.submit("/login/sms", code=site.read_code("alice"))]

    for page in pages:
        assert ["/static/login.js"] == re.findall(r'<script src="(.*?)" defer></script>', page.text)
        assert 1 == page.text.count("<script")
        assert not re.search(r"<style|\son\w+=|\sstyle=", page.text)


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(visitor):
    cookies = []
    visitor.http.event_hooks["response"].append(
        lambda response: cookies.extend(response.headers.get_list("set-cookie"))
    )
    visitor.enter_password("alice")

    assert cookies
    for cookie in cookies:
        assert "httponly" in cookie.lower()
        assert "samesite=lax" in cookie.lower()
        assert "path=/" in cookie.lower()
        assert "domain" not in cookie.lower()


def test_the_service_knows_the_address_and_the_account_of_the_user(visitor, site):
    """So that its limits for each of them apply."""
    visitor.log_in("alice")

    verified, issued = [
        event
        for event in site.service.send_request("GET", "/v1/audit/events", by="dev").json["events"]
        if event["type"] in {"otp.verified", "otp.issued"}
    ][:2]
    assert "otp.verified" == verified["type"]
    for event in (issued, verified):
        assert "127.0.0.1" == event["client_ip"]
        assert "login" == event["purpose"]
        assert event["account"]


def test_the_log_has_neither_codes_nor_phone_numbers(visitor, site):
    visitor.enter_password("alice")
    code = site.read_code("alice")
    visitor.submit("/login/sms", code=change_code(code))
    visitor.enter_password("erin")

    log = site.log.read_text()
    assert "otp-service failed: 502 delivery-failed" in log
    for secret in (code, change_code(code), "+12025550181", "+19895550192", "555019"):
        assert secret not in log
