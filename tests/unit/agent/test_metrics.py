"""What a server says of itself on /metrics, from its own words."""

import pytest

from probe_agent.engines import metrics

TEXT = r"""# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",cache_dtype="auto",engine="0",kv_cache_max_concurrency="23.8125",kv_cache_size_tokens="48768",kv_skip="[{\"a\"}, \\ \n]",num_gpu_blocks="381",num_gpu_blocks_override="None"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="probe"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="probe"} 3.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="probe"} 3.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="probe"} 0.25
vllm:num_requests_waiting_by_reason{engine="0",model_name="probe",reason="capacity"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="probe",reason="deferred"} 1.0
process_cpu_seconds_total 11.7 1763702400000
go_gc_duration_seconds NaN
half a line {
"""  # noqa: E501


def test_a_name_is_summed_over_its_labels_and_buckets_are_left_out():
    found = metrics.totals(metrics.parse(TEXT))
    assert found["vllm:time_to_first_token_seconds_sum"] == 0.25
    assert found["vllm:num_requests_waiting_by_reason"] == 3
    assert found["process_cpu_seconds_total"] == 11.7
    assert not [name for name in found if name.endswith("_bucket") or name.startswith("half")]


def test_labels_are_read_as_they_were_before_escaping():
    labels = metrics.parse(TEXT)[0].labels
    assert labels["kv_skip"] == '[{"a"}, \\ \n]'
    assert labels["num_gpu_blocks_override"] == "None"


def test_the_cache_by_the_servers_own_account():
    assert metrics.cache(metrics.parse(TEXT), 2048) == metrics.Cache(381, 128, 48768, 23.8125)


def test_an_older_server_tells_blocks_alone():
    text = 'vllm:cache_config_info{block_size="16",kv_cache_size_tokens="None",num_gpu_blocks="100"} 1.0'
    assert metrics.cache(metrics.parse(text), 33) == metrics.Cache(100, 16, 1600, 100 / 3)


@pytest.mark.parametrize("text", ["", 'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0'])
def test_no_account_of_the_cache_is_said(text):
    with pytest.raises(ValueError, match="does not tell its KV cache"):
        metrics.cache(metrics.parse(text), 2048)
