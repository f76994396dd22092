"""Plays one day under one policy: people ask, the router walks, receipts come, people verify.

Everything happens at its own time, so that a policy learns of a timeout when it is over and of a
receipt when it comes.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bench.simulation import parameters as p
from bench.simulation.gateways import Fate, Gateways
from bench.simulation.people import Login
from bench.simulation.policies import Exchange, News, Policy, Request
from bench.simulation.world import World
from otp_service.core.delivery import About, Accepted, Fault, Refused, Reply, Submission
from otp_service.sms.router import DEADLINE, MOST_SUBMISSIONS


CUT_OFF = Refused(Fault.UNKNOWN, "deadline", about=About.SILENCE)


class Story(msgspec.Struct):
    """What became of one login."""

    login: Login
    submissions: list[Submission] = []
    providers: list[str] = []
    """As they were tried; one that has not answered yet is here and not in `submissions`."""
    cents: float = 0.0
    sent: int = 0
    """Messages that went out."""
    sends: int = 0
    arrived: float | None = None
    """When the first code came, if somebody was still waiting."""
    verified: float | None = None
    was_sent_again: bool = False
    """After a receipt, which happens once."""


class Walk(msgspec.Struct, frozen=True):
    """One send on its way through the providers."""

    story: Story
    request: Request
    order: Sequence[str]
    nth: int
    """The number of this send among those of its login, from 1."""
    made: list[Exchange] = []


class Day:
    """One day under one policy."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._policy = policy
        self._gateways = Gateways(world)
        self._stories = [Story(login) for login in world.logins]
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ties = itertools.count()

    def play(self) -> list[Story]:
        """Return what became of everybody."""
        for story in self._stories:
            self._plan(story.login.at, self._ask, story)
        while self._agenda:
            at, _, happens, about = heapq.heappop(self._agenda)
            happens(at, *about)
        return self._stories

    def _plan(self, at: float, happens: Callable[..., None], *about: object) -> None:
        heapq.heappush(self._agenda, (at, next(self._ties), happens, about))

    # People.

    def _ask(self, at: float, story: Story) -> None:
        login = story.login
        if login.resends_after is not None:
            self._plan(at + login.resends_after, self._ask_once_more, story)
        request = _request(at, story)
        self._begin(at, story, request, self._policy.order(request))

    def _ask_once_more(self, at: float, story: Story) -> None:
        if story.arrived is None:
            request = _request(at, story)
            self._begin(at, story, request, self._policy.order(request))

    def _arrive(self, at: float, walk: Walk, provider: str) -> None:
        story = walk.story
        if story.arrived is None and at < story.login.at + story.login.patience:
            story.arrived = at
            self._plan(at + story.login.typing, self._verify, walk, provider)

    def _verify(self, at: float, walk: Walk, provider: str) -> None:
        walk.story.verified = at
        self._policy.verified(walk.request, provider, at)

    # The router's walk.

    def _begin(self, at: float, story: Story, request: Request, order: Sequence[str]) -> None:
        story.sends += 1
        self._step(at, Walk(story, request, order, story.sends))

    def _step(self, at: float, walk: Walk) -> None:
        """Hand the message to the next provider, if there is one."""
        made = len(walk.made)
        if made < min(len(walk.order), MOST_SUBMISSIONS):
            self._submit(at, walk, walk.order[made], DEADLINE - (at - walk.request.at))

    def _submit(self, at: float, walk: Walk, provider: str, left: float) -> None:
        story = walk.story
        fate = self._gateways.submit(story.login, provider, story.providers.count(provider), at)
        story.providers.append(provider)
        _charge(story, provider, fate)
        seconds = min(fate.seconds, left)
        reply = fate.reply if fate.seconds <= left else CUT_OFF
        exchange = Exchange(walk.request, provider, reply, at + seconds, seconds)
        self._plan(exchange.at, self._answer, walk, exchange)
        if fate.arrives is not None:
            self._plan(fate.arrives, self._arrive, walk, provider)
        if fate.receipt:
            news = News(exchange, fate.receipt, max(fate.receipt_at, exchange.at))
            self._plan(news.at, self._receive, walk, news)

    def _answer(self, at: float, walk: Walk, exchange: Exchange) -> None:
        walk.story.submissions.append(_submission(exchange))
        self._policy.replied(exchange, tuple(walk.made))
        walk.made.append(exchange)
        if _goes_on(exchange.reply):
            self._step(at, walk)

    # Receipts.

    def _receive(self, at: float, walk: Walk, news: News) -> None:
        self._policy.received(news)
        if _may_send_again(at, walk, news):
            request = _request(at, walk.story)
            order = self._policy.again(request, news)
            if order:
                walk.story.was_sent_again = True
                self._begin(at, walk.story, request, order)


def _request(at: float, story: Story) -> Request:
    login = story.login
    return Request(at, login.number_of_day, login.number, login.country, tuple(story.providers))


def _goes_on(reply: Reply) -> bool:
    """Say whether the router hands the message to the next provider after this reply."""
    is_over = isinstance(reply, Accepted) or reply.fault is Fault.RECIPIENT or reply is CUT_OFF
    return not is_over


def _charge(story: Story, provider: str, fate: Fate) -> None:
    if fate.is_sent:
        story.sent += 1
        story.cents += p.PROVIDERS[provider].carriage[story.login.country].price


def _submission(exchange: Exchange) -> Submission:
    began = exchange.at - exchange.seconds - exchange.request.at
    return Submission.of(
        exchange.provider,
        exchange.reply,
        at=round(1000 * began),
        milliseconds=round(1000 * exchange.seconds),
    )


def _may_send_again(at: float, walk: Walk, news: News) -> bool:
    """Say whether the service would let a receipt start a send: as issue and receipts have it."""
    story = walk.story
    failed_newest = walk.nth == story.sends and news.exchange.provider == story.providers[-1]
    return (
        news.receipt.status == "technical-failure"
        and failed_newest
        and story.verified is None
        and not story.was_sent_again
        and at < walk.request.at + p.CODE_LIFE - p.LAST_MINUTE
    )
