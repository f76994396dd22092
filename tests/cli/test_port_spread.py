"""How connections are spread over the sockets of one address."""

import contextlib
import itertools
import os
import random
import socket
import sys
from collections.abc import Iterator, Sequence

import pytest

from otp_service.cli.port_spread import PORT_CIRCLE, spread_by_port
from otp_service.cli.slot_listeners import SlotListeners


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")

FIRST_PORT = 32_768
"""The first port that Linux gives to clients."""

CLIENT_HOSTS = (
    f"127.{byte}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}" for byte in range(77, 255)
)
"""Each group of connections has an address of its own, so that all its ports are free."""


@contextlib.contextmanager
def listen(slots: int, host: str = "127.0.0.1", listening: int = 0) -> Iterator[SlotListeners]:
    """Yield the listeners as the workers use them; only `listening` of the slots, if given."""
    with contextlib.closing(SlotListeners(host, 0, slots)) as listeners:
        for slot in range(listening or slots):
            listeners[slot].listen(256)
            spread_by_port(listeners[slot], slots)
        yield listeners


def count_connections(
    listeners: SlotListeners, slots: int, ports: Sequence[int], host: str = ""
) -> list[int]:
    """Open a connection from each of these ports, and count what each slot accepts."""
    address, source = listeners[0].getsockname()[:2], host or next(CLIENT_HOSTS)
    if address[0] == "::":
        address = ("::1" if ":" in source else "127.0.0.1", address[1])
    counts = [0] * slots
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_connection(address, 5, (source, port)))
        for slot in range(slots):
            with contextlib.suppress(OSError):  # nothing is left, or it does not listen
                while True:
                    stack.enter_context(listeners[slot].accept()[0])
                    counts[slot] += 1
    return counts


@pytest.mark.parametrize("slots", [2, 4, 8, 16])
@pytest.mark.parametrize("step", [1, 2])
def test_successive_ports_are_spread_evenly(slots: int, step: int):
    ports = range(FIRST_PORT, FIRST_PORT + 16 * step, step)

    with listen(slots) as listeners:
        counts = count_connections(listeners, slots, ports)

    assert [16 // slots] * slots == counts


def test_connections_opened_at_once_are_spread_from_40_to_60_percent():
    """The ports ascend as Linux's do. With the hash of the kernel it is 7 or 8 trials of 10."""
    chance = random.Random(0)  # noqa: S311  # not for security
    even = 0
    with listen(2) as listeners:
        for _ in range(40):
            steps = (2 * chance.randint(1, 8) for _ in range(32))
            ports = list(itertools.accumulate(steps, initial=FIRST_PORT + 2 * chance.randrange(99)))
            counts = count_connections(listeners, 2, ports[:32])
            even += 13 <= counts[0] <= 19

    assert even >= 37


def test_the_share_of_each_slot_is_the_same_over_all_ports():
    """A client whose ports are random is not sent to one worker more than to another."""
    with listen(4) as listeners:
        counts = count_connections(listeners, 4, range(40_000, 40_000 + 4 * PORT_CIRCLE))

    assert [PORT_CIRCLE] * 4 == counts


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_ipv6_spreads_connections_of_both_versions(host: str):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    first = 20_000 if ":" in host else FIRST_PORT  # below the ports that Linux gives to others
    source = host if ":" in host else ""

    try:
        with listen(2, "::") as listeners:
            counts = count_connections(listeners, 2, range(first, first + 64, 2), source)
    except OSError as error:
        pytest.skip(f"no IPv6, or a used port: {error}")

    assert [16, 16] == counts


def test_connections_for_a_worker_that_does_not_serve_yet_go_to_the_others():
    with listen(4, listening=1) as listeners:
        counts = count_connections(listeners, 4, range(FIRST_PORT, FIRST_PORT + 64))

    assert [64, 0, 0, 0] == counts


def test_a_worker_that_listens_last_gets_its_share():
    with listen(2, listening=1) as listeners:
        listeners[1].listen(256)
        spread_by_port(listeners[1], 2)
        counts = count_connections(listeners, 2, range(FIRST_PORT, FIRST_PORT + 64))

    assert [32, 32] == counts


def test_the_successor_of_an_abandoned_queue_gets_its_share():
    with listen(2) as listeners:
        listeners.abandon_queue(0)
        listeners[0].listen(256)
        spread_by_port(listeners[0], 2)
        counts = count_connections(listeners, 2, range(FIRST_PORT, FIRST_PORT + 64))

    assert [32, 32] == counts


def test_more_slots_than_ports_of_the_circle_are_left_to_the_kernel():
    slots = PORT_CIRCLE + 8
    with listen(slots) as listeners:
        counts = count_connections(listeners, slots, range(FIRST_PORT, FIRST_PORT + 1024))

    assert 1024 == sum(counts)
    assert 0 not in counts
