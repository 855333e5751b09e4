"""What a page says of servers: from good measurements, from broken ones, and from a node's lies."""

import pytest

from reports import findings, run_folder, sections
from reports.sections import bandwidth, batching, curves, kv, pressure, serving

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def host(make_run):
    """Return a host by its result, and by a measurement before tuning where there is one."""

    def read(result, baseline=None):
        (found,) = run_folder.read(make_run({"n": {"result": result, "baseline": baseline}})).hosts()
        assert found.broken == ()
        return found

    return read


def shown(section, title):
    found = next(table for table in (*section.tables, *section.details) if table.title == title)
    return [[cell.text for cell in row] for row in found.rows]


def column(section, table, title):
    found = next(each for each in (*section.tables, *section.details) if each.title == table)
    place = [each.title for each in found.columns].index(title)
    return [row[place].text for row in found.rows]


def test_every_server_probe_has_its_section(host, gpu_document):
    anchors = [section.anchor for section in sections.of(host(gpu_document))]
    assert anchors[3:] == ["allocators", "serving", "kv", "batching", "curves", "bandwidth", "pressure", "environment"]


def test_a_server_that_captured_no_graphs_is_not_said_to_have_used_them(host, gpu_document):
    note = serving.section(host(gpu_document)).tables[0].note
    assert note.endswith("was to decode with CUDA graphs, and captured none: it ran the model step by step.")


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("graphs", "The server ran the model with CUDA graphs for decoding, uncompiled."),
        ("fast", ""),
        (EVIL, ""),
        ([], ""),
    ],
)
def test_the_page_says_how_the_server_ran_the_model(host, gpu_document, mode, said):
    probe = gpu_document["probes"]["serving"]
    probe["evidence"]["mode"] = mode
    probe["samples"][0]["timeline"]["phases"].append({"at_s": 19.5, "phase": "cuda_graphs"})
    note = serving.section(host(gpu_document)).tables[0].note
    assert note.endswith(said or "unless the server's clock is named.")


def test_a_probe_without_samples_has_no_section_and_no_finding(host, gpu_document):
    for name in ("bandwidth", "pressure", "serving", "batching", "curves", "kv"):
        gpu_document["probes"][name] |= {"status": "failed", "reason": "no room", "samples": [], "evidence": {}}
    found = host(gpu_document)
    for theme in (bandwidth, pressure, serving, batching, curves, kv):
        assert (theme.section(found), theme.findings(found)) == (None, [])


def test_two_pairs_of_starts_give_an_interval(host, gpu_document):
    found = host(gpu_document)
    assert serving.findings(found)[0] == (
        "A vLLM server is ready 77.520 s after its spawn cold and 22.880 s warm (medians): "
        "cold takes 3.39 times as long (95 % interval 3.37 … 3.40, 2 pairs)."
    )
    assert shown(serving.section(found), "Cold start against warm start")[0] == [
        *("spawn to ready", "2", "3.39", "3.37 … 3.40"),
    ]


def test_one_pair_gives_no_interval_and_says_so(host, cpu_document):
    found = host(cpu_document)
    assert serving.findings(found)[0].endswith("22.440 s warm (medians); one pair gives no interval.")
    assert shown(serving.section(found), "Cold start against warm start")[0] == ["spawn to ready", "1", "3.39", "–"]


def test_starts_of_different_pairs_are_not_compared(host, cpu_document):
    cpu_document["probes"]["serving"]["samples"][1]["pair"] = 7
    assert serving.findings(host(cpu_document))[0].endswith("(medians); there is no pair of both to compare.")


def test_a_serving_probe_that_failed_after_its_cold_start_keeps_it(host, gpu_document):
    gpu_document["probes"]["serving"] |= {"status": "failed", "reason": "server ended", "evidence": {}}
    del gpu_document["probes"]["serving"]["samples"][1:]
    found = host(gpu_document)
    assert serving.findings(found)[0] == "A vLLM server was ready 76.000 s after its spawn, cold; no warm start ended."
    assert "Probe serving failed (server ended), keeping 1 sample." in findings.missing(found)
    assert shown(serving.section(found), "What cold meant") == [["cold, pair 1", "754,577", "0", "yes", "empty"]]


