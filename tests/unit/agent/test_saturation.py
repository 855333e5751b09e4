"""Where throughput stops growing, by the one rule that the node and the report share."""

import pytest

from probe_agent.probes.saturation import saturation


@pytest.mark.parametrize(
    ("loads", "found"),
    [
        ([(1, 100), (2, 190), (4, 300), (8, 320), (16, 310)], (4, False)),
        ([(16, 310), (4, 300), (1, 100)], (4, False)),  # in whatever order they ran
        ([(1, 100), (2, 200), (4, 400)], (4, True)),
        ([(1, 100), (2, 90)], (1, False)),
        ([(1, 90), (2, 100)], (1, False)),  # 90 % is reached exactly
        ([(1, 0), (2, 5)], (2, True)),
        ([(1, 0), (2, 0)], None),
        ([(1, 100)], None),
        ([], None),
    ],
)
def test_the_smallest_concurrency_near_the_highest_throughput(loads, found):
    assert saturation(loads) == found
