"""What a probe says of its samples."""

from probe_agent.probes import load, medians


def test_medians_come_from_every_key_and_skip_what_is_missing():
    rows = [{"a": 1, "b": 10}, {"a": 3, "b": None}, {"a": 2}]
    assert medians(rows, "a", "b", "c") == {"a": 2, "b": 10}


def test_a_headline_has_every_figure_of_both_cache_states():
    """A generator handed to medians() once gave only the first figure."""
    row = {"load_s": 2.0, "rss_mb": 300.0, "minor_faults": 7}
    samples = [{**row, "cache": "cold"}, {**row, "cache": "warm", "load_s": 1.0}]
    assert load.headline(samples) == {
        "cold_load_s": 2.0,
        "cold_rss_mb": 300.0,
        "cold_minor_faults": 7,
        "warm_load_s": 1.0,
        "warm_rss_mb": 300.0,
        "warm_minor_faults": 7,
    }