def test_a_cold_start_that_was_warm_is_said(host, gpu_document):
    gpu_document["probes"]["serving"]["samples"][0]["resident_pages_at_start"] = 754577
    found = host(gpu_document)
    assert any(said.startswith("The cold server starts were not cold") for said in serving.findings(found))
    assert shown(serving.section(found), "What cold meant")[0][3] == "no"


def test_a_failed_request_has_no_times_and_is_counted(host, gpu_document):
    first = gpu_document["probes"]["serving"]["samples"][0]["first"]
    first |= {"error": f"HTTP 500: {EVIL}", "e2e_s": None}  # its first token had come
    found = host(gpu_document)
    assert shown(serving.section(found), "First request against the next ones")[0] == [
        *("cold, pair 1", "–", "12.3", "5", "–", "–", "1"),
    ]
    assert serving.findings(found)[-1] == (
        f"1 of 24 requests to the started servers failed, the first with: HTTP 500: {EVIL}"
    )


def test_a_timeline_is_cut_at_its_phases(host, gpu_document):
    start = gpu_document["probes"]["serving"]["samples"][0]
    start["timeline"]["rows"].insert(0, [-1.0, 2.0, None, None])
    start["timeline"]["rows"].append([None, 9e9, None, None])
    rows = shown(serving.section(host(gpu_document)), "Memory over time, cold, pair 1")
    assert [row[0] for row in rows] == ["before the spawn", "start", "first request", "next requests"]
    assert rows[1][3:7] == ["3.0", "3.0", "74,000", "74,000"]


def test_a_node_without_a_gpu_has_no_columns_for_one(host, cpu_document):
    section = serving.section(host(cpu_document))
    table = next(table for table in section.details if table.title == "Memory of each start")
    assert not [column.title for column in table.columns if "GPU" in column.title]
    assert column(section, "Memory of each start", "PSS of its processes, most") == ["5,300", "5,300"]
    assert "Jumps of memory" not in [table.title for table in section.details]


def test_a_measurement_before_tuning_is_kept_in_the_details(host, gpu_document, cpu_document):
    found = host(gpu_document, cpu_document)
    titles = [table.title for section in sections.of(found) for table in section.details]
    for title in ("Concurrency sweep", "Footprint of sequences of that length", "Rates"):
        assert f"{title}, before tuning" in titles


def test_batching_names_gain_saturation_and_tails(host, gpu_document):
    found = host(gpu_document)
    assert batching.findings(found) == [
        "32 requests took 3.336 s one by one and 0.190 s all at once: 17.6 times the tokens per second (307 → 5,390).",
        "The server saturates at 32 requests at once: 5,500 tokens/s of 5,800 at most "
        "(90 % of the highest counts as saturated).",
    ]
    section = batching.section(found)
    assert column(section, "Concurrency sweep", "Saturated") == ["–"] * 5 + ["from here on", "–"]
    assert column(section, "Concurrency sweep", "First token p95") == ["–"] * 4 + ["12.9", "16.0", "22.1"]
    assert column(section, "Concurrency sweep", "First token p99") == ["–"] * 6 + ["22.6"]


def test_a_sweep_that_still_grows_is_not_saturated(host, gpu_document):
    probe = gpu_document["probes"]["batching"]
    probe["evidence"]["loads"][-1]["tokens_per_s"] = 9000.0
    found = host(gpu_document)
    assert batching.findings(found)[1] == (
        "The server is not saturated within what was tried: 64 requests at once gave 9,000 tokens/s, "
        "and no fewer reached 90 % of that."
    )
    assert column(batching.section(found), "Concurrency sweep", "Saturated")[-1] == "not yet"


def test_a_batching_probe_that_failed_is_summed_up_from_its_requests(host, gpu_document):
    probe = gpu_document["probes"]["batching"]
    probe |= {"status": "failed", "reason": "the server stopped answering", "evidence": {}}
    probe["samples"] = [row for row in probe["samples"] if row["load"] < 4]
    for row in probe["samples"]:
        if row["load"] == 3:
            del row["load_wall_s"]  # as an agent that writes no such column
    found = batching.loads(host(gpu_document).result)
    assert [round(load.tokens_per_s) for load in found] == [307, 5390, 310, 606]
    assert found[3].gpu_utilization_percent is None


