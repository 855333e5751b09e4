"""What a report recommends, given to the playbook as it is: accepted, and nothing left to change the second time."""

import json
import math
import shutil
from pathlib import Path

import pytest
import yaml
from support import ROOT

from probe_agent.host import hugepages, knobs, meminfo, services, thp
from reports import recommended_vars, render, run_folder

SAMPLE = ROOT / "reports/samples/h200"


@pytest.fixture
def recommended(tmp_path: Path) -> Path:
    """The variables for a node like this machine, whose idle pool goes back and whose services get glibc-thp."""
    folder = shutil.copytree(SAMPLE, tmp_path / "run")
    result = folder / "hosts/local/result.json"
    document = json.loads(result.read_text())
    modes = {name: knobs.read(f"{thp.FOLDER}/{name}").value for name in ("enabled", "defrag")}
    document["host_memory"]["thp"] |= modes
    pool = {"size_kb": meminfo.default_page_kb(), "total": 8, "free": 8, "numa_node": None}
    document["host_memory"]["pools"] = [pool]
    probe = document["probes"]["allocator"]
    probe["samples"] = [row for row in probe["samples"] if row["arm"].startswith("glibc") and row["arm"] != "glibc-thp"]
    faster = {"glibc-thp": -0.4, "thp-madvise": 0.2, "thp-always": 0.2}
    for name in faster:
        probe["samples"] += [{**row, "arm": name} for row in probe["samples"] if row["arm"] == "glibc"]
    for number, row in enumerate(probe["samples"]):
        row |= {"engaged": True, "gen_latency_s": 2 * math.exp(faster.get(row["arm"], 0) + 0.001 * math.sin(number))}
    result.write_text(json.dumps(document))
    render.render(run_folder.read(folder))
    return folder / "hosts/local" / recommended_vars.NAME


def test_the_playbook_takes_the_file_as_it_is(recommended, playbook, tmp_path):
    assert yaml.safe_load(recommended.read_text())["jemalloc_levers"] == ["glibc-thp"]
    before = [hugepages.read(), knobs.read(f"{thp.FOLDER}/enabled")]
    planned = playbook("playbooks/tune.yml", "--check", "-e", f"@{recommended}", reports_dir=str(tmp_path))
    assert planned.code == 0, planned.output
    assert [hugepages.read(), knobs.read(f"{thp.FOLDER}/enabled")] == before


@pytest.mark.usefixtures("machine")
def test_applied_it_changes_nothing_the_second_time(recommended, playbook, tmp_path):
    variables = {"reports_dir": str(tmp_path), "hugetlbfs_mounts": []}
    if services.missing():
        variables["jemalloc_services"] = [{"name": "vllm"}]  # skipped, with the lever of the file
    knob = Path("/proc/sys/vm/nr_hugepages")
    knob.write_text("8")
    first = playbook("playbooks/tune.yml", "-e", f"@{recommended}", **variables)
    assert first.code == 0, first.output
    assert knob.read_text() == "0\n"
    second = playbook("playbooks/tune.yml", "-e", f"@{recommended}", **variables)
    assert (second.code, second.recap["local"]["changed"]) == (0, 0), second.output
    assert playbook("playbooks/rollback.yml").code == 0
