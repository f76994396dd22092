"""What is read from a day that was played: shares, messages, money, and minutes to recover."""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from bench.simulation import parameters as p
from bench.simulation.episodes import LOUD, Episode, Kind
from bench.simulation.people import Phone
from bench.simulation.play import Story
from bench.simulation.world import World
from otp_service.core.delivery import billed


WINDOW = 30
"""Logins in a row, of one country and with phones that can be reached."""
BACK = 0.95
"""Of the share before: from there on it counts as recovered."""
HARMLESS = (Kind.SLOW,)


class Measures(msgspec.Struct, frozen=True):
    """One day under one policy."""

    delivered: float
    """Share of logins whose code came while somebody waited for it."""
    messages: float
    """Per login, as the service charges them: accepted, or perhaps sent."""
    sent: float
    """Per login, those that really went out."""
    cents: float
    """Per login, for those that went out."""
    after_loud: float
    """Mean minutes from the start of an outage that shows in replies until recovered."""
    after_hidden: float
    """The same for outages in which everything is accepted."""


def measure(world: World, stories: Sequence[Story]) -> Measures:
    """Return what this day was like."""
    logins = len(stories)
    return Measures(
        delivered=share(stories),
        messages=sum(billed(story.submissions) for story in stories) / logins,
        sent=sum(story.sent for story in stories) / logins,
        cents=sum(story.cents for story in stories) / logins,
        after_loud=_mean(recoveries(world, stories, LOUD)) / 60,
        after_hidden=_mean(recoveries(world, stories, (Kind.HIDDEN,))) / 60,
    )


def share(stories: Collection[Story]) -> float:
    """Return which share of these was delivered."""
    return _mean([float(story.arrived is not None) for story in stories])


def reachable(world: World) -> float:
    """Return the share that no policy can pass: numbers that can be reached at all."""
    return _mean([float(login.phone is Phone.ALIVE) for login in world.logins])


def recoveries(
    world: World, stories: Sequence[Story], kinds: Collection[Kind]
) -> tuple[float, ...]:
    """Return the seconds that each of these outages took, in each country that it was felt in.

    Only where it hit the favourite, which is what all policies have in common.
    """
    return tuple(
        seconds
        for country, favourite in ((name, c.route[0].provider) for name, c in p.COUNTRIES.items())
        for seconds in _recoveries(
            [
                episode
                for episode in world.episodes
                if episode.concerns(country) and episode.kind not in HARMLESS
            ],
            [
                story
                for story in stories
                if story.login.country == country and story.login.phone is Phone.ALIVE
            ],
            kinds,
            favourite,
        )
    )


def _recoveries(
    episodes: Sequence[Episode], stories: Sequence[Story], kinds: Collection[Kind], favourite: str
) -> Iterator[float]:
    """Yield them for one country: its bad times and those of its people who can be reached."""
    before = share(
        [
            story
            for story in stories
            if not any(episode.lasts_at(story.login.at) for episode in episodes)
        ]
    )
    for episode in episodes:
        if episode.provider == favourite and episode.kind in kinds:
            since = [story for story in stories if story.login.at >= episode.start]
            yield recovery(episode.start, since, before)


def recovery(start: float, since: Sequence[Story], before: float) -> float:
    """Return the seconds from the start until the first window that is as good as before, nearly.

    `since` are the logins from the start on. Nothing if the first window is good; until the end of
    the day if none is.
    """
    good = [story.arrived is not None for story in since]
    for first in range(len(good) - WINDOW + 1):
        if sum(good[first : first + WINDOW]) >= BACK * before * WINDOW:
            return since[first].login.at - start if first else 0.0
    return p.DAY - start


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