def test_requests_that_failed_at_a_concurrency_are_left_out_of_its_times(host, gpu_document):
    for row in gpu_document["probes"]["batching"]["samples"]:
        if row["load"] == 2:
            row |= {"error": "timed out", "ttft_s": None, "e2e_s": None, "tpot_s": None, "itl_max_s": None}
    found = host(gpu_document)
    section = batching.section(found)
    assert column(section, "Concurrency sweep", "Failed") == ["16", *["0"] * 6]
    assert column(section, "Concurrency sweep", "First token p50")[0] == "–"
    assert 1 not in [place for series in section.figures[1].series for place, _ in series.dots]
    assert batching.findings(found)[-1].startswith("16 of 352 requests of the batching probe failed")


def test_a_client_that_was_late_says_so(host, gpu_document):
    gpu_document["probes"]["batching"]["evidence"]["loads"][5]["client_lag_max_s"] = 0.02
    said = batching.findings(host(gpu_document))[2]
    assert said.startswith(
        "At concurrency 8 the client was up to 20.0 ms late, more than 10 % of the median first token"
    )


def test_what_the_server_still_holds_and_what_was_not_tried_are_said(host, gpu_document):
    evidence = gpu_document["probes"]["batching"]["evidence"]
    evidence["leak"] = {"kv_cache_usage_perc": 0.25, "num_requests_running": 1.0, "waited_s": 5.0, "free": False}
    evidence["left_out"] = ["concurrency 128 is more than the 64 sequences the server runs at once"]
    assert batching.findings(host(gpu_document))[2:] == [
        "After the loads the server had not let go of everything: kv_cache_usage_perc 0.25, num_requests_running 1.0.",
        "Not tried: concurrency 128 is more than the 64 sequences the server runs at once.",
    ]


def test_curves_stand_beside_their_base(host, gpu_document):
    found = host(gpu_document)
    assert curves.findings(found) == [
        "The first token comes after 8.30 ms with a prompt of 128 tokens and after 210 ms with one of 8,192 (medians).",
        "Beside 4 busy Python threads tokenizing takes 5.00 times as long, the first token takes 3.00 times as long "
        "and a whole request takes 1.00 times as long as beside none (medians).",
    ]
    busy = shown(curves.section(found), "Beside busy Python threads in the client's process")
    assert busy[-1] == ["4", "3", "10.0", "5.00", "10.0", "36.0", "3.00", "36.0", "200", "1.00", "200"]


def test_the_rate_of_tokens_that_came_together_is_not_told(host, gpu_document):
    rows = gpu_document["probes"]["curves"]["samples"]
    for row in rows:
        if row["curve"] == "prompt_length" and row["prompt_tokens"] == 8192:
            row["chunks"] -= 3
    section = curves.section(host(gpu_document))
    rates = column(section, "First token against prompt length, one request at a time", "Decode")
    assert rates[-1] == "–" != rates[0]


def test_a_curve_without_its_base_compares_nothing(host, gpu_document):
    probe = gpu_document["probes"]["curves"]
    probe["samples"] = [row for row in probe["samples"] if row.get("threads") == 4]
    found = host(gpu_document)
    assert curves.findings(found) == []
    (table,) = curves.section(found).tables
    assert [row[3].text for row in table.rows] == ["–"]


def test_a_token_costs_what_the_servers_line_says(host, gpu_document):
    found = host(gpu_document)
    assert kv.line(found.result).bytes_per_token == pytest.approx(28672)
    assert kv.findings(found) == [
        "The KV cache holds 2,476,432 tokens: 75 sequences of 32,768 tokens fit at once (derived).",
        "GPU memory grows by 28.0 KiB per token (least squares over 4 servers), 0.0 % from the 28.0 KiB "
        "that the architecture says.",
    ]


def test_derived_footprints_do_not_move_the_line(host, gpu_document):
    rows = gpu_document["probes"]["kv"]["samples"]
    rows[4] |= {"how": "derived", "memory_used_mb": 99999.0}
    assert kv.line(host(gpu_document).result).bytes_per_token == pytest.approx(28672)


def test_memory_of_processes_is_named_as_such(host, cpu_document):
    del cpu_document["probes"]["kv"]["evidence"]["memory"]  # as a probe that failed leaves it: the node has no GPU
    said = kv.findings(host(cpu_document))[1]
    assert said.startswith("PSS of the server's processes grows by 0.00 KiB per token")
    assert said.endswith(kv.PSS_CAVEAT)


