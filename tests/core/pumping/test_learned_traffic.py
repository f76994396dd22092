"""What a worker has learned, as each process reads it."""

from otp_service.core.pumping.allowance import Figures
from otp_service.core.pumping.learned_traffic import LearnedTraffic, ScopeFigures


def test_a_process_that_has_read_nothing_has_the_floors_alone() -> None:
    assert ScopeFigures() == LearnedTraffic().get("shop", "DE")
    assert 0 == LearnedTraffic().get("shop", "DE").unverified.unverified_share


def test_what_is_learned_about_one_country_or_tenant_is_about_no_other() -> None:
    learned = ScopeFigures(Figures(0.4, 0.3, (1, 2)))
    traffic = LearnedTraffic(scopes={"shop DE": learned})

    assert learned == traffic.get("shop", "DE")
    assert ScopeFigures() == traffic.get("shop", "FR")
    assert ScopeFigures() == traffic.get("bank", "DE")
