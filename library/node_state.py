#!/usr/bin/python
"""Ansible module: read everything that drift of a node's configuration is judged by."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_state
short_description: Read host memory, what sets it, since when and from which package, and how it stands to the inventory
description:
  - Reads, and never changes, the whole host memory state as M(host_memory_facts) does.
  - Adds when each file was written that sets any of it, or is preloaded, and which package owns that file.
  - Adds how each setting that the inventory names stands, as M(host_memory_verify) has it, without failing.
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
  services:
    description: Drop-ins of services that are not as wanted, as M(service_levers) tells in check mode.
    type: list
    elements: str
    default: []
  services_not_verified:
    description: Why M(service_levers) could not tell.
    type: str
    default: ""
  allocators:
    description: Names of allocators whose libraries are wanted.
    type: list
    elements: str
    default: []
  certificate:
    description: File on the node whose content is wanted as well, its own certificate.
    type: path
  keep:
    description: File on the controller to keep the state in, which is then not returned.
    type: path
  keep_certificate:
    description: File on the controller to keep the certificate in, which is then not returned.
    type: path
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Read the node's state
  node_state:
    thp: {enabled: madvise}
    persist: true
"""

RETURN = r"""
state:
  description: The state.
  type: dict
  returned: without keep
  contains:
    read: {description: When it was read., type: str, returned: always, sample: "2026-11-21T02:00:00+00:00"}
    host_memory: {description: As of host_memory_facts., type: dict, returned: always}
    origins:
      description: When files were written, and their packages.
      type: dict
      returned: always
      sample: {/etc/sysctl.d/30-db.conf: {modified: "2026-11-20T14:03:11+00:00", package: ""}}
    written:
      description: When the kernel's own files were written to.
      type: dict
      returned: always
      sample: {sys/kernel/mm/transparent_hugepage/enabled: "2026-11-21T01:58:00+00:00"}
    as_wanted:
      description: Whether every setting, mount and allocator named stands as wanted, and no drop-in of ours is there.
      type: bool
      returned: always
    inventory: {description: A row for each setting the inventory names., type: list, elements: dict, returned: always}
    services: {description: As given., type: list, elements: str, returned: always}
    services_not_verified: {description: As given., type: str, returned: always}
    not_verified: {description: Why the inventory could not be held against the node., type: str, returned: always}
certificate:
  description: Content of the certificate; without keep_certificate.
  type: str
  returned: when it is on the node
"""

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent import foreign
from ansible.module_utils.probe_agent.host import hugepages, origins, sources, state, thp, verify

ARGUMENTS = {
    "thp": {"type": "dict", "default": {}},
    "pools": {"type": "list", "elements": "dict", "default": []},
    "mounts": {"type": "list", "elements": "dict", "default": []},
    "persist": {"type": "bool", "default": False},
    "services": {"type": "list", "elements": "str", "default": []},
    "services_not_verified": {"type": "str", "default": ""},
    "allocators": {"type": "list", "elements": "str", "default": []},
    "certificate": {"type": "path"},
    "keep": {"type": "path"},
    "keep_certificate": {"type": "path"},
}


def kernel_files() -> list[str]:
    """Return the files of /sys through which a person sets what is compared."""
    folder = Path("/", thp.FOLDER)
    return [
        *(path.relative_to("/").as_posix() for path in sorted(folder.rglob("*")) if path.is_file()),
        *(pool.path for pool in hugepages.read()),
    ]


def certificate(path: str | None) -> dict[str, str]:
    """Return the node's own certificate, nothing where there is none or it cannot be one."""
    try:
        return {"certificate": foreign.content(Path(path)).decode()} if path else {}
    except (OSError, ValueError):
        return {}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        found, memory = sources.read(), state.read()
        paths = [row.file for row in found] + [*memory["allocators"].values(), *memory["service_dropins"]]
        written = origins.written_at(kernel_files())
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"the node's state cannot be read: {error}")
    stands, not_verified = [], ""
    try:
        stands = verify.rows(verify.Wanted(params["thp"], params["pools"], params["mounts"], params["persist"]), found)
    except (OSError, ValueError, TypeError) as error:
        not_verified = str(error)
    module.exit_json(
        changed=False,
        state={
            "read": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "host_memory": memory,
            "origins": {path: asdict(origin) for path, origin in origins.read(paths).items()},
            "written": written,
            "as_wanted": not not_verified
            and not any(row.deviation or row.skipped or row.pending_reboot for row in stands)
            and not memory["service_dropins"]
            and memory["allocators"].keys() >= set(params["allocators"]),
            "inventory": [row.to_json() for row in stands],
            "not_verified": not_verified,
            "services": params["services"],
            "services_not_verified": params["services_not_verified"],
        },
        **certificate(params["certificate"]),
    )


if __name__ == "__main__":
    main()
