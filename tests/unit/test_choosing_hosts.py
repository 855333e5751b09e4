"""Which hosts a play is for: those that ask for what is rare, and those that may have to change."""

import json

import pytest
import yaml
from support import OUR_ACTIONS

ROLLOUT = {"canary": "", "serial": "", "most_fail_percent": 10.0, "unavailable": "10%", "rollback": False}


@pytest.fixture
def chosen(playbook, tmp_path):
    """Return a function that runs one of our actions over hosts with these variables, and returns its fact."""

    def run(fact, action, arguments, hosts, **play):
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = {"all": {"hosts": hosts, "vars": {**local, "unset": "", "yes": True}}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        once = {"run_once": True, "delegate_to": "localhost", "delegate_facts": True}
        shown = {
            "ansible.builtin.copy": {
                "content": f"{{{{ hostvars.localhost.ansible_facts.{fact} | to_json }}}}",
                "dest": f"{tmp_path}/fact.json",
            },
            "run_once": True,
        }
        tasks = [{action: arguments, **once}, shown]
        (tmp_path / "play.yml").write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks, **play}])
        )
        done = playbook(str(tmp_path / "play.yml"), "-i", str(tmp_path / "hosts.yml"), env=OUR_ACTIONS)
        assert done.code == 0, done.output
        return json.loads((tmp_path / "fact.json").read_text())

    return run


def test_a_host_that_asks_is_in_the_list_and_one_that_might_too(chosen):
    hosts = {
        "plain": {"tuning_keep": True, "jemalloc_services": [], "report_textfile_dir": ""},
        "serves": {"jemalloc_services": [{"name": "vllm"}], "tuning_keep": "yes"},
        "watched": {"report_textfile_dir": "/var/lib/node_exporter"},
        "lent": {"tuning_keep": False},
        "perhaps": {"report_textfile_dir": "{{ unset }}", "tuning_keep": "{{ yes }}"},
    }
    found = chosen("stethos_hosts", "plan_rollout", ROLLOUT, hosts)
    assert found == {"services": ["serves"], "metrics": ["perhaps", "watched"], "put_back": ["lent", "perhaps"]}


def test_what_a_play_sets_holds_for_every_host(chosen):
    found = chosen("stethos_hosts", "plan_rollout", ROLLOUT, {"a": {}, "b": {}}, vars={"tuning_keep": False})
    assert found["put_back"] == ["a", "b"]


def test_a_node_is_settled_by_its_own_word_alone(chosen, tmp_path):
    states = {"settled": {"as_wanted": True}, "named": {"as_wanted": True}, "other": {"as_wanted": False}, "odd": []}
    for host, state in states.items():
        (tmp_path / "hosts" / host).mkdir(parents=True)
        (tmp_path / "hosts" / host / "state.json").write_text(json.dumps(state))
    (tmp_path / "hosts/deep").mkdir()
    (tmp_path / "hosts/deep/state.json").write_text("[" * 100_000)  # ends no other node's run
    hosts = dict.fromkeys([*states, "deep", "unread"])
    arguments = {"run": str(tmp_path), "hosts": ["named"]}
    found = chosen("stethos_unsettled", "find_unsettled", arguments, hosts)
    assert found == ["deep", "named", "odd", "other", "unread"]  # in the order of the inventory
