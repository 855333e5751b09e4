"""Processes that hold a model: started fresh, watched while they live, ended with nothing left behind."""

# The environment of all of them, levers apart.
QUIET = {
    # With a neighbour on one core, OpenMP threads that spin at barriers made the same 64 tokens take 30 s instead of 2.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Nothing is fetched while the clock runs; bars and hints would only fill the log.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
