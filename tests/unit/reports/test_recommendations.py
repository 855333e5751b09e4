"""What is recommended, case by case: only what the figures carry, and the honest word where they do not."""

import copy
import json
import math

import pytest
import yaml
from action_plugins.check_variables import complaints, known_options

from probe_agent.arms import A_A, ARMS, CONTROL
from reports import recommendations, recommended_vars, render, run_folder
from reports.recommendations import Basis, levers
from reports.recommendations.pools import power_of_two_mb

TINY = 0.002  # noise of a calm machine, as a log-ratio
EVIL = "x\n- hosts: all\n# \x1b[2J <script>"


def samples(template, arms, blocks=4, engaged=None):
    """Rows of a campaign: `arms` maps a name to log-ratios against the control by metric."""
    rows = []
    for block in range(blocks):
        for place, (name, effects) in enumerate({CONTROL: {}, A_A: {}, **arms}.items()):
            row = copy.deepcopy(template) | {"arm": name, "block": block}
            wobble = TINY * math.sin(5 * block + 3 * place)
            for key in (
                "gen_latency_s",
                "gen_warm_latency_s",
                "first_token_s",
                "weights_s",
                "imports_s",
                "wall_real_s",
            ):
                row[key] = 2.0 * math.exp(wobble * (1 + len(key) / 10) + effects.get(key, 0.0))
            row["rss_mb"] = 400.0 * math.exp(wobble / 10 + effects.get("rss_mb", 0.0))
            row["pin_s"] = 0.5 * math.exp(wobble + effects["pin_s"]) if "pin_s" in effects else 0.5 * math.exp(wobble)
            row["engaged"] = (engaged or {}).get(name, True)
            row["private_hugetlb_mb"] = effects.get("private_hugetlb_mb", 0.0)
            row["hugepages_free"] = {"before": 1288, "during": 1000, "after": 1288}
            rows.append(row)
    return rows


@pytest.fixture
def advised(make_run, document):
    """Return what is recommended after a campaign, and after changes to the result."""

    def advise(arms, change=None, **more):
        found = copy.deepcopy(document)
        probe = found["probes"]["allocator"]
        probe["samples"] = samples(probe["samples"][0], arms, **more)
        found["host_memory"]["thp"] |= {"enabled": "madvise", "defrag": "madvise"}
        if change:
            change(found)
        host = next(run_folder.read(make_run({"n": {"result": found}})).hosts())
        return {each.subject: each for each in recommendations.of(host)}

    return advise


FASTER, SLOWER = {"gen_latency_s": -0.2}, {"gen_latency_s": 0.2}
NOISY = {"gen_latency_s": 0.0}


def noisy(found):
    for number, row in enumerate(found["probes"]["allocator"]["samples"]):
        row["gen_latency_s"] *= math.exp(0.2 * math.sin(7 * number))


def test_a_better_thp_mode_is_set(advised):
    found = advised({"thp-always": FASTER})["Transparent huge pages"]
    assert (found.changes, found.variables) == (True, {"thp_enabled": "always"})
    assert found.advice == "Set THP to always; it was measured against madvise."
    assert found.effect.estimate.mean == pytest.approx(-0.2, abs=0.01)
    assert "every process of the node" in found.cost
    assert "confirmed by probe_profile: certify" in " ".join(found.evidence)


def test_a_worse_thp_mode_keeps_what_is_there(advised):
    found = advised({"thp-always": SLOWER})["Transparent huge pages"]
    assert (found.changes, found.variables) == (False, {"thp_enabled": "madvise"})
    assert found.advice == "Keep THP at madvise: thp-always is worse."


def test_what_makes_no_difference_is_not_kept_for_the_whole_node(advised):
    def always(found):
        found["host_memory"]["thp"]["enabled"] = "always"

    found = advised({"thp-madvise": {}}, always)["Transparent huge pages"]
    assert (found.changes, found.variables) == (True, {"thp_enabled": "madvise"})
    kept = advised({"thp-madvise": SLOWER}, always)["Transparent huge pages"]
    assert (kept.changes, kept.variables) == (False, {"thp_enabled": "always"})


def test_an_inconclusive_mode_is_left_with_the_blocks_it_would_take(advised):
    found = advised({"thp-always": NOISY}, noisy)["Transparent huge pages"]
    assert not found.changes
    assert found.advice.startswith("Keep THP at madvise: thp-always is inconclusive; ")
    assert "block" in found.advice


