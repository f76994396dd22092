"""What is computed for hosts with more cores than the measured one."""

import pytest

from bench.sizing import MAX_REDIS_SHARE, compute_host_size


def test_the_rate_grows_with_the_cores():
    size = compute_host_size(16, 2, per_second=100, redis_cpu_seconds=0.0005)

    assert 800 == size.logins_per_second
    assert 0.4 == pytest.approx(size.redis_share)
    assert not size.is_limited_by_redis


def test_the_rate_ends_where_redis_has_no_more():
    size = compute_host_size(64, 2, per_second=100, redis_cpu_seconds=0.0005)

    assert 1600 == pytest.approx(size.logins_per_second)
    assert MAX_REDIS_SHARE == pytest.approx(size.redis_share)
    assert size.is_limited_by_redis
