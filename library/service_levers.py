#!/usr/bin/python
"""Ansible module: give services the environment of their levers, and say which of them run without it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_levers
short_description: Pull levers for systemd services
description:
  - Writes one drop-in of our own per service, C(/etc/systemd/system/<service>.service.d/stethos.conf), and removes
    those of services that are no longer named.
  - A service restarts only where that is allowed. Then its new process proves that it has the variables, and that it
    loaded what is preloaded; otherwise the result says that a restart is owed.
  - Refuses, before anything changes, a lever whose library is missing, levers that contradict each other, a unit that
    does not exist, and a variable that another file sets to something else.
  - On a node without systemd each service is skipped with the reason.
options:
  services:
    description: The services, and what each is to start with.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Name of the service, with or without .service.", type: str, required: true}
      levers:
        description: Any of jemalloc, jemalloc-thp, tcmalloc, glibc-thp, glibc-hugetlb, torch-thp, pinned-register.
        type: list
        elements: str
      environment: {description: Further variables., type: dict}
  levers:
    description: The levers of a service that names none.
    type: list
    elements: str
    default: [jemalloc]
  restart:
    description: Restart services whose process lacks what it is to start with.
    type: bool
    default: false
  awaits:
    description:
      - Allocators that a package task brings when they come back as missing. Until then nothing is changed.
      - In check mode they are taken for installed. One that is there must load, also when no service uses it.
    type: list
    elements: str
    choices: [jemalloc]
    default: []
attributes:
  check_mode: {support: full, description: Plans without writing or restarting.}
  diff_mode: {support: full, description: Shows each drop-in before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: vLLM gets huge pages through jemalloc, and pins memory with eight threads
  service_levers:
    services:
      - name: vllm
        levers: [jemalloc-thp, pinned-register]
        environment: {MALLOC_ARENA_MAX: "4"}
    restart: true
"""

RETURN = r"""
services:
  description: A row for each service named.
  type: list
  elements: dict
  returned: always
  sample:
    - name: vllm.service
      environment: {LD_PRELOAD: /usr/lib/x86_64-linux-gnu/libjemalloc.so.2}
      pid: 812
      skipped: ""
restart_owed:
  description: A sentence for each service that runs without what it is to start with.
  type: list
  elements: str
  returned: always
restarted: {description: Services that were restarted, or would be., type: list, elements: str, returned: always}
removed: {description: Drop-ins removed now, or that would be., type: list, elements: str, returned: always}
idle: {description: Sentences about levers without effect on this node., type: list, elements: str, returned: always}
missing: {description: Awaited allocators this node lacks, to their package., type: dict, returned: always}
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import allocators, kernel, lock, services, units

STARTS_WITHIN_S = 15  # for a process to be there and to have loaded its libraries
ARGUMENTS = {
    "services": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "levers": {"type": "list", "elements": "str"},
            "environment": {"type": "dict"},
        },
    },
    "levers": {"type": "list", "elements": "str", "default": ["jemalloc"]},
    "restart": {"type": "bool", "default": False},
    "awaits": {"type": "list", "elements": "str", "choices": ["jemalloc"], "default": []},
}


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    code, output, error = module.run_command(["systemctl", *arguments])
    if code:
        raise ValueError(f"systemctl {' '.join(arguments)} failed: {(error or output).strip()}")
    return output


def show(module: AnsibleModule, names: list[str]) -> dict[str, units.State]:
    if not names:
        return {}
    output = systemctl(module, "show", f"--property={','.join(units.PROPERTIES)}", "--", *names)
    return units.parse_show(output, names)


def restart(module: AnsibleModule, unit: str, environment: dict[str, str]) -> units.State:
    """Restart the service. Raises ValueError when its new process does not prove that it has the environment."""
    systemctl(module, "restart", "--", unit)
    latest = time.monotonic() + STARTS_WITHIN_S
    while True:
        state = show(module, [unit])[unit]
        problem = services.unproven(unit, environment, state.pid)
        if not problem:
            return state
        if time.monotonic() > latest:
            raise ValueError(problem)
        time.sleep(0.2)


def refuse_broken(libraries: list[str]) -> None:
    for library in libraries:
        broken = allocators.loads(library)
        if broken:
            raise ValueError(broken)


def refuse_unknown(wishes: list[services.Wish], states: dict[str, units.State]) -> None:
    for wish in wishes:
        problem = services.unknown(wish, states[wish.unit])
        if problem:
            raise ValueError(problem)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    awaits, no_systemd = module.params["awaits"], services.missing()
    plan, states = services.Plan({}, False, {}, {}), {}
    try:
        held = None if module.check_mode else lock.to_tune()  # noqa: F841 - until the module ends
        found, expected = allocators.find(), allocators.expected()
        absent = [name for name in awaits if name not in found]
        package = allocators.jemalloc_package(kernel.distribution())
        if absent and not package:
            raise ValueError("jemalloc_install is true, and no package of jemalloc is known for this distribution")
        assumed = expected if no_systemd else {**found, **{name: expected[name] for name in absent}}
        usual = module.params["levers"]
        named = [
            {**row, "levers": usual if row["levers"] is None else row["levers"]} for row in module.params["services"]
        ]
        wishes = services.wishes(named, assumed)
        preloaded = {wish.environment.get("LD_PRELOAD") for wish in wishes}
        refuse_broken([path for name, path in found.items() if name in awaits or path in preloaded])
        if not no_systemd:
            names = [*{**dict.fromkeys(wish.unit for wish in wishes), **dict.fromkeys(services.present())}]
            states = show(module, names)
            plan = services.plan(wishes, states)

        restarts = list(plan.restarts) if module.params["restart"] else []
        writes = not module.check_mode and not absent
        if writes and not no_systemd:
            for change in plan.changes.values():
                services.write(change)
            if plan.reload:
                systemctl(module, "daemon-reload")
            states = show(module, names)
            refuse_unknown(wishes, states)
            for unit in restarts:
                states[unit] = restart(module, unit, plan.environments[unit])
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    acts = writes or module.check_mode
    result = {
        "changed": acts and bool(plan.reload or restarts),
        "services": [
            {
                "name": wish.unit,
                "environment": wish.environment,
                "pid": states[wish.unit].pid if states else 0,
                "skipped": no_systemd,
            }
            for wish in wishes
        ],
        "restart_owed": [reason for unit, reason in plan.restarts.items() if unit not in restarts],
        "restarted": restarts if acts else [],
        "removed": [f"/{change.path}" for change in plan.changes.values() if acts and change.after is None],
        "idle": [sentence for wish in wishes if states for sentence in services.idle(wish, states[wish.unit].pid)],
        "missing": dict.fromkeys(absent, package),
        "diff": [
            {"before_header": f"/{change.path}", "before": change.before or "", "after": change.after or ""}
            for change in plan.changes.values()
        ],
    }
    skipped = [f"{wish.unit} is skipped: {no_systemd}" for wish in wishes if no_systemd]
    for sentence in [*skipped, *result["restart_owed"], *(result["idle"] if writes else [])]:
        module.warn(sentence)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