def test_defrag_always_is_never_kept(advised):
    def always(found):
        found["host_memory"]["thp"]["defrag"] = "always"

    found = advised({"thp-always": {}}, always)["THP defrag"]
    assert (found.changes, found.basis, found.variables) == (True, Basis.FACT, {"thp_defrag": "madvise"})
    assert advised({"thp-always": {}})["THP defrag"].variables == {"thp_defrag": "madvise"}


def test_an_idle_pool_goes_back(advised):
    def idle(found):
        found["host_memory"]["pools"] = [
            {"size_kb": 2048, "total": 1288, "free": 1288, "numa_node": None},
            {"size_kb": 2048, "total": 1288, "free": 1288, "numa_node": 0},
            {"size_kb": 1048576, "total": 0, "free": 0, "numa_node": None},
        ]

    found = advised({}, idle)["Pool of 2 MiB pages"]
    assert (found.changes, found.variables) == (True, {"hugepages_pools": [{"size_kb": 2048, "count": 0}]})
    assert found.cost == "2,576 MiB go back to the page cache."


def test_a_pool_whose_pages_somebody_holds_is_kept_and_he_is_to_be_named(advised):
    def held(found):
        found["host_memory"]["pools"] = [{"size_kb": 2048, "total": 100, "free": 40, "numa_node": None}]

    found = advised({}, held)["Pool of 2 MiB pages"]
    assert (found.changes, found.variables) == (False, {})  # a file with it would take what the inventory says of it
    assert "name the process that holds pages of it: 60 pages" in found.advice


def pool(found):
    found["host_memory"] |= {
        "pools": [
            {"size_kb": 2048, "total": 1288, "free": 1288, "numa_node": None},
            {"size_kb": 1048576, "total": 2, "free": 2, "numa_node": None},
        ],
        "default_hugepage_size_kb": 2048,
    }


def test_a_pool_with_a_proven_consumer_gets_its_size(advised):
    found = advised({"glibc-hugetlb": {**FASTER, "private_hugetlb_mb": 401.0}}, pool)
    assert found["Lever glibc-hugetlb"].variables == {"jemalloc_levers": ["glibc-hugetlb"]}
    assert found["Pool of 2 MiB pages"].advice.startswith("Have 201 pages for each such process: glibc-hugetlb takes")
    wanted = [{"size_kb": 2048, "count": 201}, {"size_kb": 1048576, "count": 0}]
    assert (
        found["Pool of 2 MiB pages"].variables == found["Pool of 1 GiB pages"].variables == {"hugepages_pools": wanted}
    )


def test_a_pool_beside_one_that_changes_keeps_what_else_is_said_of_it(advised):
    def held(found):
        pool(found)
        gibibytes = found["host_memory"]["pools"][1]
        gibibytes |= {"total": 3, "free": 1, "surplus": 1, "overcommit": 4}
        path = "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
        found["host_memory"]["sources"] = [{"setting": path, "kind": "boot loader", "ours": True}]

    found = advised({}, held)["Pool of 2 MiB pages"]
    kept = {"size_kb": 1048576, "count": 2, "overcommit": 4, "at_boot": True}
    assert found.variables == {"hugepages_pools": [{"size_kb": 2048, "count": 0}, kept]}


def test_a_pool_that_was_used_up_keeps_its_size(advised):
    def short(found):
        pool(found)
        for row in found["probes"]["allocator"]["samples"]:
            row["hugepages_free"]["during"] = 0

    found = advised({"glibc-hugetlb": {**FASTER, "private_hugetlb_mb": 2576.0}}, short)["Pool of 2 MiB pages"]
    assert not found.changes


def test_a_pool_serves_no_unproven_lever(advised):
    found = advised({"glibc-hugetlb": {"private_hugetlb_mb": 401.0}}, pool)["Pool of 2 MiB pages"]
    assert found.advice.startswith("Give the pool back")
    assert "glibc-hugetlb, which would use it: no difference." in found.evidence


def test_jemalloc_is_taken_with_its_price(advised):
    found = advised({"jemalloc": {**FASTER, "rss_mb": 0.1}})["Lever jemalloc"]
    assert found.variables == {"jemalloc_levers": ["jemalloc"], "jemalloc_install": True}
    assert found.cost.startswith("Memory: +11 % resident, 42 MiB more per process.")


def test_jemalloc_inconclusive_is_left_with_the_blocks_it_would_take(advised):
    found = advised({"jemalloc": NOISY}, noisy)["Lever jemalloc"]
    assert (found.changes, found.variables) == (False, {})
    assert found.advice.startswith("Keep the services as they are: jemalloc is inconclusive; ")
    assert "would be needed to see" in found.advice or "more than 100 blocks" in found.advice


