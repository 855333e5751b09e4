#!/usr/bin/python
"""Ansible module: put back what this project changed on the node, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Put back every value and mount that was changed
description:
  - Works from the snapshot that each change left in /var/lib/stethos before it was made.
  - Gives back first what a killed probe had changed for the length of a measurement.
  - Leaves what somebody else changed since, and says so.
  - Idempotent, and able to undo a run that was killed half-way.
options: {}
attributes:
  check_mode: {support: full, description: Plans without writing.}
  diff_mode: {support: full, description: Shows each value before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: Put the node back as it was
  rollback:
"""

RETURN = r"""
restored: {description: What was put back, a sentence each., type: list, elements: str, returned: always}
left:
  description: Sentences about what was left because somebody else changed it.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe_agent.host import boot, hugetlbfs, knobs, loans, lock, snapshot


def run(module: AnsibleModule, command: list[str]) -> str:
    """Return what the command complained of, or nothing."""
    code, _, error = module.run_command(command)
    return error.strip() if code else ""


def undo(module: AnsibleModule, step: snapshot.Undo) -> str:
    """Carry one step out. Returns why it failed, or nothing."""
    path = step.entry.path
    try:
        if step.change:
            actual, wanted = knobs.write(step.change), step.change.after
            return "" if actual == wanted else f"/{path} was to become {wanted} again, and is {actual}"
        if not step.gone:
            return ""
        if step.entry.kind == "mount":
            return run(module, ["umount", path])
        if step.entry.kind == "tuned":
            return run(module, ["tuned-adm", "profile", *step.entry.before.split()])
        if step.entry.kind == "boot words":
            return run(module, boot.removal(step.entry.wrote))
        if step.entry.kind == "unit":
            return run(module, ["systemctl", "disable", "--now", "--quiet", path])
        if step.entry.kind == "file":
            Path("/", path).unlink()
        elif not any(Path(path).iterdir()):  # files that others put into our folder stay
            Path(path).rmdir()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def renew(module: AnsibleModule, removed: list[str]) -> None:
    """Tell systemd and the boot loader that files of theirs are gone. Raises ValueError where that fails."""
    ours = [Path("/", path) for path in removed if path.startswith("etc/systemd/system/")]
    for folder in {Path("/", path).parent for path in removed}:
        made_for_it = folder.name.endswith(".service.d") or folder.name.startswith("stethos-")
        if made_for_it and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if ours:
        module.run_command(["systemctl", "daemon-reload"])
    if boot.GRUB_FILE in removed:
        boot.renew(module.run_command)


def now_there(step: snapshot.Undo) -> str:
    return f"/{step.change.path} = {step.change.before}" if step.change else f"{step.entry.kind} {step.entry.path}"


def described(step: snapshot.Undo) -> str:
    if step.change:
        return f"/{step.change.path} is {step.change.after} again"
    return f"{step.entry.kind} {step.entry.path} is gone"


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    lent, kept = [], []
    try:
        held = None if module.check_mode else lock.to_tune()  # noqa: F841 - until the module ends
        lent = snapshot.read(file=loans.FILE)
        if lent and not module.check_mode:
            kept = loans.give_back()
        steps = snapshot.plan_rollback(snapshot.read(), {mount.target for mount in hugetlbfs.read()})
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))

    failed = {}
    if not module.check_mode:
        failed = {step.entry: problem for step in steps for problem in [undo(module, step)] if problem}
        snapshot.forget([step.entry for step in steps if step.entry not in failed])
        done = [step.entry for step in steps if step.gone and step.entry not in failed]
        try:
            renew(module, [entry.path for entry in done if entry.kind == "file"])
        except (OSError, ValueError) as error:
            module.warn(str(error))

    acted = [step for step in steps if (step.change or step.gone) and step.entry not in failed]
    result = {
        "changed": bool(acted or lent),
        "restored": [
            *(f"/{entry.path} was lent to a probe, which was killed" for entry in lent),
            *(described(step) for step in acted),
        ],
        "left": [*kept, *(step.foreign for step in steps if step.foreign)],
        "diff": {
            "before": "".join(f"{now_there(step)}\n" for step in acted),
            "after": "".join(f"/{step.change.path} = {step.change.after}\n" for step in acted if step.change),
        },
    }
    for sentence in result["left"]:
        module.warn(sentence)
    if failed:
        module.fail_json(msg="; ".join(failed.values()), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