@pytest.mark.parametrize(("kept", "capacity_mb", "said"), [(0, 100.0, 0), (3, 100.0, 0), (4, None, 1), (4, 100.0, 0)])
def test_one_size_of_the_cache_makes_no_line(host, gpu_document, kept, capacity_mb, said):
    probe = gpu_document["probes"]["kv"]
    probe["samples"][1]["memory_used_mb"] = capacity_mb
    probe |= {"status": "failed", "reason": "no room", "evidence": {}, "samples": probe["samples"][:kept]}
    found = host(gpu_document)
    sentence = "Memory was measured at one size of the cache only, so what a token takes is not known."
    assert kv.findings(found).count(sentence) == said


def test_lengths_fit_concurrencies_until_none_does(host, cpu_document):
    rows = shown(kv.section(host(cpu_document)), "Which max-model-len fits which concurrency")
    assert rows[4:] == [
        ["16", "2,048", "4,096"],
        ["32", "2,048", "2,048"],
        ["64", "512", "1,024"],
        ["128", "512", "512"],
        ["256", "–", "256"],
    ]


def test_pressure_says_what_the_page_cache_is_worth(host, gpu_document):
    found = host(gpu_document)
    assert pressure.findings(found) == [
        "With nothing of the model in the page cache a load takes 2.00 times as long as with all of it "
        "(95 % interval 1.93 … 2.07, 3 blocks)."
    ]
    section = pressure.section(found)
    assert shown(section, "Load by what is left of the page cache") == [
        ["100 %", "3", "100", "64", "0.500", "0.500", "0.500", "–", "–"],
        ["50 %", "3", "55", "142", "0.683", "0.679", "0.687", "1.37", "1.35 … 1.39"],
        ["0 %", "3", "5.0", "220", "0.966", "0.953", "0.979", "1.93", "1.87 … 2.00"],
    ]
    assert section.tables[0].note.endswith("Of 22,000 MiB available, the node never had less than 21,000 MiB.")


def test_pressure_says_which_loads_it_did_not_run_itself(host, gpu_document):
    for row in gpu_document["probes"]["pressure"]["samples"]:
        if row["level"] in (0.0, 1.0):
            row |= {"taken_from": "load", "balloon_mb": None, "limit_mb": None, "available_lowest_mb": None}
    section = pressure.section(host(gpu_document))
    note = section.tables[0].note
    assert "limited to 229 MiB" in note
    assert note.endswith(" At 100 % and 0 % stand the processes of the load probe, warm and cold.")


def test_pressure_that_squeezed_nothing_is_no_figure(host, gpu_document):
    for row in gpu_document["probes"]["pressure"]["samples"]:
        row |= {"resident_share_at_start": 1.0, "resident_pages_at_start": 40000}
    said = pressure.findings(host(gpu_document))
    assert said[0].startswith("What a squeezed page cache costs a load is not known")
    assert said[1] == "Pages stayed beyond the room left for them: another process has the model's files mapped."


def test_pressure_of_one_block_and_of_a_part_of_the_model(host, gpu_document):
    probe = gpu_document["probes"]["pressure"]
    probe["samples"] = [row for row in probe["samples"] if row["block"] == 1]
    probe["evidence"]["partly"] = "100 of the model's 200 MiB were squeezed, the rest was left in the page cache"
    said = pressure.findings(host(gpu_document))
    assert said[0].endswith("2.00 times as long as with all of it; one block gives no interval.")
    assert said[1] == f"{probe['evidence']['partly']}."


def test_pressure_that_shows_no_difference_says_so(host, gpu_document):
    for row in gpu_document["probes"]["pressure"]["samples"]:
        row["load_s"] = 1.0 + 0.1 * (row["block"] - 1) * row["level"]
    assert pressure.findings(host(gpu_document))[0].endswith(", so a difference is not shown.")


@pytest.mark.parametrize("load_s", [0, 1e-300, 1e17])
def test_pressure_of_hostile_figures_costs_no_section(host, gpu_document, load_s):
    for row in gpu_document["probes"]["pressure"]["samples"][::2]:
        row |= {"load_s": load_s, "pages": 0, "pressed_mb": 1e18}
    found = host(gpu_document)
    assert pressure.section(found)
    assert pressure.findings(found)


@pytest.mark.parametrize(("total_mb", "said"), [(128_000, "CPUs 0-7, 64,000 MiB"), (512_000, "CPUs 0-7")])
def test_memory_of_numa_nodes_that_leaves_most_of_it_out_is_not_shown(host, gpu_document, total_mb, said):
    gpu_document["host_memory"]["memory_total_mb"] = total_mb
    found = bandwidth.node_table(host(gpu_document).result)
    assert [cells[1].text for cells in found.rows if cells[0].text == "NUMA node 0"] == [said]


