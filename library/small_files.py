#!/usr/bin/python
"""Ansible module: put small files on the node in one step, where copy takes four for each."""

from __future__ import annotations

DOCUMENTATION = r"""
module: small_files
short_description: Put small files on the node in one step
description:
  - The contents travel with the module, so that all files together cost a node one execution.
  - Readers see an old file or a new one.
  - In a playbook a file may have C(src), a file on the controller, in place of C(content). It is left out when its
    C(src) is not there or its C(dest) is empty; where none is left the node is not asked.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      content: {description: What the file is to hold., type: str, required: true}
      dest: {description: The file. Its folder must be there., type: path, required: true}
attributes:
  check_mode: {support: full, description: Says whether a file would change.}
  diff_mode: {support: none, description: The contents are on the controller.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Put the certificate on the node
  small_files:
    files:
      - src: reports/runs/certified/node1.json
        dest: /var/lib/stethos/certificate.json
"""

RETURN = r"""
written: {description: Files that were not as wanted., type: list, elements: str, returned: always}
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"content": {"type": "str", "required": True}, "dest": {"type": "path", "required": True}},
    }
}
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
    written = []
    for file in module.params["files"]:
        path, wanted = Path(file["dest"]), file["content"].encode()
        try:
            if path.is_file() and path.read_bytes() == wanted:
                continue
            if not module.check_mode:
                write(path, wanted)
        except OSError as error:
            module.fail_json(msg=f"{path} cannot be written: {error.strerror}", written=written)
        written.append(str(path))
    module.exit_json(changed=bool(written), written=written)


if __name__ == "__main__":
    main()
