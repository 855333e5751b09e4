"""Figures against their baseline: few points, wide and narrow spreads, both directions, and none at all."""

import datetime
import math

import pytest

from reports import limits
from reports.certificate import Certificate, Figure
from reports.thresholds import Baseline, Fit, Source, baseline, judge

DAY = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def certificate(host="n", **figures):
    return Certificate(host, "r1", DAY, DAY, {}, {}, figures, {})


def figure(median, mad=0.0, n=3, lower_is_better=True):
    return Figure("a figure", lower_is_better, median, mad, n)


def test_the_nodes_own_certificate_comes_first():
    own, twin = certificate(load_s=figure(2.0, 0.1)), certificate("twin", load_s=figure(9.0))
    assert baseline("load_s", own, [twin]) == Baseline(2.0, 0.1, Source.CERTIFICATE, 3)


def test_twins_stand_in_with_the_spread_between_them():
    twins = [certificate(str(n), load_s=figure(median)) for n, median in enumerate((1.0, 2.0, 2.2, 1.9))]
    found = baseline("load_s", None, [*twins, certificate("without")])
    assert (found.centre, found.source, found.n) == (1.95, Source.TWINS, 4)
    assert found.spread == pytest.approx(0.15)
    assert baseline("load_s", certificate(other_s=figure(1.0)), twins) == found


@pytest.mark.parametrize("own", [None, certificate(), certificate(load_s=figure(0.0))])
def test_with_neither_there_is_no_baseline(own):
    found = baseline("load_s", own)
    judged = judge("load_s", 3.0, found)
    assert (found.source, judged.fit) == (Source.NONE, Fit.NO_BASELINE)
    assert judged.sentence.startswith("load_s is 3.00: no baseline")


@pytest.mark.parametrize(
    ("value", "mad", "n", "fit"),
    [
        (2.3, 0.0, 3, Fit.FIT),  # within the margin
        (2.5, 0.0, 3, Fit.UNFIT),
        (2.9, 0.0, 2, Fit.FIT),  # two points say nothing of the spread
        (3.1, 0.0, 2, Fit.UNFIT),
        (2.9, 0.1, 3, Fit.FIT),  # three points that lie apart may lie further
        (2.9, 0.1, 30, Fit.UNFIT),
        (4.1, 1.0, 3, Fit.UNFIT),  # twice as bad is never spread
        (0.1, 0.0, 30, Fit.FIT),  # better is always fit
        (math.inf, 0.0, 3, Fit.UNFIT),
        (math.nan, 0.0, 3, Fit.UNFIT),
    ],
)
def test_worse_must_be_more_than_the_spread_explains(value, mad, n, fit):
    found = judge("load_s", value, baseline("load_s", certificate(load_s=figure(2.0, mad, n))))
    assert found.fit is fit
    if fit is Fit.UNFIT:
        assert "load_s is" in found.sentence
        assert "must be at most" in found.sentence


@pytest.mark.parametrize(("value", "fit"), [(84.0, Fit.FIT), (82.0, Fit.UNFIT), (500.0, Fit.FIT)])
def test_more_is_better_where_the_certificate_says_so(value, fit):
    found = baseline("rate", certificate(rate=figure(100.0, 0.0, 3, lower_is_better=False)))
    judged = judge("rate", value, found)
    assert judged.fit is fit
    assert "at least 83.3" in judged.sentence


def test_one_outlier_among_twins_moves_nothing():
    def against(last):
        return baseline(
            "s", None, [certificate(str(n), s=figure(v)) for n, v in enumerate((1.0, 1.01, 0.99, 1.02, last))]
        )

    assert against(50.0).limit == pytest.approx(against(1.03).limit, rel=0.1)
    assert limits.MARGIN <= against(50.0).allowed <= limits.MARGIN_MOST
