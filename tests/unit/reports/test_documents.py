"""The labs' documents: there when their probe left samples, drawn from its figures, gone when it has none."""

import csv
import io
import json
import re

import pytest

from reports import documents, fleet_page, render, run_folder, schema

NAMES = {
    "first_token_latency.md": "serving",
    "kv_cache_scaling.csv": "kv",
    "kv_cache_scaling_notes.md": "kv",
    "batching_benchmark.md": "batching",
}
EVIL = "<img src=x onerror=alert(1)>|\n# c [x](javascript:alert(1)) `y`"


def rendered(run, name):
    render.render(run_folder.read(run))
    return (run / "hosts/n" / name).read_text()


def measurement(run):
    (host,) = run_folder.read(run).hosts()
    return host.result


def test_every_document_is_written_and_linked(make_run, gpu_document):
    run = make_run({"n": {"result": gpu_document}})
    render.render(run_folder.read(run))
    page, report = (run / "hosts/n/index.html").read_text(), (run / "hosts/n/report.md").read_text()
    for name in NAMES:
        assert (run / "hosts/n" / name).is_file()
        assert f'<a href="{name}">' in page
        assert f"[{name}]({name})" in report
    document = json.loads((run / "fleet.json").read_text())
    schema.check("fleet", document)
    assert set(document["hosts"][0]["files"].values()) >= {f"hosts/n/{name}" for name in NAMES}


def test_a_document_of_an_earlier_rendering_goes_with_its_samples(make_run, gpu_document):
    run = make_run({"n": {"result": gpu_document}})
    render.render(run_folder.read(run))
    for name, probe in NAMES.items():
        gpu_document["probes"][probe] |= {
            "status": "skipped",
            "reason": "profile quick starts no server",
            "samples": [],
        }
        (run / "hosts/n/result.json").write_text(json.dumps(gpu_document))
        render.render(run_folder.read(run))
        assert not (run / "hosts/n" / name).exists()
        assert name not in (run / "hosts/n/index.html").read_text()


def test_rendering_twice_gives_the_same_bytes(make_run, gpu_document, cpu_document):
    run = make_run({"n": {"result": gpu_document, "baseline": cpu_document}})

    def everything():
        render.render(run_folder.read(run))
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    assert everything() == everything()


def test_the_csv_starts_with_the_labs_columns(make_run, gpu_document):
    text = rendered(make_run({"n": {"result": gpu_document}}), "kv_cache_scaling.csv")
    assert text.startswith("max_model_len,gpu_mem_used_mb,kind,how,")
    header, *rows = csv.reader(io.StringIO(text))
    assert rows[1][:5] == ["4096", "71928.9375", "capacity", "measured", "2476432"]
    assert rows[0][1] == ""  # derived: no server was started for it
    assert rows[-1][:4] == ["32768", "18550", "footprint", "measured"]
    assert rows[-1][header.index("sequences")] == "16"
    assert {row[header.index("pss_used_mb")] for row in rows} == {""}


def test_memory_of_processes_is_never_called_the_gpus(make_run, cpu_document):
    text = rendered(make_run({"n": {"result": cpu_document}}), "kv_cache_scaling.csv")
    footprints = [row for row in csv.DictReader(io.StringIO(text)) if row["kind"] == "footprint"]
    assert [(row["gpu_mem_used_mb"], row["pss_used_mb"]) for row in footprints] == [("", "5000")] * 2


def test_first_token_latency_has_the_labs_figures(make_run, gpu_document):
    text = rendered(make_run({"n": {"result": gpu_document}}), "first_token_latency.md")
    assert "| Start | cold_req_real_s (s) | warm_req_real_s (s) |" in text
    assert "| cold, pair 1 | 0.425 | 0.087 | 350 | 12.1 |" in text
    assert "### Jumps of memory" in text
    assert "| start | 0.100 | 19.000 | 3.0 | 3.0 | 74,000 | 74,000 |" in text


