"""Faults between the hosts and the store: connections break, freeze, are slow, or are cut off."""

from functools import partial
from typing import Final

from tests.simulation.faults.injector import FaultInjector
from tests.simulation.history import FaultKind
from tests.simulation.kernel.link import Link


MAX_GATHER_MS: Final = 400
"""Less than the time-out of a command, so that those that wait are in flight when the link breaks."""

MAX_FREEZE_MS: Final = 3_000
MAX_SLOW_MS: Final = 10_000


def cut_link(faults: FaultInjector) -> None:
    """Break every connection of a host, with what is in flight."""
    if link := _pick_link(faults):
        link.cut()
        faults.record_instant(FaultKind.LINK_CUT, str(link))


def cut_busy_link(faults: FaultInjector) -> None:
    """Let commands and replies gather on their way for a moment, and lose a part of them."""
    if link := _pick_link(faults):

        def end() -> None:
            link.cut()
            link.thaw()
            faults.record_instant(FaultKind.LINK_CUT, str(link))

        faults.begin(FaultKind.LINK_FROZEN, str(link), link.freeze, end, longest_ms=MAX_GATHER_MS)


def freeze_link(faults: FaultInjector) -> None:
    """Let nothing arrive for a while."""
    if link := _pick_link(faults):
        faults.begin(
            FaultKind.LINK_FROZEN, str(link), link.freeze, link.thaw, longest_ms=MAX_FREEZE_MS
        )


def freeze_replies(faults: FaultInjector) -> None:
    """Let commands have their effect for a while without a reply."""
    if link := _pick_link(faults):
        faults.begin(
            FaultKind.LINK_FROZEN,
            f"replies of {link}",
            link.freeze_replies,
            link.thaw_replies,
            longest_ms=MAX_FREEZE_MS,
        )


def slow_link(faults: FaultInjector) -> None:
    """Let everything arrive later for a while."""
    if link := _pick_link(faults):
        seconds = 0.4 * faults.chance.draw_fraction()
        start, end = partial(link.slow, seconds), partial(link.hasten, seconds)
        faults.begin(FaultKind.LINK_SLOW, str(link), start, end, longest_ms=MAX_SLOW_MS)


def cut_off_host(faults: FaultInjector) -> None:
    """Let nothing pass between a host and the store, in silence."""
    network, store = faults.network, faults.redis.address.host
    host = faults.chance.pick([*faults.world.installation.hosts])
    faults.begin(
        FaultKind.PARTITION,
        f"{host} {store}",
        partial(network.partition, host, store),
        partial(network.heal, host, store),
        longest_ms=MAX_SLOW_MS,
    )


def _pick_link(faults: FaultInjector) -> Link | None:
    links = faults.network.list_links(server=faults.redis.address.host)
    return faults.chance.pick(links) if links else None
