"""The flow of the example login, with a client whose answers are set and a clock that tests advance."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import otp_service_client
from examples.login.account_settings import FRESH_SECONDS
from examples.login.login_flow import PENDING_SECONDS
from examples.login.login_site import LoginSite
from examples.login.refusals import OUTAGE_TEXT, REFUSAL_TEXT, LoginRequired, Refused
from otp_service_client import ChallengeExpired, OtpServiceError, ProblemError, RateLimited


IP = "203.0.113.9"

PERSON_PROBLEMS = {
    "incorrect-code",
    "malformed-code",
    "code-already-used",
    "challenge-expired",
    "challenge-locked",
    "challenge-canceled",
    "challenge-already-verified",
    "challenge-not-found",
    "invalid-phone-number",
    "number-not-allowed",
    "undeliverable",
    "number-locked",
    "account-locked",
    "sends-exhausted",
    "rate-limited",
}
"""What a person can cause, by docs/api-guide.md; the others are outages and defects."""

PROBLEM_CLASSES = [
    value
    for value in vars(otp_service_client).values()
    if isinstance(value, type) and issubclass(value, ProblemError) and value.slug
]


class FakeOtp:
    """Answers every call, and records it, unless an error is set."""

    def __init__(self):
        self.calls = []
        self.errors, self.hooks = {}, {}

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            if name in self.errors:
                raise self.errors[name]
            self.hooks.get(name, lambda: None)()
            return SimpleNamespace(
                id=f"c{len(self.calls)}",
                phone_number="+1********81",
                resend_at=datetime.fromtimestamp(1030, UTC),
                authenticator=f"a{len(self.calls)}",
                recovery_set=f"r{len(self.calls)}",
                codes=("code",) * 10,
                codes_left=9,
                secret="secret",
                uri="otpauth://totp/x",
                qr_svg="<svg/>",
            )

        return call

    @property
    def names(self):
        return [name for name, _, _ in self.calls]


class FakeSession:
    """A session in a dict."""

    def __init__(self):
        self.values, self.renewals = {}, 0

    def get(self, name):
        return self.values.get(name)

    def put(self, name, value):
        self.values[name] = value

    def renew(self, **values):
        self.values, self.renewals = values, self.renewals + 1


@pytest.fixture
def clock():
    return SimpleNamespace(now=1000)


@pytest.fixture
def otp():
    return FakeOtp()


@pytest.fixture
def site(otp, clock):
    return LoginSite(otp, lambda: clock.now)


@pytest.fixture
def session():
    return FakeSession()


def log_in(site, session):
    site.flow.start(session, "alice", "worthless", IP)
    site.flow.check_sms_code(session, "123456", IP)


def read_refusal(call, *arguments):
    """Return what a person reads: the page, the text, the status and the wait."""
    with pytest.raises(Refused) as caught:
        call(*arguments)
    refused = caught.value
    return refused.page, refused.text, refused.status, refused.wait_seconds


def test_every_problem_type_is_known():
    """A new one would otherwise be shown as an outage without a decision."""
    assert len(PROBLEM_CLASSES) > 30
    assert {each.slug for each in PROBLEM_CLASSES} >= PERSON_PROBLEMS


@pytest.mark.parametrize("problem", PROBLEM_CLASSES, ids=lambda each: each.slug)
def test_each_problem_has_one_of_two_texts(site, session, otp, problem):
    """One for what a person can cause, and one for outages and defects."""
    site.flow.start(session, "alice", "worthless", IP)
    otp.errors["verify_challenge"] = problem("detail")

    page, text, status, _ = read_refusal(site.flow.check_sms_code, session, "123456", IP)

    assert "sms.html" == page
    if problem.slug in PERSON_PROBLEMS:
        assert (REFUSAL_TEXT, 429 if problem is RateLimited else 422) == (text, status)
    else:
        assert (OUTAGE_TEXT, 503) == (text, status)
    assert session.get("account") is None


def test_a_lost_reply_is_an_outage(site, session, otp):
    site.flow.start(session, "alice", "worthless", IP)
    otp.errors["verify_challenge"] = OtpServiceError("lost")

    assert ("sms.html", OUTAGE_TEXT, 503, 0) == read_refusal(
        site.flow.check_sms_code, session, "123456", IP
    )


def test_the_wait_of_a_limit_is_shown(site, session, otp):
    site.flow.start(session, "alice", "worthless", IP)
    otp.errors["verify_challenge"] = RateLimited("detail", retry_after=187)

    assert 187 == read_refusal(site.flow.check_sms_code, session, "123456", IP)[3]


def test_a_code_is_bound_to_account_number_purpose_and_address(site, session, otp):
    """What the session says, and nothing of the request but the code."""
    log_in(site, session)

    bound = {"account": "u-81", "purpose": "login", "client_ip": IP}
    issue, verify = otp.calls
    assert ("issue_challenge", ("+12025550181",), bound) == issue
    bound["phone_number"] = "+12025550181"
    assert ("verify_challenge", ("c1", "123456"), bound) == verify


def test_a_resend_keeps_the_challenge_and_an_ended_one_is_replaced(site, session, otp):
    """The earlier code stays valid as long as its challenge is."""
    site.flow.start(session, "alice", "worthless", IP)
    site.flow.send_code(session, IP)
    otp.errors["resend_code"] = ChallengeExpired("detail")
    site.flow.send_code(session, IP)

    assert ["issue_challenge", "resend_code", "resend_code", "issue_challenge"] == otp.names
    assert "c4" == session.get("pending")["challenge"]


def test_no_message_is_sent_to_a_user_with_an_app(site, session, otp):
    log_in(site, session)
    site.account.begin_enrollment(session)
    site.account.confirm_enrollment(session, "123456")
    otp.calls.clear()

    assert "/login/app" == site.flow.start(session, "alice", "worthless", IP)
    assert [] == otp.names


def test_an_account_with_an_app_does_not_fall_back_to_sms(site, session, otp):
    """Also not with a challenge from before the app: who has the number has not the account."""
    early = FakeSession()
    site.flow.start(early, "alice", "worthless", IP)
    log_in(site, session)
    site.account.begin_enrollment(session)
    site.account.confirm_enrollment(session, "123456")
    otp.calls.clear()

    for refused in (
        read_refusal(site.flow.send_code, early, IP),
        read_refusal(site.flow.check_sms_code, early, "123456", IP),
    ):
        assert ("app.html", REFUSAL_TEXT, 422, 0) == refused
    assert [] == otp.names


def test_a_password_waits_ten_minutes_for_its_code(site, session, otp, clock):
    """After that the login starts again, and nothing is compared."""
    site.flow.start(session, "alice", "worthless", IP)
    clock.now += PENDING_SECONDS + 1

    for check in (
        site.flow.check_sms_code,
        site.flow.check_app_code,
        site.flow.check_recovery_code,
    ):
        with pytest.raises(LoginRequired):
            check(session, "123456", IP)

    assert ["issue_challenge"] == otp.names


def test_only_a_fresh_second_factor_changes_the_factors(site, session, otp, clock):
    """A session that was stolen later enrolls no authenticator of the thief."""
    log_in(site, session)
    clock.now += FRESH_SECONDS + 1
    otp.calls.clear()

    account = site.account
    for change in (
        account.begin_enrollment,
        account.get_enrollment,
        lambda each: account.confirm_enrollment(each, "123456"),
        account.remove_authenticator,
        account.create_recovery_codes,
    ):
        with pytest.raises(LoginRequired):
            change(session)

    assert [] == otp.names
    assert "alice" == site.flow.get_user(session).name
    assert not site.describe(session)["is_fresh"]


def test_a_pending_login_is_not_a_login(site, session):
    site.flow.start(session, "alice", "worthless", IP)

    with pytest.raises(LoginRequired):
        site.flow.get_user(session)


def test_the_returned_token_is_stored_before_the_login(site, session):
    """It may be sealed under a newer key, and leaves out the used recovery code."""
    log_in(site, session)
    site.account.create_recovery_codes(session)
    before = site.flow.get_user(session).recovery_set
    site.flow.start(session, "alice", "worthless", IP)
    site.flow.check_recovery_code(session, "AAAA-BBBB-CCCC-DDDD", IP)

    user = site.flow.get_user(session)
    assert before != user.recovery_set
    assert 9 == user.recovery_codes_left
    assert session.get("used_recovery_code")


@pytest.mark.parametrize("factor", ["authenticator", "recovery_code"])
def test_a_token_that_is_replaced_during_its_verify_does_not_return(site, session, otp, factor):
    """A user removes a lost app, or prints new codes, while another person uses the old ones."""
    log_in(site, session)
    site.account.begin_enrollment(session)
    site.account.confirm_enrollment(session, "123456")
    site.account.create_recovery_codes(session)
    other = FakeSession()
    site.flow.start(other, "alice", "worthless", IP)

    def replace_tokens():
        site.account.remove_authenticator(session)
        site.account.create_recovery_codes(session)

    otp.hooks[f"verify_{factor}"] = replace_tokens
    check = {"authenticator": site.flow.check_app_code}.get(factor, site.flow.check_recovery_code)
    assert REFUSAL_TEXT == read_refusal(check, other, "123456", IP)[1]

    user = site.flow.get_user(session)
    assert (None, 10) == (user.authenticator, user.recovery_codes_left)
    assert other.get("account") is None


def test_another_app_has_another_name(site, session, otp):
    """Apps replace an entry of the same name, also if the set-up is given up."""
    log_in(site, session)
    for _ in range(2):
        site.account.begin_enrollment(session)
        site.account.confirm_enrollment(session, "123456")

    names = [more["name"] for name, _, more in otp.calls if name == "create_authenticator"]
    assert 2 == len(set(names))
    assert "alice" == names[0]


def test_a_secret_leaves_the_session_when_it_is_confirmed(site, session):
    log_in(site, session)
    site.account.begin_enrollment(session)
    assert "secret" == session.get("enrollment")["secret"]

    site.account.confirm_enrollment(session, "123456")

    assert session.get("enrollment") is None


def test_what_a_user_has_not_set_up_is_refused_without_a_call(site, session, otp):
    site.flow.start(session, "alice", "worthless", IP)

    for check, page in (
        (site.flow.check_app_code, "app.html"),
        (site.flow.check_recovery_code, "recovery.html"),
    ):
        assert (page, REFUSAL_TEXT, 422, 0) == read_refusal(check, session, "123456", IP)
    assert ["issue_challenge"] == otp.names


def test_neither_number_nor_token_is_in_a_repr(site, session):
    log_in(site, session)
    site.account.create_recovery_codes(session)

    text = repr(site.flow.get_user(session))

    assert "2025550181" not in text
    assert "recovery_set" not in text
