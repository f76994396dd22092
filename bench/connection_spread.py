"""`python -m bench.connection_spread`: how connections that are opened at once spread over the workers.

It listens as the workers do, and counts what each socket accepts. Each trial has sockets of its own.
"""

import argparse
import contextlib
import socket
import statistics
import sys
from collections.abc import Iterator

import msgspec

from otp_service.cli.port_spread import spread_by_port
from otp_service.cli.slot_listeners import SlotListeners


EVEN_SHARE = (0.8, 1.2)
"""Of an even share: 40 to 60 % for two workers."""


class Spread(msgspec.Struct, frozen=True):
    """The connections of each worker, in each trial."""

    counts: list[list[int]]

    def count_even_trials(self) -> float:
        """Return the part of the trials in which every worker has an even share, nearly."""
        low, high = EVEN_SHARE
        is_even = (
            all(low <= count * len(each) / sum(each) <= high for count in each)
            for each in self.counts
        )
        return statistics.mean(is_even)

    def list_largest_shares(self) -> list[float]:
        """Return the share of the worker with most connections, in each trial."""
        return [max(each) / sum(each) for each in self.counts]


def measure_spread(slots: int, connections: int, trials: int, *, by_port: bool) -> Spread:
    """Open this many connections at once in each trial, with the program of the service or without."""
    return Spread([_count_connections(slots, connections, by_port=by_port) for _ in range(trials)])


def _count_connections(slots: int, connections: int, *, by_port: bool) -> list[int]:
    counts = [0] * slots
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(contextlib.closing(SlotListeners("127.0.0.1", 0, slots)))
        for slot in range(slots):
            listeners[slot].listen(connections)
            if by_port:
                spread_by_port(listeners[slot], slots)
        address = listeners[0].getsockname()
        for _ in range(connections):
            stack.enter_context(socket.create_connection(address))
        for slot in range(slots):
            with contextlib.suppress(BlockingIOError):
                while True:
                    stack.enter_context(listeners[slot].accept()[0])
                    counts[slot] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.connection_spread", description=__doc__)
    parser.add_argument("--trials", type=int, default=300, help="trials of each row (300)")
    parser.add_argument("--connections", type=int, default=32, help="opened at once (32)")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4], help="processes (2 4)")
    args = parser.parse_args()
    sys.stdout.writelines(
        f"{line}\n" for line in format_table(args.workers, args.connections, args.trials)
    )
    return 0


def format_table(workers: list[int], connections: int, trials: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{connections} connections opened at once, {trials} trials of each row"
    yield f"{'':<36}{'within 20 % of even':>20}{'largest share: median':>24}{'highest':>10}"
    for slots in workers:
        for name, by_port in (("hash of the kernel", False), ("by port", True)):
            spread = measure_spread(slots, connections, trials, by_port=by_port)
            largest = spread.list_largest_shares()
            yield (
                f"{f'{slots} workers, {name}':<36}{spread.count_even_trials():>20.0%}"
                f"{statistics.median(largest):>24.0%}{max(largest):>10.0%}"
            )


if __name__ == "__main__":
    sys.exit(main())
