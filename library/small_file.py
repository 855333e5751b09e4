#!/usr/bin/python
"""Ansible module: put a small file on the node in one step, where copy takes four."""

from __future__ import annotations

DOCUMENTATION = r"""
module: small_file
short_description: Put a small file on the node in one step
description:
  - The content travels with the module, so that a file costs a node one execution.
  - Readers see the old file or the new one.
options:
  content:
    description: What the file is to hold.
    type: str
    required: true
  dest:
    description: The file. Its folder must be there.
    type: path
    required: true
attributes:
  check_mode: {support: full, description: Says whether the file would change.}
  diff_mode: {support: none, description: The content is on the controller.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Put the certificate on the node
  small_file:
    content: "{{ lookup('ansible.builtin.file', 'node1.json', rstrip=false) }}"
    dest: /var/lib/stethos/certificate.json
"""

RETURN = r"""
dest: {description: The file., type: str, returned: always}
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {"content": {"type": "str", "required": True}, "dest": {"type": "path", "required": True}}
MODE = 0o644


def write(path: Path, content: bytes) -> None:
    """Write beside the file, then rename; until then the name has an ending that nobody looks for."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=str(path.parent))
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        fresh.chmod(MODE)
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    path, wanted = Path(module.params["dest"]), module.params["content"].encode()
    try:
        changed = not path.is_file() or path.read_bytes() != wanted
        if changed and not module.check_mode:
            write(path, wanted)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}", dest=str(path))
    module.exit_json(changed=changed, dest=str(path))


if __name__ == "__main__":
    main()
