#!/usr/bin/python
"""Ansible module: read the node's whole host-memory state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_memory_facts
short_description: Read transparent huge pages, hugepage pools, hugetlbfs mounts and what surrounds them
description:
  - Reads, and never changes, the state of host memory that decides how an inference process gets its pages.
  - Covers every file of transparent huge pages (general, khugepaged, per size), the pools per page size and NUMA node,
    hugetlbfs mounts, the huge lines of /proc/meminfo, allocator libraries, kernel, command line and fragmentation, and
    what sets any of it at boot, by file and line.
options: {}
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
  facts: {support: full, description: Returns facts under host_memory.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Read the host memory state
  host_memory_facts:

- name: Say which mode THP is in
  ansible.builtin.debug:
    var: ansible_facts.host_memory.thp.enabled
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host.
  type: dict
  returned: always
  contains:
    host_memory:
      description: The state; amounts carry their unit in the key, pools count pages.
      type: dict
      returned: always
      sample:
        thp: {enabled: madvise, defrag: madvise, khugepaged: {pages_to_scan: "4096"}, per_size: {}}
        pools: [{size_kb: 2048, total: 0, free: 0, surplus: 0, reserved: 0, overcommit: 0, numa_node: null}]
        memory_available_mb: 23710
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import state


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        found = state.read()
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"the host memory state cannot be read: {error}")
    module.exit_json(changed=False, ansible_facts={"host_memory": found})


if __name__ == "__main__":
    main()
