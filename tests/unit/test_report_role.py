"""Metrics on the node: looked for a place first, put there whole, and nowhere unless it is asked for."""

import yaml
from support import OUR_ACTIONS, run_playbook

METRICS = "# Managed by stethos\n"


def play(tmp_path, *arguments, **variables):
    """Check the folder, then leave the metrics of a run folder, on this machine as a plain user."""
    host = tmp_path / "runs/r1/hosts/here"
    host.mkdir(parents=True, exist_ok=True)
    (host / "metrics.prom").write_text(METRICS)
    opened = {"stethos_run": {"id": "r1", "dir": str(tmp_path / "runs/r1"), "root": "/"}, "cacheable": True}
    looks = ["textfile_dir"] if "report_textfile_dir" in variables else []
    roles = [{"name": "report", "tasks_from": name} for name in (*looks, "leave")]
    tasks = [{"ansible.builtin.set_fact": opened}, *({"ansible.builtin.import_role": role} for role in roles)]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"here": here}}}))
    hosts = ("-i", str(tmp_path / "hosts.yml"))
    return run_playbook(
        str(tmp_path / "play.yml"), *hosts, *arguments, env=OUR_ACTIONS, probe_become=False, **variables
    )


def test_the_metrics_are_left_where_the_collector_reads(tmp_path):
    folder = tmp_path / "collector"
    folder.mkdir()
    (folder / "stethos.prom").write_text("of the run before\n")
    checked = play(tmp_path, "--check", report_textfile_dir=str(folder))
    assert checked.code == 0, checked.output
    assert (folder / "stethos.prom").read_text() == "of the run before\n"
    done = play(tmp_path, report_textfile_dir=str(folder))
    assert done.code == 0, done.output
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"stethos.prom": METRICS}


def test_a_folder_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    done = play(tmp_path, "--check", report_textfile_dir=str(tmp_path / "none"))
    assert done.code == 2
    assert f"report_textfile_dir is {tmp_path}/none, and must be a folder on the node" in done.output
    assert not (tmp_path / "none").exists()


def test_nothing_is_left_unless_it_is_asked_for(tmp_path):
    done = play(tmp_path)
    assert done.code == 0, done.output
    assert done.recap["here"]["changed"] == 0
