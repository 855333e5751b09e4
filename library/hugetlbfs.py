#!/usr/bin/python
"""Ansible module: mount hugetlbfs where processes look for it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hugetlbfs
short_description: Mount hugetlbfs
description:
  - Mounts what is missing, makes the folder when there is none, and keeps both for a rollback.
  - Persists by a mount unit where systemd runs; elsewhere it is a plain mount until the next boot.
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
  persist:
    description: Mount again at each boot.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Plans without mounting.}
  diff_mode: {support: full, description: Shows mounts and files before and after.}
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
settings: {description: A row for each mount named, as it stands., type: list, elements: dict, returned: always}
skipped_settings: {description: Variable to why this node cannot have it., type: dict, returned: always}
not_persisted: {description: Why the mounts will not survive a reboot. Else empty., type: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import (
    files,
    hugepages,
    hugetlbfs,
    lock,
    meminfo,
    mounts,
    persist,
    snapshot,
    tuning,
)

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
    },
    "persist": {"type": "bool", "default": False},
}


def checked(module: AnsibleModule, command: list[str]) -> str:
    code, out, error = module.run_command(command)
    if code:
        module.fail_json(msg=f"{' '.join(command)} failed: {error.strip()}")
    return out.strip()


def unit_of(module: AnsibleModule, path: str) -> str:
    return checked(module, ["systemd-escape", "--path", "--suffix=mount", path])


def make_folder(path: str) -> None:
    """Recorded before all that lives on it: a rollback goes backwards, and can only remove what is no mount point."""
    if not Path(path).is_dir():
        snapshot.record("folder", path, "", path)
        Path(path).mkdir(parents=True)


def mount(module: AnsibleModule, path: str, options: str, unit: str) -> None:
    """Mount, by the unit when there is one; else recorded before it happens."""
    if unit:
        checked(module, ["systemctl", "start", unit])
    else:
        snapshot.record("mount", path, "", options)
        checked(module, ["mount", "-t", "hugetlbfs", "-o", options, "none", path])


def enable(module: AnsibleModule, changes: list[files.FileChange], units: list[str]) -> None:
    """Write the changes, and have the units mounted at each boot."""
    for change in changes:
        files.write(change)
    if changes or units:
        checked(module, ["systemctl", "daemon-reload"])
    for unit in units:
        snapshot.record("unit", unit, "", "enabled")
        checked(module, ["systemctl", "enable", "--quiet", unit])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wishes = [hugetlbfs.MountWish(**wish) for wish in module.params["mounts"]]
    sizes, default_kb = sorted({pool.size_kb for pool in hugepages.read()}), meminfo.default_page_kb()
    skipped = "" if default_kb else "this node's kernel has no hugetlb pages"
    unpersisted = persist.missing() if module.params["persist"] else ""
    persists = module.params["persist"] and not unpersisted and not skipped
    try:
        held = None if module.check_mode else lock.to_tune()  # noqa: F841 - until the module ends
        found = mounts.read()
        planned = [] if skipped else [(wish, hugetlbfs.plan(found, wish, sizes, default_kb)) for wish in wishes]
        owed = [(wish.path, options) for wish, options in planned if options is not None]
        units = {wish.path: unit_of(module, wish.path) for wish in wishes} if persists else {}
        owned = [hugetlbfs.unit_file(wish, units[wish.path], default_kb) for wish in wishes if persists]
        plan = tuning.plan([], {file.path: file for file in owned}, persists)
        disabled = [unit for unit in units.values() if not hugetlbfs.enabled(unit)]
        if not module.check_mode:
            for path, _ in owed:
                make_folder(path)
            enable(module, plan.files, disabled)
            for path, options in owed:
                mount(module, path, options, units.get(path, ""))
            found = mounts.read()
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    unwritten = {Path(change.path).name for change in plan.files} if module.check_mode else set()
    lasts = {path: unit not in unwritten and hugetlbfs.enabled(unit) for path, unit in units.items()}
    stands = [hugetlbfs.row(wish, found, default_kb, lasts.get(wish.path), skipped) for wish in wishes]
    result = tuning.outcome(plan, stands)
    result["changed"] = bool(owed or plan.files or disabled)
    result["diff"]["after"] += "".join(f"{path} hugetlbfs {options}\n" for path, options in owed)
    result["diff"]["after"] += "".join(f"{unit} enabled\n" for unit in disabled)
    result.update(mounted=[path for path, _ in owed], not_persisted=unpersisted)
    if not module.check_mode:  # read back
        absent = [row.deviation for row in stands if row.deviation]
        if absent:
            module.fail_json(msg="; ".join(absent), **result)
    for variable, reason in result["skipped_settings"].items():
        module.warn(f"{variable} is skipped: {reason}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
