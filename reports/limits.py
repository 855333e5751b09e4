"""The thresholds by which anything is judged, in one place; a certificate says which it was issued by."""

from __future__ import annotations

from probe_agent import preflight

# Verdicts on an arm against its control.
ALPHA = 0.05
POWER = 0.8
PRACTICAL_THRESHOLD = 0.03  # nobody retunes a fleet for less
OWN_NOISE_BLOCKS = 6  # from here on an arm's own spread is enough, however much noisier than the control it is
PERMUTATION_MOST = 30  # from here on the mean is normal enough for Student, and each more costs time
PERMUTATION_BLOCKS = 10  # from here on sign flips hold their error; a bootstrap (BCa) was wrong in 8 to 12 % at 10

# A figure against its baseline.
MARGIN = 0.2  # worse than the baseline by less is no reason to take a node out
MARGIN_ANOTHER_DAY = 0.5  # what one run shows of its spread, it shows of that hour; of twins, each has its own
MARGIN_UNKNOWN = 0.5  # the same where fewer than SPREAD_POINTS say nothing of the spread
MARGIN_MOST = 1.0  # twice as bad is never explained by spread
SPREAD_POINTS = 3
TOLERATED = {"generation_rss_drift_mb": preflight.DRIFT_MB}  # a figure near zero has no share of itself to be worse by
CONFIDENCE = 0.995  # one-sided: one healthy figure in two hundred is called unfit

# One run against another, as a test of a new package or driver has them.
REGRESSION = 0.1  # two runs of one node, minutes apart, differ by several per cent without a cause

# A node beside its twins on the fleet's page.
TWINS_LEAST = 5  # with fewer, the median distance says too little of the spread
OUTLIER_MARGIN = 0.1  # a smaller distance is no reason to look at a node

# A figure from run to run; tests/bench/trend.py shows how often these are wrong.
TREND_POINTS = 5  # runs before the one that is judged
TREND_SEGMENTS = 15  # points; from here on a change is looked for anywhere, not only the last one
TREND_POINTS_MOST = 60  # what is older was accepted long ago
TREND_MARGIN = 0.1
TREND_ALONE = 1.0  # one rerun is believed alone when it is twice as bad; less may be a busy moment
TREND_CONFIDENCE = 0.9999  # one-sided, of one figure: a node has some forty, and is measured night after night
TREND_NOISE, TREND_NOISE_POINTS = 0.08, 4  # what many nodes have between runs, and how many points that counts as
TREND_ALIKE = 2.0  # runs of neighbouring days are alike: so many count as one
TREND_PENALTY = 3.0  # of each segment more, to the kernel's cost

VALID_DAYS = 90  # of a certificate


def used() -> dict[str, float]:
    """Return the thresholds by name, shares in per cent."""
    return {
        "alpha_percent": 100 * ALPHA,
        "power_percent": 100 * POWER,
        "practical_threshold_percent": 100 * PRACTICAL_THRESHOLD,
        "own_noise_blocks": OWN_NOISE_BLOCKS,
        "permutation_blocks": PERMUTATION_BLOCKS,
        "permutation_most_blocks": PERMUTATION_MOST,
        "margin_percent": 100 * MARGIN,
        "margin_another_day_percent": 100 * MARGIN_ANOTHER_DAY,
        "margin_unknown_percent": 100 * MARGIN_UNKNOWN,
        "margin_most_percent": 100 * MARGIN_MOST,
        "spread_points": SPREAD_POINTS,
        "confidence_percent": 100 * CONFIDENCE,
    }