def test_the_slo_paragraph_is_drawn_from_the_figures(make_run, cpu_document):
    assert documents.slo_sentences(measurement(make_run({"n": {"result": cpu_document}}))) == [
        "After a cold start the first request waits 350 ms for its first token and the next ones 12.3 ms: 338 ms more, "
        "28.5 times as long (1 cold start). A request that has to wait for such a start has its first token after "
        "76.350 s: only a server that already runs meets an SLO below that.",
        "After a warm start the first request waits 45.9 ms for its first token and the next ones 12.3 ms: 33.6 ms "
        "more, 3.73 times as long (1 warm start). A request that has to wait for such a start has its first token "
        "after 22.486 s: only a server that already runs meets an SLO below that.",
        "2 of 12 requests had the first token later than 1.5 times the median of the next requests to its server, 2 of "
        "these as the first request of a server: a pool of servers that have each answered a request before saves a "
        "caller from 2 of them.",
    ]


def test_where_the_first_request_pays_nothing_no_pool_is_praised(make_run, cpu_document):
    for start in cpu_document["probes"]["serving"]["samples"]:
        start["first"]["ttft_s"] = 0.010
        start["next"][0]["ttft_s"] = 0.5
    cold, _, pool = documents.slo_sentences(measurement(make_run({"n": {"result": cpu_document}})))
    assert "2.40 ms less: no penalty, 0.81 times as long" in cold
    assert pool.endswith("0 of these as the first request of a server: a pool of servers that have each answered a "
                         "request before would have spared none.")  # fmt: skip
    for start in cpu_document["probes"]["serving"]["samples"]:
        start["next"][0]["ttft_s"] = 0.012
    said = documents.slo_sentences(measurement(make_run({"n": {"result": cpu_document}})))
    assert said[2].startswith("None of 12 requests had its first token later than 1.5 times")


def test_a_start_whose_first_request_failed_promises_nothing(make_run, cpu_document):
    for start in cpu_document["probes"]["serving"]["samples"]:
        start["first"] |= {"error": "connection reset", "ttft_s": None, "e2e_s": None}
        start["next"] = []
    run = make_run({"n": {"result": cpu_document}})
    assert documents.slo_sentences(measurement(run)) == [
        "No cold start has both a first and a next request that ended, so its cost is not known.",
        "No warm start has both a first and a next request that ended, so its cost is not known.",
    ]
    assert "2 of 2 requests of the serving probe failed, the first with: connection reset" in rendered(
        run, "first_token_latency.md"
    )


def test_the_notes_say_how_memory_scales_and_what_to_choose(make_run, gpu_document):
    text = rendered(make_run({"n": {"result": gpu_document}}), "kv_cache_scaling_notes.md")
    assert "GPU memory grows by 28.0 KiB per token (least squares over 4 servers), 0.0 % from the" in text
    assert "no reading farther off than 0.00 MiB; without any cache it would be 4,214 MiB." in text
    assert (
        "Recommended max-model-len on this device: 32,768 tokens. The rule: the longest max-model-len tried of which "
        "32 full sequences fit at once; 32 is where throughput saturates. No longer one was tried." in text
    )


def test_capacity_that_is_not_flat_is_said(make_run, gpu_document):
    rows = gpu_document["probes"]["kv"]["samples"]
    rows[0] |= {"how": "measured", "kv_tokens": 2_000_000}
    text = rendered(make_run({"n": {"result": gpu_document}}), "kv_cache_scaling_notes.md")
    assert (
        "the capacity changes with max-model-len: the measured capacities at 512 and 4,096 tokens differ by 19 %."
        in text
    )


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        (16, "which 16 full sequences fit at once; 16 is what the footprint was asked for. No longer one was tried."),
        (200, "Recommended max-model-len on this device: 4,096 tokens."),
        (5000, "No max-model-len tried can be recommended."),
    ],
)  # fmt: skip
def test_without_a_sweep_the_footprints_sequences_decide(make_run, gpu_document, sequences, said):
    del gpu_document["probes"]["batching"]
    for row in gpu_document["probes"]["kv"]["samples"]:
        row["sequences"] = sequences if row["kind"] == "footprint" else None
    assert said in rendered(make_run({"n": {"result": gpu_document}}), "kv_cache_scaling_notes.md")


def test_batching_benchmark_has_the_labs_figures(make_run, gpu_document):
    text = rendered(make_run({"n": {"result": gpu_document}}), "batching_benchmark.md")
    assert "| sequential_s | 3.336 | 32 | 307 |" in text
    assert "| concurrent_s | 0.190 | 32 | 5,390 |" in text
    assert "17.6 times the tokens per second" in text
    busy = "GPU utilization (mean of NVML's gauge during each load of 2 s and more): 31 % one by one."
    assert busy in text  # the other loads are over before the gauge has seen them


