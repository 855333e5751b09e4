#!/usr/bin/python
"""Ansible module: mount hugetlbfs where processes look for it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hugetlbfs
short_description: Mount hugetlbfs at runtime
description:
  - Mounts what is missing, makes the folder when there is none, and keeps both for a rollback.
  - Refuses a path that is a file, holds files, or carries another mount.
options:
  mounts:
    description: The mounts wanted.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Absolute path., type: str, required: true}
      size_kb: {description: Page size in KiB. The kernel's default size when left out., type: int}
      mode: {description: Octal permissions of the root folder., type: str}
      uid: {description: Owner of the root folder., type: int}
      gid: {description: Group of the root folder., type: int}
      limit_mb: {description: Most memory the mount may take., type: int}
attributes:
  check_mode: {support: full, description: Plans without mounting.}
  diff_mode: {support: full, description: Shows the mounts before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Give processes a place for huge pages
  hugetlbfs:
    mounts:
      - path: /mnt/huge
        size_kb: 2048
        mode: "1770"
"""

RETURN = r"""
mounted: {description: Paths that were mounted now, or would be., type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import hugepages, hugetlbfs, mounts, snapshot

ARGUMENTS = {
    "mounts": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "size_kb": {"type": "int"},
            "mode": {"type": "str"},
            "uid": {"type": "int"},
            "gid": {"type": "int"},
            "limit_mb": {"type": "int"},
        },
    }
}


def mount(module: AnsibleModule, path: str, options: str) -> None:
    """Make the folder and mount; each is recorded before it happens."""
    if not Path(path).is_dir():
        snapshot.record("folder", path, "", path)
        Path(path).mkdir(parents=True)
    snapshot.record("mount", path, "", options)
    code, _, error = module.run_command(["mount", "-t", "hugetlbfs", "-o", options, "none", path])
    if code:
        module.fail_json(msg=f"{path} cannot be mounted with {options}: {error.strip()}")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wishes = [hugetlbfs.Wish(**wish) for wish in module.params["mounts"]]
    sizes = sorted({pool.size_kb for pool in hugepages.read()})
    try:
        found = mounts.read()
        planned = [(wish, hugetlbfs.plan(found, wish, sizes, hugepages.default_size_kb())) for wish in wishes]
        owed = [(wish.path, options) for wish, options in planned if options is not None]
        if not module.check_mode:
            for path, options in owed:
                mount(module, path, options)
            for wish in wishes:  # read back: a mount that is not there now is still owed
                if hugetlbfs.plan(mounts.read(), wish, sizes, hugepages.default_size_kb()) is not None:
                    module.fail_json(msg=f"{wish.path} was mounted, and the kernel does not list it")
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    module.exit_json(
        changed=bool(owed),
        mounted=[path for path, _ in owed],
        diff={"before": "", "after": "".join(f"{path} hugetlbfs {options}\n" for path, options in owed)},
    )


if __name__ == "__main__":
    main()
