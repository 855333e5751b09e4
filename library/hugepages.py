#!/usr/bin/python
"""Ansible module: size the pools of explicit huge pages and say how many pages the kernel granted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hugepages
short_description: Size hugepage pools at runtime
description:
  - Sets pools per page size and NUMA node, and reads back what was granted.
  - When memory is too fragmented for the whole pool, compacts it and tries once more.
  - Refuses a pool larger than the memory that is available, before it writes anything.
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
  shortfall:
    description: What to do when the kernel grants fewer pages than asked.
    type: str
    choices: [fail, warn]
    default: fail
attributes:
  check_mode: {support: full, description: Plans without writing.}
  diff_mode: {support: full, description: Shows each pool before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: 2 GiB in pages of 2 MiB
  hugepages:
    pools:
      - size_kb: 2048
        count: 1024
"""

RETURN = r"""
pools:
  description: A row for each pool that changes, in pages.
  type: list
  elements: dict
  returned: always
  sample: [{path: sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, before: 0, requested: 1024, granted: 1024}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import hugepages, meminfo, snapshot

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
        },
    },
    "shortfall": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wishes = [hugepages.Wish(**pool) for pool in module.params["pools"]]
    try:
        changes = hugepages.plan(hugepages.read(), wishes, hugepages.default_size_kb(), meminfo.read())
        granted = {} if module.check_mode else snapshot.apply(changes, write=hugepages.grant)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    rows = [
        {
            "path": change.path,
            "before": int(change.before),
            "requested": int(change.after),
            "granted": int(granted.get(change.path, change.after)),
        }
        for change in changes
    ]
    result = {
        "changed": any(row["granted"] != row["before"] for row in rows),
        "pools": rows,
        "diff": {
            "before": "".join(f"/{row['path']} = {row['before']}\n" for row in rows),
            "after": "".join(f"/{row['path']} = {row['granted']}\n" for row in rows),
        },
    }
    for row in rows:
        if row["granted"] < row["requested"]:
            short = (
                f"/{row['path']}: {row['requested']} pages requested and {row['granted']} granted, memory is fragmented"
            )
            if module.params["shortfall"] == "fail":
                module.fail_json(msg=short, **result)
            module.warn(short)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
