"""Settings of the node that are changed for the length of a measurement: journaled before, and given back after.

The journal is a snapshot of its own (see snapshot.py). Whoever finds one left gives back what it holds: the guard of a
killed agent, the next run, or a rollback.
"""

from __future__ import annotations

from pathlib import Path

from . import knobs, snapshot

NAME = "campaign.json"
FILE = f"{Path(snapshot.FILE).parent}/{NAME}"


def journal(state_dir: Path) -> str:
    """Return the journal's path in the folder of what the agent writes."""
    return str(state_dir.absolute() / NAME)


def give_back(file: str = FILE, root: Path = Path("/")) -> list[str]:
    """Put back what the journal holds, and drop it. Returns a sentence for each value that stays otherwise.

    Raises OSError, with the journal kept, where the kernel refuses a value.
    """
    undos = snapshot.plan_rollback(snapshot.read(root, file), set(), root)
    left = [undo.foreign for undo in undos if undo.foreign]
    for change in [undo.change for undo in undos if undo.change]:
        actual = knobs.write(change, root)
        if actual != change.after:
            left.append(f"/{change.path} was to become {change.after} again, and is {actual}")
    snapshot.forget([undo.entry for undo in undos], root, file)
    return left
