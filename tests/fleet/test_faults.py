"""One run over a fleet in which nearly every node breaks in its own way: each gets its row, the others finish."""

from __future__ import annotations

import json
import signal

import pytest
from bed import Node

DEADLINE_S = 15