def test_bandwidth_warns_of_the_link_and_of_far_cpus(host, gpu_document):
    found = host(gpu_document)
    assert bandwidth.findings(found)[1:] == [
        "NVIDIA H200: its PCIe link is below what the device supports: generation 4 of 5.",
        "NVIDIA H200: none of the CPUs this process may use (0-7) is on NUMA node 1 (CPUs 8-15).",
    ]
    section = bandwidth.section(found)
    assert column(section, "Rates", "Rate, median")[1] == "45.5"
    assert shown(section, "Where the GPUs sit, and their links")[0][4:7] == [
        *("none", "generation 4 x16", "generation 5 x16"),
    ]
    assert shown(section, "Repeated generation in one process")[0][4:] == ["2.0", "1,500", "1,511", "1.00"]


def test_a_movement_that_failed_has_no_rate(host, gpu_document):
    for row in gpu_document["probes"]["bandwidth"]["samples"]:
        if row["measure"] == "h2d_pinned":
            row |= {"bytes": None, "error": "out of memory"}
        if row["measure"] == "d2h_pinned":
            row |= {"seconds": 0}
    found = host(gpu_document)
    assert bandwidth.slowest(found.result, "h2d_pinned") is None
    assert "host to GPU, pinned" not in column(bandwidth.section(found), "Rates", "What")
    assert bandwidth.section(found).tables[0].note.endswith("3 measures failed and moved nothing.")


def test_cold_reads_that_were_warm_are_said(host, gpu_document):
    for row in gpu_document["probes"]["bandwidth"]["samples"]:
        if row["measure"] == "read_cold":
            row["resident_pages_at_start"] = row["pages"]
    assert "The cold reads were not cold" in bandwidth.findings(host(gpu_document))[1]


def test_of_several_gpus_the_slowest_speaks(host, gpu_document):
    rows = gpu_document["probes"]["bandwidth"]["samples"]
    slow = [row | {"gpu": "GPU-2", "seconds": 0.05} for row in rows if row["measure"] == "h2d_pinned"]
    rows += slow
    assert bandwidth.slowest(host(gpu_document).result, "h2d_pinned") == pytest.approx(5.0)


ODD = [None, EVIL, 7, -1.5, True, [EVIL], {"a": {"b": EVIL}}, [[EVIL] * 3] * 30]


@pytest.mark.parametrize("odd", [*ODD, [EVIL] * 5000, [{}] * 5000])
def test_evidence_of_any_shape_costs_no_section(host, gpu_document, odd):
    for name, keys in {
        "bandwidth": ("gpus", "numa", "iommu", "generation", "unread", "cold_means"),
        "pressure": ("partly",),
        "serving": ("cold_means",),
        "batching": ("left_out", "leak"),
        "kv": ("bytes_per_token_architecture", "memory", "left_out", "gpu_memory_utilization"),
    }.items():
        gpu_document["probes"][name]["evidence"] |= dict.fromkeys(keys, odd)
    found = host(gpu_document)
    assert len(sections.of(found)) == 11
    assert len(findings.of(found).did) < 100


@pytest.mark.parametrize("odd", ODD)
def test_evidence_of_any_shape_deep_down_costs_no_section(host, gpu_document, odd):
    evidence = gpu_document["probes"]["bandwidth"]["evidence"]
    evidence["gpus"] = [dict.fromkeys(evidence["gpus"][0], odd), evidence["gpus"][0] | {"pcie": {"width": odd}}]
    evidence["numa"] = {"nodes": [{"number": odd, "cpus": odd, "memory_mb": odd}], "allowed_cpus": odd}
    evidence["generation"] = {"jitter": odd, "rss_drift_mb": odd, "warm_up": odd}
    for row in gpu_document["probes"]["bandwidth"]["samples"]:
        row |= {"advice": odd, "pages": odd, "anon_huge_mb": odd, "device": odd}
    for row in gpu_document["probes"]["batching"]["samples"]:
        row |= {"load_wall_s": odd, "load_queue_s": odd, "private_hugetlb_mb": odd}
    gpu_document["probes"]["batching"]["evidence"] = {}
    assert len(sections.of(host(gpu_document))) == 11
