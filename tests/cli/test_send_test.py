"""`send-test`: the explanation of a provider's answer."""

import pytest

from tests.store import redis_servers


ONE = "+447400123456"


def test_an_accepted_message_is_reported_with_its_id(run_otp, config, gateway):
    """The text says that it is a test, and has no code."""
    ended = run_otp("send-test", ONE, "--config", config)

    assert (0, "") == (ended.exit_code, ended.err)
    assert "To +44********56, outside of limits and do-not-send list:" in ended.out
    assert " ms: accepted, id m-1." in ended.out
    (asked,) = gateway.messages
    assert ONE == asked["to"]
    assert asked["text"].startswith("Example: this is a test")
    assert not any(c.isdigit() for c in asked["text"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": "gone"}), "refused the number itself (gone). Nothing was sent"),
        (
            (401, {}),
            "refused the account, not this message (http-401). Nothing was sent. Credentials: see ",
        ),
        ((402, {}), "(http-402). Nothing was sent. No credit: pay"),
        ((403, {"error": "21408"}), "geo permission off: switch GB on in the account\n"),
        ((403, {"error": "21212"}), "wrong sender: the sender must belong to the account"),
        ((403, {"error": "9"}), "no credit, or the account is suspended or on trial\n"),
        (
            (403, {"error": "30029"}),
            "(30029). Nothing was sent. Message Redaction is not enabled for the account: ask ",
        ),
        ((429, {}), "too much at once (http-429). Nothing was sent: wait a little, and try again"),
        ((400, {"error": "7"}), "refused this message (7). Nothing was sent: look the code up"),
        ((500, {}), "no clear answer (http-500). It may have been sent"),
        ((200, {}), "no clear answer (no-message-id). It may have been sent"),
    ],
)
def test_a_refusal_is_explained_by_its_fault(run_otp, config, gateway, answer, said):
    """The explanation says what to do."""
    codes = 'code = "error"\nrecipient_codes = ["gone"]\n[routing]'
    config.write_text(config.read_text().replace("[routing]", codes))
    gateway.reply = answer

    ended = run_otp("send-test", ONE, "--config", config, "--provider", "gateway")

    assert 1 == ended.exit_code
    assert said in ended.out


def test_an_unreachable_provider_is_reported(run_otp, config, monkeypatch):
    """The message says that nothing was sent."""
    url = f"http://127.0.0.1:{redis_servers.find_free_port()}/"
    monkeypatch.setenv("OTP_PROVIDERS__GATEWAY__URL", url)

    ended = run_otp("send-test", ONE, "--config", config)

    assert 1 == ended.exit_code
    assert (
        "not reached (connect-error). Nothing was sent: see the address in providers.gateway"
        in ended.out
    )


def test_the_number_can_come_from_standard_input(run_otp, config, gateway):
    """Then the shell's history does not contain it."""
    assert 0 == run_otp("send-test", "--config", config, stdin=f"{ONE}\n").exit_code
    assert [ONE] == [asked["to"] for asked in gateway.messages]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["07400 123456"], "the number is invalid: write it in strict E.164 form"),
        ([], "the number is invalid"),
        (["+447700900123"], "the number is fictitious."),
        ([ONE, "--provider", "acme"], "routing.providers has no acme; it has gateway."),
        ([ONE, "--tenant", "bank"], "there is no tenant bank; there is shop."),
    ],
)
def test_what_cannot_be_sent_ends_in_a_sentence(run_otp, config, gateway, arguments, said):
    """Nothing is sent."""
    ended = run_otp("send-test", "--config", config, *arguments)

    assert 1 == ended.exit_code
    assert said in ended.err
    assert [] == gateway.messages
