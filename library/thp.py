#!/usr/bin/python
"""Ansible module: set transparent huge pages on the running kernel and say what they really became."""

from __future__ import annotations

DOCUMENTATION = r"""
module: thp
short_description: Set transparent huge pages at runtime
description:
  - Writes only what is named, reads it back, and keeps the value found before the first write for a rollback.
options:
  enabled:
    description: When processes get huge pages for anonymous memory. One of the words this kernel offers.
    type: str
  defrag:
    description: What a page fault may do to find a huge page. One of the words this kernel offers.
    type: str
attributes:
  check_mode: {support: full, description: Plans without writing.}
  diff_mode: {support: full, description: Shows each file before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Huge pages only for those who ask
  thp:
    enabled: madvise
    defrag: never
"""

RETURN = r"""
before: {description: Values found., type: dict, returned: always, sample: {enabled: always}}
after:
  description: Values read back, or planned in check mode.
  type: dict
  returned: always
  sample: {enabled: madvise}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import snapshot, thp

ARGUMENTS = {"enabled": {"type": "str"}, "defrag": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = {name: value for name, value in module.params.items() if value is not None}
    try:
        found = thp.read()
        changes = thp.plan(found, wanted)
        if not module.check_mode:
            snapshot.apply(changes)
            unmet = thp.plan(thp.read(), wanted)
            if unmet:
                module.fail_json(
                    msg=f"asked for {unmet[0].after} in /{unmet[0].path}, and the kernel kept {unmet[0].before}"
                )
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    before = {name: found.general[name].value for name in wanted}
    after = {name: str(value) for name, value in wanted.items()}
    texts = ("".join(f"/{thp.FOLDER}/{name} = {value}\n" for name, value in state.items()) for state in (before, after))
    module.exit_json(changed=bool(changes), before=before, after=after, diff=dict(zip(("before", "after"), texts)))


if __name__ == "__main__":
    main()