@pytest.mark.parametrize(
    ("effects", "sentence"),
    [
        ({}, "Leave jemalloc out: jemalloc makes no difference beyond 3 %."),
        (SLOWER, "Leave jemalloc out: jemalloc makes first generation worse."),
        ({**FASTER, "wall_real_s": 0.2}, "Leave jemalloc out: jemalloc makes whole process worse."),
    ],
)
def test_a_lever_that_does_not_help_is_left_out(advised, effects, sentence):
    found = advised({"jemalloc": effects})["Lever jemalloc"]
    assert (found.changes, found.variables, found.advice) == (False, {}, sentence)


def test_less_memory_at_the_same_speed_is_a_gain(advised):
    found = advised({"tcmalloc": {"rss_mb": -0.1}})["Lever tcmalloc"]
    assert found.variables == {"jemalloc_levers": ["tcmalloc"]}
    assert found.cost.startswith("It saves memory (−9.5 % resident, 38 MiB per process).")


def test_a_lever_not_in_use_is_not_judged(advised):
    found = advised({"glibc-thp": FASTER}, engaged={"glibc-thp": False})["Lever glibc-thp"]
    assert (found.changes, found.effect) == (False, None)
    assert found.advice == "Keep the services as they are: glibc-thp was not in use, so nothing is known of it."


def test_a_spoiled_control_recommends_nothing(advised):
    found = advised({"jemalloc": FASTER, "thp-always": FASTER}, engaged={CONTROL: False})
    assert not [each for each in found.values() if each.changes]
    assert "glibc is no control" in " ".join(found["Lever jemalloc"].evidence)


def test_of_levers_not_measured_together_the_one_that_gained_most_is_taken(advised):
    found = advised({"jemalloc": FASTER, "glibc-thp": {"gen_latency_s": -0.3}, "thp-always": FASTER})
    assert found["Lever glibc-thp"].changes
    assert "glibc-thp is taken, and the two were not measured together" in found["Lever jemalloc"].advice
    assert "is better too, but was not measured together with glibc-thp" in found["Transparent huge pages"].advice
    assert [each.subject for each in found.values() if each.changes] == ["Lever glibc-thp"]


def test_a_lever_of_a_service_is_preferred_to_a_setting_of_the_whole_node_that_does_as_much(advised):
    found = advised({"thp-always": {"gen_latency_s": -0.201}, "glibc-thp": FASTER})
    assert found["Lever glibc-thp"].changes
    assert not found["Transparent huge pages"].changes


def test_pinning_goes_with_an_allocator_that_suits_it(advised):
    pinned = {name: {"pin_s": gain} for name, gain in (("pinned-register", -1.0), ("pinned-register-thp", -2.0))}
    found = advised({"jemalloc": FASTER, **pinned})
    assert found["Lever jemalloc"].variables["jemalloc_levers"] == ["jemalloc", "pinned-register"]
    found = advised({"glibc-thp": FASTER, **pinned})
    assert found["Lever glibc-thp"].variables["jemalloc_levers"] == ["glibc-thp", "pinned-register"]


def test_bytecode_is_compiled_where_it_is_missing(advised):
    def missing(found):
        for row in found["probes"]["allocator"]["samples"]:
            row |= {"modules": 1000, "modules_uncompiled": 400}

    worth = advised({"bytecode-off": {"imports_s": 0.8}})["Bytecode"]
    assert not worth.changes
    assert worth.advice.startswith("Keep bytecode beside the modules")
    found = advised({"bytecode-off": {}}, missing)["Bytecode"]
    assert found.changes
    assert found.evidence[0] == "400 of 1,000 modules came without bytecode."


def test_binding_is_said_only_where_there_is_a_choice(advised):
    def two_nodes(found):
        found["host_memory"]["kernel"]["numa_nodes"] = [0, 1]

    assert "NUMA and CPU binding" not in advised({"numa-bind": FASTER})
    assert advised({"numa-bind": FASTER}, two_nodes)["NUMA and CPU binding"].changes
    assert not advised({"numa-bind": SLOWER}, two_nodes)["NUMA and CPU binding"].changes


def test_nothing_measured_yields_nothing(make_run, document):
    document["probes"] = {}
    folder = make_run({"n": {"result": document}, "none": {}})
    assert [recommendations.of(host) for host in run_folder.read(folder).hosts()] == [[], []]


@pytest.mark.parametrize(("size_mb", "pinned_mb"), [(1, 1), (1024, 1024), (1024.5, 2048), (2947.5, 4096), (0.2, 1)])
def test_torch_pins_powers_of_two(size_mb, pinned_mb):
    assert power_of_two_mb(size_mb) == pinned_mb


