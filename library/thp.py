#!/usr/bin/python
"""Ansible module: set transparent huge pages, now and for the next boots, and say what they really became."""

from __future__ import annotations

DOCUMENTATION = r"""
module: thp
short_description: Set transparent huge pages
description:
  - Writes only what is named, reads it back, and keeps the value found before the first write for a rollback.
  - Refuses to persist a value that something else on the node would overwrite, naming file and line.
  - A setting this node cannot have is skipped with the reason.
options:
  enabled:
    description: When processes get huge pages for anonymous memory. One of the words this kernel offers.
    type: str
  defrag:
    description: What a page fault may do to find a huge page. One of the words this kernel offers.
    type: str
  shmem_enabled:
    description: The same as enabled for shared memory. One of the words this kernel offers.
    type: str
  use_zero_page:
    description: Whether a read fault gets the shared huge zero page. 0 or 1.
    type: int
  per_size:
    description: Page size in KiB to its enabled word, for kernels with several sizes.
    type: dict
  khugepaged:
    description: Settings of the daemon that collapses small pages.
    type: dict
    suboptions:
      defrag: {description: Whether it may compact memory. 0 or 1., type: int}
      pages_to_scan: {description: Pages to scan at each pass., type: int}
      scan_sleep_millisecs: {description: Rest between passes., type: int}
      alloc_sleep_millisecs: {description: Rest after a huge page could not be had., type: int}
      max_ptes_none: {description: Empty small pages it may fill up to make a huge one., type: int}
  tuned:
    description: What to do where an active TuneD profile sets something else; merge adds a profile behind it.
    type: str
    choices: [refuse, merge]
    default: refuse
  persist:
    description: Write the values again at each boot, through tmpfiles.d.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Plans without writing.}
  diff_mode: {support: full, description: Shows each value and file before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Huge pages only for those who ask
  thp:
    enabled: madvise
    defrag: never
    khugepaged: {pages_to_scan: 4096}
    persist: true
"""

RETURN = r"""
settings:
  description: A row for each setting named, as it stands.
  type: list
  elements: dict
  returned: always
  sample: [{variable: thp_enabled, desired: madvise, actual: madvise, persisted: true, skipped: "", deviation: ""}]
skipped_settings: {description: Variable to why this node cannot have it., type: dict, returned: always}
not_persisted: {description: Why the values will not survive a reboot. Else empty., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import lock, meminfo, persist, sources, thp, tuned, tuned_merge, tuning

ARGUMENTS = {
    "enabled": {"type": "str"},
    "defrag": {"type": "str"},
    "shmem_enabled": {"type": "str"},
    "use_zero_page": {"type": "int"},
    "per_size": {"type": "dict"},
    "khugepaged": {"type": "dict", "options": {name: {"type": "int"} for name in thp.KHUGEPAGED}},
    "tuned": {"type": "str", "choices": ["refuse", "merge"], "default": "refuse"},
    "persist": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    unpersisted = persist.missing() if module.params["persist"] else ""
    try:
        held = None if module.check_mode else lock.to_tune()  # noqa: F841 - until the module ends
        found, default_kb = sources.read(), meminfo.default_page_kb()
        merges = module.params["tuned"] == "merge" and tuned.state().active
        plan = thp.plan(module.params, persists=module.params["persist"] and not unpersisted, merges=merges)
        tuning.refuse_a_fight(plan, found, default_kb, merges)
        if not module.check_mode:
            plan = tuning.carry_out(plan)
            if merges and tuned_merge.owed("thp"):
                tuned_merge.activate("thp", module.run_command)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    result = tuning.outcome(plan, tuning.rows(plan, found, default_kb))
    for variable, reason in result["skipped_settings"].items():
        module.warn(f"{variable} is skipped: {reason}")
    module.exit_json(**result, not_persisted=unpersisted)


if __name__ == "__main__":
    main()
