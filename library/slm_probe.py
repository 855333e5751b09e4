#!/usr/bin/python
"""Ansible module: measure the node with a small language model and say where the result is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slm_probe
short_description: Run the probe agent on the node
description:
  - Sends a spec to the agent, waits for it, and returns headline figures and the path of the raw result.
  - A probe that fails does not fail the module; its reason stands in the result, beside what was measured.
  - The module fails when the agent is killed, cannot start or cannot keep a result.
  - An agent that outlives its deadline is asked to end, and then killed; one whose controller has gone is asked to end.
options:
  python:
    description: Interpreter that has torch and transformers.
    type: path
    required: true
  agent:
    description: Folder that holds the agent's package.
    type: path
    required: true
  spec:
    description: What to measure, as in the agent's spec schema.
    type: dict
    required: true
  result:
    description: File to write on the node. What stood there is kept beside it, as C(<name>.previous.json).
    type: path
    required: true
  keep:
    description: File on the controller to bring the result to, be it whole or not.
    type: path
  hub_token:
    description:
      - Token for a model that the hub gives to known users only.
      - Reaches the agent in a file of mode 0600, which is gone as soon as the model is on the node.
    type: str
attributes:
  check_mode: {support: full, description: Checks the spec and the model without measuring.}
  diff_mode: {support: none, description: Measures only.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Measure cold and warm load
  slm_probe:
    python: /opt/stethos/venv/bin/python
    agent: /opt/stethos/agent/probe_agent-0123456789ab
    spec: {model: "synthetic:tiny", probes: [load], profile: quick}
    result: /var/lib/stethos/probe/result.json
"""

RETURN = r"""
result: {description: Where the raw result is on the node., type: str, returned: always}
probes:
  description: State, reason and headline figures of each probe.
  type: dict
  returned: when measured
  sample: {load: {status: ok, reason: "", headline: {cold_load_s: 0.64}}}
resumed:
  description: Probes taken over from an earlier run, as the spec's C(resume) allows.
  type: list
  elements: str
  returned: when measured
"""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent import foreign, resume
from ansible.module_utils.probe_agent import spec as specs
from ansible.module_utils.probe_agent.host import parent

GRACE_S = 30  # the agent ends itself at its deadline; this is for one that cannot
LEAVES_WITHIN_S = 15  # once it was asked to
ARGUMENTS = {
    "python": {"type": "path", "required": True},
    "agent": {"type": "path", "required": True},
    "spec": {"type": "dict", "required": True},
    "result": {"type": "path", "required": True},
    "keep": {"type": "path"},
    "hub_token": {"type": "str", "no_log": True},
}


def nobody_listens() -> bool:
    """Tell whether the controller has gone: then what this module answers on has lost its reader.

    sshd gives it a socket, a local connection a pipe; each says so in its own way.
    """
    answer = select.poll()
    answer.register(1, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in answer.poll(0))


def forget(file: Path) -> None:
    if file.exists():
        file.unlink()


def hub_login(token: str | None, file: Path) -> dict:
    """Put the token where only this user can read it, and return the environment that says where; none without one."""
    forget(file)
    if not token:
        return {}
    with os.fdopen(os.open(str(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(token)
    return {"HF_TOKEN_PATH": str(file)}


def measure(params: dict, spec: specs.Spec) -> tuple[int, str, int]:
    """Run the agent and return its exit status, its last words and its pid.

    Raises OSError when it cannot start, or had to be killed.
    """
    result = Path(params["result"])
    resume.set_aside(result)  # whatever happens now, an earlier result is not taken for this run's
    if not (Path(params["agent"]) / "probe_agent").is_dir():
        raise FileNotFoundError(f"the agent is not in {params['agent']}: the tag environment brings it there")
    if not Path(params["python"]).exists():
        raise FileNotFoundError(f"the interpreter {params['python']} is not there: the tag environment brings it")
    result.parent.mkdir(parents=True, exist_ok=True)
    file = result.with_name("spec.json")
    file.write_text(json.dumps(spec.to_json()))
    agent = subprocess.Popen(
        [params["python"], "-m", "probe_agent", "run", "--spec", str(file), "--out", str(result)],
        env={
            **os.environ,
            **hub_login(params["hub_token"], result.with_name("hub_token")),
            "PYTHONPATH": os.pathsep.join(filter(None, [params["agent"], os.environ.get("PYTHONPATH")])),
        },
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: parent.end_with_it(signal.SIGTERM),  # this module may be killed, and no probe outlives it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    latest = time.monotonic() + spec.deadline_s + GRACE_S
    while True:
        try:
            words, _ = agent.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            if time.monotonic() > latest + LEAVES_WITHIN_S:
                agent.kill()  # a stopped process takes no other signal
                agent.wait()
                where = where_it_was(result, agent.pid)
                raise TimeoutError(
                    f"the agent did not end at its deadline of {spec.deadline_s} s, nor when asked to, {where}: "
                    "it was killed"
                ) from None
            if time.monotonic() > latest or nobody_listens():
                agent.terminate()
        else:
            said = " | ".join(words.decode(errors="replace").split("\n")[-4:]).strip(" |")
            return agent.returncode, said, agent.pid


def where_it_was(result: Path, pid: int) -> str:
    """Say where the agent `pid` ended; an earlier one's progress may still lie there."""
    try:
        state = json.loads(result.with_name("progress.json").read_text())
        if state["pid"] == pid:
            return f"while measuring {state['phase']} ({state['message']})"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return "before it measured anything"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)  # the login user reads the progress, and nobody but us writes
    result = Path(module.params["result"])
    try:
        spec = specs.parse(module.params["spec"])
        if module.check_mode:
            module.exit_json(changed=False, result=str(result))
        try:
            code, words, pid = measure(module.params, spec)
        finally:
            forget(result.with_name("hub_token"))
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), result=str(result))

    if code < 0:
        module.fail_json(
            msg=f"the agent was killed by {signal.Signals(-code).name} {where_it_was(result, pid)}", result=str(result)
        )
    try:
        document = json.loads(foreign.content(result))
    except FileNotFoundError:
        module.fail_json(msg=f"the agent ended with status {code} and left no result: {words}", result=str(result))
    except (OSError, ValueError) as error:
        said = " ".join(filter(None, [f"the agent left a result that cannot be used: {error}", words]))
        module.fail_json(msg=said, result=str(result))
    if document["finished"] is None:
        module.fail_json(
            msg=f"the agent ended with status {code} {where_it_was(result, pid)}: {words}", result=str(result)
        )
    probes = {
        name: {key: part[key] for key in ("status", "reason", "headline")} for name, part in document["probes"].items()
    }
    for name, part in probes.items():
        if part["status"] == "failed":
            module.warn(f"probe {name} failed: {part['reason']}")
    resumed = [name for name, part in document["probes"].items() if part.get("resumed")]
    module.exit_json(changed=False, result=str(result), probes=probes, resumed=resumed)


if __name__ == "__main__":
    main()
