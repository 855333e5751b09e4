"""Where things live on a node: in the system's folders for root, in the user's for everybody else."""

from __future__ import annotations

import os
from pathlib import Path

_USER = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "stethos"

HOME = Path("/opt/stethos") if os.geteuid() == 0 else _USER
STATE = Path("/var/lib/stethos") if os.geteuid() == 0 else _USER / "state"
