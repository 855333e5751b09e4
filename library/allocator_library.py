#!/usr/bin/python
"""Ansible module: find an allocator library on the node and prove that a process can be started with it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: allocator_library
short_description: Find an allocator library and prove that it loads
description:
  - Looks where the distributions put the library, and starts a process with it preloaded.
  - Never changes anything; a package task installs the library when this reports it missing.
options:
  name:
    description: The allocator.
    type: str
    required: true
    choices: [jemalloc, tcmalloc, mimalloc]
  required:
    description:
      - Fail when the library is missing, though not in check mode, where a package task may still bring it.
      - A library that is there and does not load always fails.
    type: bool
    default: true
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: The node has a jemalloc that loads
  allocator_library:
    name: jemalloc
"""

RETURN = r"""
path: {description: Where the library is. Empty when it is missing., type: str, returned: always}
package: {description: What this distribution calls jemalloc. Empty when unknown., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import allocators, kernel

ARGUMENTS = {
    "name": {"type": "str", "required": True, "choices": ["jemalloc", "tcmalloc", "mimalloc"]},
    "required": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    name = module.params["name"]
    path = allocators.find().get(name, "")
    package = allocators.jemalloc_package(kernel.distribution()) or ""
    if path:
        broken = allocators.loads(path)
        if broken:
            module.fail_json(msg=broken, path=path)
    elif module.params["required"] and not module.check_mode:
        module.fail_json(msg=f"no {name} library was found in any of the distributions' folders", path=path)
    module.exit_json(changed=False, path=path, package=package)


if __name__ == "__main__":
    main()
