"""An address that cannot be used is refused with what helps."""

import socket

import pytest

from otp_service.cli.command import CommandError
from otp_service.cli.listeners import bind_listener
from otp_service.cli.slot_listeners import PORT_ADVICE


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "This machine does not have the address."),
        ("no-such-host.invalid", "The name has no address here"),
    ],
)
def test_an_address_of_another_machine_is_told_from_one_in_use(host, words):
    """ "Stop the program that uses it" was the advice for every error."""
    with pytest.raises(CommandError) as refusal:
        bind_listener(host, 8000, advice=PORT_ADVICE)

    assert words in str(refusal.value)
    assert "stop that program" not in str(refusal.value)
    assert "service.host" in str(refusal.value)
    assert "OTP_SERVICE__PORT" in str(refusal.value)


def test_a_port_in_use_names_the_settings_and_no_flag():
    """`serve` has no flag for it."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(CommandError) as refusal:
        bind_listener("127.0.0.1", other.getsockname()[1], advice=PORT_ADVICE)

    assert "Another program uses it: stop that program." in str(refusal.value)
    assert "service.admin_host and service.admin_port" in str(refusal.value)
    assert "--" not in str(refusal.value)
