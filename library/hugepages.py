#!/usr/bin/python
"""Ansible module: size the pools of explicit huge pages and say how many pages the kernel granted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hugepages
short_description: Size hugepage pools
description:
  - Sets pools per page size and NUMA node, and reads back what was granted.
  - When memory is too fragmented for the whole pool, compacts it and tries once more.
  - Refuses a pool larger than the memory that is available, before it writes anything. Never takes pages in use.
  - Refuses to persist a pool that something else on the node would set to another size, naming file and line.
options:
  pools:
    description: The pools wanted. A pool that is not named stays as it is.
    type: list
    elements: dict
    required: true
    suboptions:
      size_kb: {description: Page size in KiB. The kernel's default size when left out., type: int}
      count: {description: Number of pages. Either this or percent., type: int}
      percent: {description: Share of the node's memory. Either this or count., type: float}
      numa_node: {description: NUMA node. Spread over all nodes when left out., type: int}
      overcommit: {description: Pages more that the kernel may hand out of free memory., type: int}
      at_boot:
        description: Reserve the pool by the kernel command line as well. Needs persist, and a reboot.
        type: bool
        default: false
  shortfall:
    description: What to do when the kernel grants fewer pages than asked.
    type: str
    choices: [fail, warn]
    default: fail
  tuned:
    description: What to do where an active TuneD profile sets something else; merge adds a profile behind it.
    type: str
    choices: [refuse, merge]
    default: refuse
  persist:
    description: Size the pools again at each boot, through sysctl.d, tmpfiles.d and the kernel command line.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Plans without writing.}
  diff_mode: {support: full, description: Shows each pool and file before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: 2 GiB in pages of 2 MiB, and four pages of 1 GiB from the next boot on
  hugepages:
    pools:
      - size_kb: 2048
        count: 1024
      - size_kb: 1048576
        count: 4
        at_boot: true
    persist: true
"""

RETURN = r"""
settings:
  description: A row for each pool named, as it stands.
  type: list
  elements: dict
  returned: always
  sample: [{variable: "hugepages_pools[0]", desired: "1024", actual: "1024", persisted: true, deviation: ""}]
pools:
  description: A row for each pool that changes, in pages.
  type: list
  elements: dict
  returned: always
  sample: [{path: sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, before: 0, requested: 1024, granted: 1024}]
reboot_required: {description: Whether a pool waits for the next boot., type: bool, returned: always}
skipped_settings: {description: Variable to why this node cannot have it., type: dict, returned: always}
not_persisted: {description: Why the values will not survive a reboot. Else empty., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import (
    boot,
    hugepages,
    lock,
    meminfo,
    persist,
    sources,
    tuned,
    tuned_merge,
    tuning,
)

ARGUMENTS = {
    "pools": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "size_kb": {"type": "int"},
            "count": {"type": "int"},
            "percent": {"type": "float"},
            "numa_node": {"type": "int"},
            "overcommit": {"type": "int"},
            "at_boot": {"type": "bool", "default": False},
        },
    },
    "shortfall": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
    "tuned": {"type": "str", "choices": ["refuse", "merge"], "default": "refuse"},
    "persist": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = [hugepages.PoolWish(**pool) for pool in module.params["pools"]]
    unpersisted = persist.missing() if module.params["persist"] else ""
    try:
        held = None if module.check_mode else lock.to_tune()  # noqa: F841 - until the module ends
        default_kb = meminfo.default_page_kb()
        found = boot.claim(sources.read(), default_kb)
        merges = module.params["tuned"] == "merge" and tuned.state().active
        plan = hugepages.plan(wanted, persists=module.params["persist"] and not unpersisted, merges=merges)
        tuning.refuse_a_fight(plan, found, default_kb, merges)
        words = hugepages.boot_words(wanted, default_kb) if plan.persists else ""
        untold = boot_owed = boot.owed(words, plan.files, module.run_command)
        if not module.check_mode:
            plan = tuning.carry_out(plan, write=hugepages.grant)
            if boot_owed:
                boot.tell(words, module.run_command)
            untold = boot.owed(words, [], module.run_command)
            if merges and tuned_merge.owed("hugepages"):
                tuned_merge.activate("hugepages", module.run_command)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    stands = hugepages.await_boot(tuning.rows(plan, found, default_kb), wanted, untold)
    actual = {row.path: row for row in stands}
    rows = [
        {
            "path": change.path,
            "before": int(change.before),
            "requested": int(change.after),
            "granted": int(change.after if module.check_mode else actual[change.path].actual),
        }
        for change in plan.changes
    ]
    result = {
        **tuning.outcome(plan, stands),
        "pools": rows,
        "reboot_required": any(row.pending_reboot for row in stands),
        "not_persisted": unpersisted,
    }
    result["changed"] |= boot_owed
    for variable, reason in result["skipped_settings"].items():
        module.warn(f"{variable} is skipped: {reason}")
    for row in rows:
        if row["granted"] < row["requested"] and not actual[row["path"]].skipped:
            short = (
                f"/{row['path']}: {row['requested']} pages requested and {row['granted']} granted, memory is fragmented"
            )
            if module.params["shortfall"] == "fail" and not actual[row["path"]].pending_reboot:
                module.fail_json(msg=short, **result)
            module.warn(short)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
