"""The bandwidth probe on this machine: every figure it can have here, and a sentence for each that it cannot."""

import json
import os

from probe_agent import schema
from probe_agent.host import topology
from probe_agent.probes import bandwidth

EVERYWHERE = {
    "first_touch_gib_per_s",
    "first_touch_faults_per_s",
    "read_cold_mib_per_s",
    "read_warm_mib_per_s",
    "generation_jitter",
    "rss_drift_mb",
}
OF_A_GPU = {"pinned_alloc_s", *(f"{copy}_gib_per_s" for copy in bandwidth.COPIES)}


def test_every_figure_of_this_machine_and_a_word_for_what_is_not_there(agent, tmp_path):
    run = agent("--probe", "bandwidth")
    assert run.wait() == 0, run.stdout.read()
    document = json.loads((tmp_path / "result.json").read_text())
    schema.check("result", document)
    probe = document["probes"]["bandwidth"]
    figures, evidence = probe["headline"], probe["evidence"]
    assert set(figures) >= EVERYWHERE
    assert evidence["eviction_worked"]
    assert evidence["first_touch"]["nohugepage"]["anon_huge_mb"] == 0
    assert evidence["numa"]["allowed_cpus"] == topology.format_list(os.sched_getaffinity(0))
    generations = [row for row in probe["samples"] if row["measure"] == "generation"]
    assert len(generations) == 12
    assert all(row["rss_mb"] > 150 for row in generations)
    if generations[0]["device"] == "cpu":
        assert not OF_A_GPU & set(figures)
        assert [sentence for sentence in evidence["unread"] if "no GPU" in sentence]
    else:
        assert set(figures) >= OF_A_GPU
        assert evidence["gpus"]
