"""How to read vLLM's log: the line that names why a server failed, and the lines at which its start enters a phase."""

from __future__ import annotations

import re

from .fresh import last_words

# A text of the log, and the phase that begins there: what was done until then is the phase before.
CAPTURING = "cuda_graphs"
PHASES = (
    ("Starting to load model", "weights"),
    ("Loading model from scratch", "weights"),  # what newer versions say on a GPU
    ("Loading weights took", "profile"),
    ("KV cache size:", "kv_cache"),
    ("Capturing CUDA graphs", CAPTURING),
    ("init engine (profile, create kv cache, warmup model) took", "api"),
)
PREFIX = re.compile(r"^(?:\([^)]*pid=\d+\) ?)?(?:(?:ERROR|CRITICAL|WARNING|INFO) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt)(?:: .*)?|\S+\.py: error: .*")
# Where the process that failed tells it; the others only tell that it did.
FAILED = re.compile(r"(?:EngineCore|WorkerProc) (?:failed|hit an exception|encountered a fatal error)")
ECHO = re.compile(
    "Engine core initialization failed|WorkerProc initialization failed|Frontend process failed|EngineDeadError"
    "|KeyboardInterrupt|CancelledError"
)
LONGEST = 400
ADVICE = (
    (
        r"OutOfMemoryError|CUDA out of memory",
        "the model does not fit this GPU: take a smaller probe_model or probe_max_model_len",
    ),
    (
        r"No available memory for the cache blocks",
        "the model leaves no room for a KV cache: raise probe_gpu_memory_utilization or take a smaller probe_model",
    ),
    (
        r"larger than the available KV cache",
        "lower probe_max_model_len or raise probe_gpu_memory_utilization",
    ),
    (
        r"Free memory on device|less than requested memory for kv",
        "lower probe_gpu_memory_utilization or free memory; what others hold was not touched",
    ),
    (r"greater than the derived max_model_len", "lower probe_max_model_len"),
    (r"unrecognized arguments", "probe_server_flags has what this version of vLLM does not know"),
    (r"[Aa]ddress already in use", "set probe_server_port to a free port, or 0 to take one"),
    (r"No module named '?vllm\b", "install vLLM for this Python, or point probe_python at one that has it"),
)


def cause(log: str) -> str:
    """Return why the server failed in one line, with what to do about it where that is known; nothing if none tells.

    The first error of the process that failed is the cause; what stands after it is told by those that waited for it.
    """
    lines = [PREFIX.sub("", line) for line in log.splitlines()]
    failed = next((number for number, line in enumerate(lines) if FAILED.search(line)), None)
    errors = [number for number, line in enumerate(lines) if ERROR.fullmatch(line) and not ECHO.search(line)]
    after = [number for number in errors if failed is not None and number > failed]
    found = _whole(lines, (after or errors[-1:])[0]) if errors else last_words("\n".join(lines))
    if ECHO.search(found):  # the process that failed was killed, and said nothing
        return ""
    advice = next((sentence for pattern, sentence in ADVICE if re.search(pattern, found)), "")
    return f"{found.split('. ')[0].rstrip('.')}: {advice}" if advice else _cut(found)


def _whole(lines: list[str], number: int) -> str:
    """Return the error; what pydantic found wrong stands in the line after."""
    if "validation error" in lines[number] and number + 1 < len(lines):
        return lines[number + 1].strip().split(" [type=")[0]
    return lines[number].strip()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
