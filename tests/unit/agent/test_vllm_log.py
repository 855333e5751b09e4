"""The line that names the cause, in logs as vLLM writes them."""

import pytest

from probe_agent.engines import vllm_log

NOISE = """\
(APIServer pid=1) INFO 11-21 05:23:20 [model.py:733] Resolved architecture: Qwen2ForCausalLM
(Worker pid=3) WARNING 11-21 04:53:47 [utils.py:597] Failed to create oneDNN linear. Exception: could not create
"""
CORE = """\
(EngineCore pid=2) ERROR 11-21 05:23:46 [core.py:1510] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-21 05:23:46 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-21 05:23:46 [core.py:1510]   File "/venv/vllm/v1/engine/core.py", line 1485, in run
(EngineCore pid=2) ERROR 11-21 05:23:46 [core.py:1510]     raise ValueError(
(EngineCore pid=2) ERROR 11-21 05:23:46 [core.py:1510] {error}
(EngineCore pid=2) ERROR 11-21 05:24:08 [multiproc_executor.py:315] Worker proc VllmWorker-0 died unexpectedly (exit code: None)
(EngineCore pid=2) Process EngineCore:
(EngineCore pid=2) Traceback (most recent call last):
(EngineCore pid=2) {error}
"""  # noqa: E501
API = """\
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/venv/vllm/v1/engine/utils.py", line 1431, in wait_for_engine_startup
(APIServer pid=1)     raise RuntimeError(
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked
  warnings.warn('resource_tracker: There appear to be %d '
"""
WORKER = """\
(Worker_TP1 pid=4) ERROR 11-21 05:23:40 [multiproc_executor.py:953] WorkerProc failed to start.
(Worker_TP1 pid=4) ERROR 11-21 05:23:40 [multiproc_executor.py:953] Traceback (most recent call last):
(Worker_TP1 pid=4) ERROR 11-21 05:23:40 [multiproc_executor.py:953] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 1 has a total capacity of 79.25 GiB of which 1.79 GiB is free.
"""  # noqa: E501


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
            "ValueError: No available memory for the cache blocks: the model leaves no room for a KV cache: "
            "raise probe_gpu_memory_utilization or take a smaller probe_model",
        ),
        (
            "ValueError: Free memory on device cuda:0 (3.22/4.0 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 3.6 GiB). Decrease GPU memory utilization.",
            "ValueError: Free memory on device cuda:0 (3.22/4.0 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 3.6 GiB): lower probe_gpu_memory_utilization or free memory; what others hold was not "
            "touched",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 350.00 MiB.",
            "torch.OutOfMemoryError: CUDA out of memory: the model does not fit this GPU: take a smaller probe_model "
            "or probe_max_model_len",
        ),
        (
            "RuntimeError: CUDA error: launch failure",
            "RuntimeError: CUDA error: launch failure",
        ),
    ],
)
def test_the_engines_error_is_the_cause_not_what_the_api_server_makes_of_it(error, sentence):
    assert vllm_log.cause(NOISE + CORE.format(error=error) + API) == sentence


def test_a_workers_error_comes_before_that_of_its_engine():
    echo = "Exception: WorkerProc initialization failed due to an exception in a background process."
    found = vllm_log.cause(NOISE + WORKER + CORE.format(error=echo) + API)
    assert found.startswith("torch.OutOfMemoryError: CUDA out of memory: the model does not fit")


def test_what_a_request_was_told_before_is_not_the_cause():
    earlier = "(APIServer pid=1) ERROR 11-21 05:20:00 [serving.py:9] ValueError: prompt too long\n"
    assert vllm_log.cause(earlier + CORE.format(error="OSError: disk gone")) == "OSError: disk gone"


def test_pydantic_says_it_in_the_next_line():
    log = """\
Traceback (most recent call last):
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (999999) is greater than the derived max_model_len (32768). See [type=v]
    For further information visit https://errors.pydantic.dev/2.12/v/value_error
"""
    assert vllm_log.cause(NOISE + log) == (
        "Value error, User-specified max_model_len (999999) is greater than the derived max_model_len (32768): "
        "lower probe_max_model_len"
    )


def test_a_flag_that_vllm_does_not_know():
    log = (
        "usage: api_server.py [-h] [--headless]\n  [model_tag]\napi_server.py: error: unrecognized arguments: --nope\n"
    )
    assert vllm_log.cause(log) == (
        "api_server.py: error: unrecognized arguments: --nope: "
        "probe_server_flags has what this version of vLLM does not know"
    )


def test_an_interpreter_without_vllm():
    log = "/usr/bin/python3: Error while finding module specification (ModuleNotFoundError: No module named 'vllm')\n"
    assert "point probe_python at one that has it" in vllm_log.cause(log)


def test_an_engine_that_was_killed_left_no_cause_whatever_others_say_of_it():
    said = "Traceback (most recent call last):\nvllm.v1.engine.exceptions.EngineDeadError: EngineCore is dead\n"
    assert vllm_log.cause(NOISE + said) == ""


def test_without_an_error_the_last_words_stand():
    assert vllm_log.cause(NOISE + "Segmentation fault\n").endswith("could not create | Segmentation fault")
    assert vllm_log.cause("") == ""


def test_a_long_cause_is_cut():
    assert len(vllm_log.cause("ValueError: " + "x" * 9000)) == vllm_log.LONGEST
