"""A node counts as worse after tuning only by more than noise explains."""

import json
import random

import pytest

from reports.__main__ import main
from reports.headlines import Headline
from reports.regressions import of, worse
from reports.run_folder import returned


@pytest.fixture
def node(sample_run):
    """Return a function that scales cold and warm loads after tuning, by a factor for each process."""

    def scaled(*factors, edit=None):
        path = sample_run / "hosts/node1/result.json"
        document = json.loads(path.read_text())
        before = json.loads((sample_run / "hosts/node1/baseline.json").read_text())["probes"]["load"]["samples"]
        for number, (sample, was) in enumerate(zip(document["probes"]["load"]["samples"], before, strict=True)):
            sample["load_s"] = was["load_s"] * factors[number % len(factors)]
        if edit:
            edit(document)
        path.write_text(json.dumps(document))
        [host] = returned(sample_run, ["node1"])
        return host

    return scaled


def test_twice_as_slow_is_worse_and_says_by_how_much(node):
    found = of(node(3.0))
    assert found.worse
    assert found.sentence.startswith(
        "worse after tuning: cold_load_s went from 0.64 to 1.92, where noise explains at most 0.96"
    )


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.15])
def test_better_alike_or_a_little_slower_is_not(node, factor):
    assert of(node(factor)).sentence == ""


def test_one_slow_process_is_noise(node):
    assert of(node(1.0, 1.0, 9.0)).sentence == ""


def test_two_slow_processes_beside_a_good_one_are_noise(node):
    assert of(node(0.9, 0.9, 5.0, 5.0, 5.0, 5.0)).sentence == ""


@pytest.mark.parametrize(("n", "noise"), [(1, 0.1), (3, 0.03), (3, 0.1), (6, 0.1)])
def test_noise_hardly_ever_stops_a_rollout(n, noise):
    """As much noise between the two moments as within each. A node has some ten figures."""
    chance = random.Random(1)

    def measured():
        moment = chance.lognormvariate(0, noise)
        values = tuple(moment * chance.lognormvariate(0, noise) for _ in range(n))
        return Headline("cold_load_s", "load, cold", lower_is_better=True, values=values)

    assert sum(worse(measured(), measured()) for _ in range(2000)) <= 20


@pytest.mark.parametrize(("n", "noise"), [(3, 0.03), (6, 0.1)])
def test_twice_as_slow_is_nearly_always_found(n, noise):
    chance = random.Random(1)

    def measured(factor):
        values = tuple(factor * chance.lognormvariate(0, noise) for _ in range(n))
        return Headline("cold_load_s", "load, cold", lower_is_better=True, values=values)

    assert sum(worse(measured(1), measured(2)) for _ in range(500)) >= 450


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda document: document["fingerprint"]["hashes"].update(kernel="other"), "different fingerprints"),
        (lambda document: document["probes"].clear(), "no figure was measured before and after"),
        (lambda document: document.pop("probes"), "result.json cannot be used"),
    ],
)
def test_what_cannot_be_told_is_said_and_not_called_worse(node, edit, why):
    found = of(node(1.0, edit=edit))
    assert not found.worse
    assert "cannot be told" in found.sentence
    assert why in found.sentence


def test_a_certifying_run_is_judged_by_its_baseline_which_repeats_less(node):
    """Profile certify measures before tuning as profile standard does."""

    def certify(document):
        document["fingerprint"]["probe"]["profile"] = "certify"
        document["fingerprint"]["hashes"]["probe"] = document["fingerprint"]["id"] = "other"

    assert of(node(3.0, edit=certify)).worse
    assert of(node(1.0, edit=certify)).sentence == ""


def test_the_command_names_only_those_with_something_to_say(node, sample_run, capsys):
    node(3.0)
    assert main(["regressions", str(sample_run), "node1", "node2", "../node1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["node1"]["worse"]
    assert "no figure was measured" in found["node2"]["sentence"]
    assert "cannot be the name of a folder" in found["../node1"]["sentence"]
