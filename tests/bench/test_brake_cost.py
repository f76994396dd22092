"""The cost of the brake is a ratio within each round, because other work changes the rounds."""

from bench.brake_cost import format_table
from bench.workloads import Measurement


def build_round(cpu, of_redis):
    return Measurement(per_second=100, cpu_seconds=cpu, redis_cpu_seconds=of_redis)


def test_modes_are_compared_with_off_in_the_same_round():
    rounds = {
        "off": [build_round(0.003, 0.001), build_round(0.030, 0.010), build_round(0.3, 0.1)],
        "record": [build_round(0.005, 0.002), build_round(0.050, 0.020), build_round(0.5, 0.2)],
        "refuse": [build_round(0.003, 0.001), build_round(0.031, 0.011), build_round(0.5, 0.2)],
    }
    scripts = {"off": [7.0], "record": [8.0], "refuse": [8.0]}

    lines = [line.split() for line in format_table(rounds, scripts)]

    assert ["record:", "CPU", "of", "Redis", "2.00", "2.00", "to", "2.00"] in lines
    assert ["record:", "CPU", "of", "the", "service", "1.50", "1.50", "to", "1.50"] in lines
    assert ["refuse:", "CPU", "of", "Redis", "1.10", "1.00", "to", "2.00"] in lines
