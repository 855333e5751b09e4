#!/usr/bin/python
"""Ansible module: hold the node's host memory against the inventory, and name the source of each deviation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_memory_verify
short_description: Compare host memory settings with what is wanted
description:
  - Reads back every setting that is named, whether it will survive a reboot, and what else on the node sets it.
  - Changes nothing. Fails with a sentence for each deviation; a pool that waits for a reboot is none.
options:
  thp:
    description: Wanted transparent huge pages, as the module thp takes them.
    type: dict
    default: {}
  pools:
    description: Wanted pools, as the module hugepages takes them.
    type: list
    elements: dict
    default: []
  mounts:
    description: Wanted mounts, as the module hugetlbfs takes them.
    type: list
    elements: dict
    default: []
  persist:
    description: Whether the settings are to survive a reboot.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: The node is as the inventory wants it
  host_memory_verify:
    thp: {enabled: madvise}
    pools: [{size_kb: 2048, count: 1024}]
    persist: true
"""

RETURN = r"""
settings:
  description: A row for each setting named.
  type: list
  elements: dict
  returned: always
  sample: [{variable: thp_enabled, desired: madvise, actual: always, persisted: true, pending_reboot: false}]
deviations: {description: A sentence for each setting not as wanted., type: list, elements: str, returned: always}
unread: {description: Files that could not be looked into., type: list, elements: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import sources, verify

ARGUMENTS = {
    "thp": {"type": "dict", "default": {}},
    "pools": {"type": "list", "elements": "dict", "default": []},
    "mounts": {"type": "list", "elements": "dict", "default": []},
    "persist": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        found = sources.read()
        stands = verify.rows(verify.Wanted(params["thp"], params["pools"], params["mounts"], params["persist"]), found)
    except (OSError, ValueError, TypeError) as error:
        module.fail_json(msg=str(error))

    deviations = [row.deviation for row in stands if row.deviation]
    result = {
        "changed": False,
        "settings": [row.to_json() for row in stands],
        "deviations": deviations,
        "unread": [row.sentence for row in sources.unread(found)],
    }
    if deviations:
        module.fail_json(msg="; ".join(deviations), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
