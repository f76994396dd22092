"""What metrics show of the brake on SMS pumping."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otp_service.core.commit import Commit, CommitOutcome, Committed, OverDebt
from otp_service.core.events import Issued
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import DebtCommit, DebtOutcome, TrafficName
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.core.pumping.learned_traffic import LearnedTraffic, ScopeFigures, name_scope
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket
from otp_service.telemetry import InstrumentedStore, Metrics


PRICE = 250_000
RANGE = DebtCharge(ScopeBucket(DebtLimit.UNVERIFIED_RANGE), Terms((1, 1)), MESSAGE_UNITS)
COUNTRY = DebtCharge(
    ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"), Terms((1, 1)), PRICE // 2
)
COUNTRIES = DebtCharge(
    ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "192.0.2.1"), Terms((3, 3)), 1, country="GB"
)


class FixedStore:
    """A store that has one outcome for every commit."""

    limit_key_id = ""
    get_number_partition = get_bucket_partition = get_account_partition = None

    def __init__(self, outcome: CommitOutcome) -> None:
        self._outcome = outcome

    async def commit(self, _: Commit) -> CommitOutcome:
        return self._outcome


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1", tenants=["shop"], providers=[])


def list_samples(metrics: Metrics, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a metric that are not 0."""
    page = metrics.render_metrics()[0].decode()
    samples = (one for family in text_string_to_metric_families(page) for one in family.samples)
    return [(one.labels, one.value) for one in samples if one.name == name and one.value]


def apply_commit(metrics: Metrics, commit: Commit, outcome: CommitOutcome) -> None:
    store: object = FixedStore(outcome)
    asyncio.run(InstrumentedStore(store, metrics).commit(commit))  # type: ignore[arg-type]


def build_commit(charge: DebtCharge, tenant: str = "shop") -> Commit:
    """Return the commit to a number, without totals, or the shared one, which has them."""
    name = TrafficName(tenant, "GB")
    debts = DebtCommit(charges=(charge,), price=PRICE, traffic=name)
    if charge is RANGE:
        debts = DebtCommit(charges=(charge,), price=PRICE, name=name)
    return Commit(partition=0, operation_id="1", debts=debts)


@pytest.mark.parametrize(
    "charge", [RANGE, COUNTRY, COUNTRIES], ids=lambda charge: charge.bucket.limit
)
@pytest.mark.parametrize("mode", ["refuse", "record"])
def test_a_refusal_is_counted_with_its_scope_and_its_price(metrics, charge, mode):
    """In record mode too, where the message is sent: what refuse mode would have saved.

    It is the price of the message, whatever its scope counts, and also if a bot check has halved it.
    """
    refusal = DebtRefusal(charge.bucket, 40_000, 40_000, 3_600_000)
    is_refused = mode == "refuse"
    over = OverDebt(refusal, charge.price, 1000)
    recorded = Committed(1, debts=DebtOutcome(over=refusal))

    apply_commit(metrics, build_commit(charge), over if is_refused else recorded)

    labels = {"mode": mode, "tenant": "shop", "country": "GB"}
    counted = [({"limit": charge.bucket.limit.value, **labels}, 1)]
    assert counted == list_samples(metrics, "otp_pumping_refusals_total")
    money = [(labels, PRICE / 1_000_000)]
    assert money == list_samples(metrics, "otp_pumping_refused_money_total")


def test_what_an_operator_has_closed_is_counted_as_closed(metrics):
    """It pages no person: OtpCountryRefused is about what the brake has refused."""
    refusal = DebtRefusal(COUNTRY.bucket, 40_000, 0, 3_600_000)

    apply_commit(metrics, build_commit(COUNTRY), OverDebt(refusal, COUNTRY.price, 1000))

    ((labels, _),) = list_samples(metrics, "otp_pumping_refusals_total")
    assert "closed" == labels["mode"]


@pytest.mark.parametrize(
    "outcome", [DebtOutcome(), DebtOutcome(is_exempt=True)], ids=["charged", "exempt"]
)
def test_a_message_with_room_is_no_refusal(metrics, outcome):
    apply_commit(metrics, build_commit(COUNTRY), Committed(1, debts=outcome))

    assert [] == list_samples(metrics, "otp_pumping_refusals_total")


def test_messages_are_counted_by_measure_and_price(metrics):
    """An event without a price was written without a brake."""
    sent = [
        Issued(id="1", tenant="shop", country="GB", price=40_000, measure="exempt"),
        Issued(id="2", tenant="shop", country="GB"),
        Issued(id="3", tenant="gone", country="ZZ", price=1_000_000, measure="volume"),
    ]
    commit = Commit(partition=0, operation_id="1", events=tuple(sent))

    apply_commit(metrics, commit, Committed(1))

    assert [
        ({"measure": "exempt", "tenant": "shop", "country": "GB"}, 0.04),
        ({"measure": "volume", "tenant": "other", "country": "other"}, 1.0),
    ] == list_samples(metrics, "otp_pumping_sent_money_total")


def test_a_country_is_over_strained_or_normal(metrics):
    """A country that is over is the worse of the two; 0 is normal, and has a series all the same."""
    states = {
        "GB": ScopeFigures(is_strained=True, has_refusals=True),
        "FR": ScopeFigures(is_strained=True, debt=(1, 2_000_000), allowance=(3, 4_000_000)),
        "DE": ScopeFigures(),
    }
    scopes = {name_scope("shop", country): figures for country, figures in states.items()}

    metrics.brake.set_learned_traffic(LearnedTraffic(90_000, 0, scopes))

    samples = list_samples(metrics, "otp_pumping_country_state")
    assert {"GB": 2, "FR": 1} == {labels["country"]: value for labels, value in samples}
    labels = {"tenant": "shop", "country": "FR", "window": "day"}
    assert (labels, 2.0) in list_samples(metrics, "otp_pumping_unverified_money")
    assert (labels, 4.0) in list_samples(metrics, "otp_pumping_allowance_money")
    assert [({}, 90.0)] == list_samples(metrics, "otp_pumping_learned_at")
    assert (
        b'otp_pumping_country_state{country="DE",tenant="shop"} 0.0' in metrics.render_metrics()[0]
    )


def test_a_country_that_is_no_longer_learned_has_zeros(metrics):
    """Otherwise the alert of a country that is over would last until a restart."""
    over = ScopeFigures(has_refusals=True, debt=(1, 2), allowance=(3, 4))
    scopes = {name_scope("shop", country): over for country in ("GB", "FR")}
    metrics.brake.set_learned_traffic(LearnedTraffic(90_000, 0, scopes))
    del scopes[name_scope("shop", "FR")]

    metrics.brake.set_learned_traffic(LearnedTraffic(90_000, 0, scopes))

    for name in ("country_state", "unverified_money", "allowance_money"):
        samples = list_samples(metrics, f"otp_pumping_{name}")
        assert {"GB"} == {labels["country"] for labels, _ in samples}


def test_a_process_that_learns_nothing_shows_no_time_at_which_it_did(metrics):
    """The supervisor's 0 would be the least value of all processes: the brake would be stale for ever."""
    assert [] == list_samples(metrics, "otp_pumping_learned_at")
    assert b"\notp_pumping_learned_at" not in metrics.render_metrics()[0]