def test_a_server_gets_the_length_that_keeps_it_busy(make_run, gpu_document):
    host = next(run_folder.read(make_run({"n": {"result": gpu_document}})).hosts())
    found = {each.subject: each for each in recommendations.of(host)}
    assert "KV cache holds" in found["max-model-len"].evidence[0]
    assert found["Replica density"].basis is Basis.RULE
    assert not found["max-model-len"].variables


HOSTILE = {
    "enabled": ["always"],
    "pools": [{"size_kb": 2048, "total": 10**17, "free": "many"}, {"size_kb": "2", "total": 3, "free": None}],
}


def test_hostile_evidence_yields_no_variable_that_is_not_ours(make_run, document):
    probe = document["probes"]["allocator"]
    probe["samples"] = samples(probe["samples"][0], {EVIL: FASTER, "jemalloc": FASTER})
    probe["evidence"] = {}
    document["host_memory"]["thp"] = {"enabled": HOSTILE["enabled"], "defrag": EVIL}
    document["host_memory"]["pools"] = HOSTILE["pools"]
    document["host_memory"]["kernel"] |= {"numa_nodes": EVIL}
    document["fingerprint"]["hardware"] = [EVIL]
    document["probes"]["load"]["evidence"] = {"model_mb": EVIL}
    folder = make_run({EVIL.replace("\n", " ").replace("/", ""): {"result": document}})
    render.render(run_folder.read(folder))
    text = next(folder.rglob(recommended_vars.NAME)).read_text()
    assert set(yaml.safe_load(text)) <= set(known_options())
    assert complaints(yaml.safe_load(text), known_options()) == []
    assert "\x1b" not in text


@pytest.mark.parametrize("arm", [name for name in ARMS if levers.given(name)])
def test_every_lever_recommended_is_a_variable_the_playbook_takes(advised, arm):
    gain = {"pin_s": -0.5} if arm.startswith("pinned-") else FASTER
    found = advised({arm: gain, "thp-always": {}}, pool)
    values = recommendations.variables(found.values())
    assert values["jemalloc_levers"] == list(levers.given(arm))
    assert complaints(values, known_options()) == []
    assert complaints(yaml.safe_load(recommended_vars.text("r1", "n", list(found.values()))), known_options()) == []


@pytest.mark.parametrize("mode", levers.MODES)
@pytest.mark.parametrize("defrag", ["always", *levers.DEFRAG])
def test_every_setting_recommended_is_a_variable_the_playbook_takes(advised, mode, defrag):
    def change(found):
        found["host_memory"]["thp"] |= {"enabled": mode, "defrag": defrag}

    for arm in [name for name in ARMS if name.startswith("thp-") and not name.endswith(mode)]:
        values = recommendations.variables(advised({arm: FASTER}, change).values())
        assert values["thp_enabled"] == arm.removeprefix("thp-")
        assert complaints(values, known_options()) == []


def test_the_file_of_variables_carries_its_evidence_as_comments(advised):
    text = recommended_vars.text("r1", "n", list(advised({"thp-always": FASTER}, pool).values()))
    assert yaml.safe_load(text) == {
        "hugepages_pools": [{"size_kb": 2048, "count": 0}, {"size_kb": 1048576, "count": 0}],
        "thp_defrag": "madvise",
        "thp_enabled": "always",
    }
    before = text[: text.index("\nthp_enabled: always")].splitlines()
    assert before[-1].startswith("#")
    assert "thp-always, first generation: −18 % against glibc" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_no_variable_no_file(make_run, document):
    folder = make_run({"n": {"result": document | {"probes": {}}}})
    (row,) = render.render(run_folder.read(folder))
    assert "recommended_vars" not in row.files
    assert not (folder / "hosts/n" / recommended_vars.NAME).exists()


def test_pages_and_fleet_say_what_to_do(make_run, document):
    pool(document)
    folder = make_run({"n": {"result": document}})
    (row,) = render.render(run_folder.read(folder))
    report = (folder / "hosts/n/report.md").read_text()
    assert report.index("## What to do") < report.index("## Host memory settings")
    assert "[recommended_vars.yml](recommended_vars.yml)" in report.replace("\\", "")
    assert len(row.advice) == 2
    fleet = json.loads((folder / "fleet.json").read_text())
    assert fleet["hosts"][0]["advice"] == row.advice
    assert "Give the pool back" in (folder / "fleet.md").read_text()
    assert "(1 more)" in (folder / "fleet.md").read_text()
