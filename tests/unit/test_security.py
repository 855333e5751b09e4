"""What the section Security of the README promises, held against the tree itself."""

import ast
import configparser
import re

import pytest
import yaml
from support import ROOT

from probe_agent.engines import vllm_server

PLAYS = [*ROOT.glob("playbooks/*.yml"), ROOT / "tune_and_probe.yml"]
TASKS = [*ROOT.glob("playbooks/tasks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
FOLDERS = ("library", "playbooks", "probe_agent", "reports")
CODE = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")]
SECRET = re.compile(r"token\b|secret|password")
# What a task may be root for; all others look, or work on the controller.
NEEDS_ROOT = {
    "thp",
    "hugepages",
    "hugetlbfs",
    "service_levers",
    "rollback",
    "ansible.builtin.package",
    "ansible.builtin.reboot",
}


def plays():
    return [play for file in PLAYS for play in yaml.safe_load(file.read_text())]


def tasks(part=None):
    """Yield every task of playbooks and roles, those in blocks too."""
    if part is None:
        part = [task for play in plays() for task in play.get("tasks", [])]
        part += [task for file in TASKS for task in yaml.safe_load(file.read_text())]
    for task in part:
        yield task
        for name in ("block", "rescue", "always"):
            yield from tasks(task.get(name, []))


def calls():
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def test_the_tree_is_found():
    assert len(list(tasks())) > 40
    assert sum(1 for _ in calls()) > 1000


def test_host_keys_are_checked_and_nobody_turns_that_off():
    config = configparser.ConfigParser()
    config.read(ROOT / "ansible.cfg")
    assert config.getboolean("defaults", "host_key_checking")
    assert config.getint("defaults", "task_timeout") > 0
    assert "StrictHostKeyChecking" not in config["ssh_connection"]["ssh_args"]
    for file in [*PLAYS, *TASKS, *ROOT.glob("inventory/**/*.yml")]:
        assert not re.search("StrictHostKeyChecking|host_key_checking", file.read_text(), re.IGNORECASE), file


def test_no_task_has_a_shell():
    for task in tasks():
        for name, arguments in task.items():
            assert name.removeprefix("ansible.builtin.") not in ("shell", "raw", "script"), task["name"]
            if name.removeprefix("ansible.builtin.") == "command":
                assert set(arguments) <= {"argv", "chdir"}, task["name"]
    assert not [path for path, _, keywords in calls() if "shell" in keywords]


def test_root_is_asked_for_by_the_tasks_that_need_it():
    config = configparser.ConfigParser()
    config.read(ROOT / "ansible.cfg")
    assert "privilege_escalation" not in config
    assert not [play["name"] for play in plays() if "become" in play]
    for task in tasks():
        if task.get("become") is True:
            assert NEEDS_ROOT & set(task), task["name"]


def test_a_secret_is_marked_as_one():
    for file in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for name, option in yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"].items():
            assert option.get("no_log", False) == bool(SECRET.search(name)), name
    for path in ROOT.glob("library/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ARGUMENTS":
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    assert ("no_log" in ast.unparse(value)) == bool(SECRET.search(key.value)), (path, key.value)


def test_no_foreign_code_comes_with_a_model():
    loads = [keywords for _, name, keywords in calls() if name == "AutoModelForCausalLM.from_pretrained"]
    assert loads
    assert all(ast.unparse(keywords["use_safetensors"]) == "True" for keywords in loads)
    assert not [path for path, _, keywords in calls() if "trust_remote_code" in keywords]
    downloads = [keywords for _, name, keywords in calls() if name == "snapshot_download"]
    assert [sorted(keywords) for keywords in downloads] == [["allow_patterns", "revision"]]
    assert not [path for path, name, _ in calls() if name in ("torch.load", "pickle.load", "pickle.loads")]


def test_servers_listen_on_the_loopback(tmp_path):
    start = vllm_server.Start(tmp_path, 512, 8, 512, 0.5)
    command = vllm_server.command(start, 8000)
    assert command[command.index("--host") + 1] == "127.0.0.1"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_has_a_name_in_tmp_that_others_could_foresee(path):
    assert not re.search(r"""["'](/var)?/tmp|mktemp\(|gettempdir""", path.read_text())
