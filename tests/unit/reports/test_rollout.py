"""Canaries first, then batches; what was lost on the way decides whether the next one begins."""

import pytest

from reports.rollout import Wish, plan, stopped

HOSTS = [f"node{number}" for number in range(1, 11)]
GROUPS = {"all": HOSTS, "canaries": ["node9", "elsewhere", "node3"], "resting": ["elsewhere"], "empty": []}


def wish(canary="", serial="", most_fail_percent=10.0, unavailable="10%", rollback=False):
    return Wish(canary, serial, most_fail_percent, unavailable, rollback)


def rows_of(rollout, **lost):
    """Return run.json's rows of a run in which `lost` maps hosts to their phase."""
    hosts = [host for batch in rollout.batches for host in batch]
    fine = {"state": "ok", "phase": "tune", "reason": ""}
    return {h: {"state": "failed", "phase": lost[h], "reason": "no room"} if h in lost else fine for h in hosts}


def test_without_a_wish_all_are_tuned_at_once_and_nothing_is_judged():
    found = plan(wish(), HOSTS, GROUPS)
    assert found.patterns == ("all",)
    assert found.batches == (tuple(HOSTS),)
    assert not found.judged
    assert stopped(found, {}, "node10") == ""


def test_the_first_hosts_are_canaries_then_batches_grow():
    found = plan(wish(canary="1", serial=[2, "40%"]), HOSTS, GROUPS)
    assert found.serial == (1, 2, 4, 3)
    assert found.canaries == 1
    assert found.judged


def test_a_group_of_canaries_goes_before_all_in_the_order_of_the_run():
    found = plan(wish(canary="canaries"), HOSTS, GROUPS)
    assert found.patterns == ("canaries", "all")
    assert found.batches[0] == ("node3", "node9")
    assert found.serial == (2, 8)


def test_a_share_is_at_least_one_host():
    assert plan(wish(serial="1%"), HOSTS, GROUPS).serial == (1,) * 10


def test_a_list_may_come_as_text():
    """That is what a survey sends, and `-e` without JSON."""
    assert plan(wish(serial="[2, 40%]"), HOSTS, GROUPS) == plan(wish(serial=[2, "40%"]), HOSTS, GROUPS)
    with pytest.raises(ValueError, match="tuning_serial is 'half'"):
        plan(wish(serial="[1, half]"), HOSTS, GROUPS)
    assert plan(wish(), HOSTS[:3], GROUPS).at_once == 1


def test_every_host_may_be_a_canary():
    assert plan(wish(canary="10"), HOSTS, GROUPS).serial == (10,)


@pytest.mark.parametrize(
    ("wished", "sentence"),
    [
        ({"canary": "11"}, "tuning_canary is 11, and must be from 1 to 10, the hosts of this run"),
        ({"canary": "0"}, "tuning_canary is 0, and must be from 1 to 10"),
        ({"canary": "canary"}, "'canary', and must be a number of hosts from 1 or a group .*did you mean canaries"),
        ({"canary": "-1"}, "tuning_canary is '-1', and must be a number"),
        ({"canary": "resting"}, "tuning_canary is 'resting', a group of which no host is in this run"),
        ({"canary": "empty"}, "no host is in this run"),
        ({"serial": 0}, "tuning_serial is 0, and must be a number of hosts from 1, or a share from 1% to 100%"),
        ({"serial": "0%"}, "tuning_serial is '0%'"),
        ({"serial": "150%"}, "tuning_serial is '150%'"),
        ({"serial": [1, "half"]}, "tuning_serial is 'half'"),
        ({"serial": True}, "tuning_serial is True"),
        ({"serial": {"a": 1}}, "tuning_serial is {'a': 1}"),
        ({"unavailable": "none"}, "tuning_max_unavailable is 'none'"),
        ({"most_fail_percent": 101.0}, "tuning_max_fail_percentage is 101, and must be from 0 to 100"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(wished, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(wish(**wished), HOSTS, GROUPS)


@pytest.mark.parametrize("phase", ["preflight", "baseline", "tune", "probe"])
def test_a_lost_canary_stops_all_others(phase):
    found = plan(wish(canary="2", serial=4), HOSTS, GROUPS)
    rows = rows_of(found, node2=phase)
    assert stopped(found, rows, "node1") == ""
    for host in ("node3", "node10"):
        assert stopped(found, rows, host) == f"canary node2 failed in {phase}: no room"


def test_a_batch_may_lose_its_share_and_no_more():
    found = plan(wish(serial=5, most_fail_percent=20), HOSTS, GROUPS)
    assert stopped(found, rows_of(found, node1="tune"), "node6") == ""
    said = stopped(found, rows_of(found, node1="tune", node4="probe"), "node6")
    assert said == "2 of 5 hosts of a batch were lost, and 20 % may be: node1 failed in tune: no room"


def test_hosts_lost_before_their_turn_do_not_count():
    found = plan(wish(serial=5, most_fail_percent=20), HOSTS, GROUPS)
    gone = {"node1": "preflight", "node2": "baseline", "node3": "environment"}
    assert stopped(found, rows_of(found, **gone), "node6") == ""
    assert "1 of 2 hosts" in stopped(found, rows_of(found, **gone, node4="tune"), "node6")
