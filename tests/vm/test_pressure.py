"""A balloon under version 2 of cgroups, beside a real systemd: what the nodes of a fleet have."""

import json
import subprocess

from support import ROOT

SQUEEZE = """
import json, time
from pathlib import Path
from probe_agent.engines import balloon
from probe_agent.host import cgroup, pagecache

weights, size, shares = Path("/root/weights"), 200 << 20, {}
weights.write_bytes(bytes(size))
hierarchy = cgroup.find()
with cgroup.limited(balloon.limit(size), hierarchy) as group:
    for level in (1.0, 0.5, 0.0):
        pagecache.evict([weights])
        job = balloon.Job(str(group), hierarchy.version, (str(weights),), size, int(level * size), 0)
        with balloon.Balloon(job, time.monotonic() + 100) as held:
            shares[level] = pagecache.residency([weights]).share
            held.release()
    killed = "oom_kill 0" not in (group / "memory.events").read_text()
    pagecache.evict([weights])
print(json.dumps({"version": hierarchy.version, "shares": shares, "killed": killed, "left": len(cgroup.left())}))
"""


def test_residency_falls_with_the_room_under_version_2(machines, tmp_path):
    machine, archive, script = machines[0], tmp_path / "agent.tar", tmp_path / "squeeze.py"
    subprocess.run(["tar", "-C", ROOT, "-cf", archive, "probe_agent"], check=True)
    script.write_text(SQUEEZE)
    copy = ["scp", "-q", *machine.ssh_options, "-i", machine.key, "-P", str(machine.port), archive, script]
    subprocess.run([*copy, "root@127.0.0.1:/root/"], check=True)
    machine.run("mkdir /root/agent && tar -C /root/agent -xf /root/agent.tar")
    found = json.loads(machine.run("PYTHONPATH=/root/agent python3 /root/squeeze.py", timeout_s=300).stdout)
    machine.run("rm -r /root/agent /root/agent.tar /root/squeeze.py /root/weights")
    assert (found["version"], found["killed"], found["left"]) == (2, False, 0)
    assert found["shares"]["1.0"] > 0.95
    assert 0.45 < found["shares"]["0.5"] < 0.65
    assert found["shares"]["0.0"] < 0.1