def test_half_a_benchmark_says_what_it_lacks(make_run, cpu_document):
    probe = cpu_document["probes"]["batching"]
    probe |= {"status": "failed", "reason": "the server stopped answering", "evidence": {}}
    probe["samples"] = [row for row in probe["samples"] if row["load"] == 0]
    text = rendered(make_run({"n": {"result": cpu_document}}), "batching_benchmark.md")
    assert "The probe failed: the server stopped answering. What it had measured until then is here." in text
    assert "Only one of the two modes was measured, so the gain is not known." in text
    assert "Fewer than two concurrencies were measured, so this is not known." in text
    assert "No GPU utilization was read of a load that took 2 s." in text


def test_foreign_words_are_text_in_every_document(make_run, gpu_document):
    probes = gpu_document["probes"]
    gpu_document["spec"]["model"] = EVIL
    for start in probes["serving"]["samples"]:
        start["first"]["error"] = start["log"] = EVIL
        start["jumps"] = [{"what": "pss", "phase": EVIL, "at_s": 1, "from_mb": 1, "to_mb": 2}]
        start["timeline"]["phases"][0]["phase"] = EVIL
    probes["serving"]["evidence"]["cold_means"] = EVIL
    probes["kv"]["evidence"]["left_out"] = [EVIL]
    probes["batching"] |= {"status": "failed", "reason": EVIL}
    probes["batching"]["samples"][0]["error"] = EVIL
    run = make_run({"n": {"result": gpu_document}})
    for name in NAMES:
        text = rendered(run, name)
        assert "<" not in text
        assert not re.search(r"(?<!\\)\]\(javascript", text)
        assert all(line.endswith("|") for line in text.splitlines() if line.startswith("|"))


def test_the_fleet_shows_a_servers_figures_where_there_are_some(make_run, gpu_document, document):
    run = make_run({"n": {"result": gpu_document}})
    (row,) = render.render(run_folder.read(run))
    assert row.device == "cpu, cuda:0"  # the load probe's processes are those of a machine without one
    assert (
        row.headline | {"warm_first_ttft_s": 0.0468, "saturation_concurrency": 32, "batching_gain": 17.557}
        == row.headline
    )
    assert row.headline["kv_bytes_per_token"] == pytest.approx(28672)
    titles = [column.title for column in fleet_page.hosts_table(fleet_page.of([row])).columns]
    assert {"First request, cold", "Saturates at"} <= set(titles)


def test_a_fleet_without_servers_has_no_columns_for_them(sample_run):
    titles = [
        column.title
        for column in fleet_page.hosts_table(fleet_page.of(render.render(run_folder.read(sample_run)))).columns
    ]
    assert "Saturates at" not in titles


def test_figures_no_float_can_hold_stay_out_of_the_fleet(make_run, gpu_document):
    for row in gpu_document["probes"]["batching"]["samples"]:
        row["load_wall_s"] = 1e-320
    for row in gpu_document["probes"]["bandwidth"]["samples"]:
        row["seconds"] = 1e-320
    gpu_document["probes"]["batching"]["evidence"] = {}
    run = make_run({"n": {"result": gpu_document}})
    (row,) = render.render(run_folder.read(run))
    assert "batching_gain" not in row.headline
    schema.check("fleet", json.loads((run / "fleet.json").read_text()))


def test_a_result_of_servers_alone_names_the_nodes_gpus(make_run, gpu_document):
    gpu_document["probes"] = {"serving": gpu_document["probes"]["serving"]}
    (row,) = render.render(run_folder.read(make_run({"n": {"result": gpu_document}})))
    assert row.device == "NVIDIA H200"


def test_a_node_cannot_make_a_document_endless(make_run, gpu_document):
    start = gpu_document["probes"]["serving"]["samples"][0]
    start["timeline"]["phases"] = [{"at_s": number, "phase": "x"} for number in range(60)]
    start["timeline"]["rows"] = [[number, 1.0, 1.0, 1.0] for number in range(60)]
    gpu_document["probes"] = {"serving": gpu_document["probes"]["serving"] | {"samples": [start] * 20}}
    text = rendered(make_run({"n": {"result": gpu_document}}), "first_token_latency.md")
    assert text.count("### Memory over time") == 12
    assert text.count("10 more rows in the raw data.") == 12
