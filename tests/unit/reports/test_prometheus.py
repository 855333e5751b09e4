"""metrics.prom: what Prometheus' own parser reads in it, and what the alerts and the dashboard ask for."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import ROOT

from reports import headlines, prometheus, render, run_folder
from reports.prometheus import FAMILIES, NAME

MONITORING = ROOT / "reports/monitoring"
BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_tokens", "_bytes_per_second", "_tokens_per_second", "_state")
OURS = re.compile(r"\bstethos_\w+")


@pytest.fixture
def families(make_run, gpu_document):
    return read(make_run({"n": {"result": gpu_document}}))


def read(run):
    render.render(run_folder.read(run))
    text = (run / "hosts/n" / NAME).read_text()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families, name, **labels):
    (found,) = [sample.value for sample in families[name].samples if sample.labels == labels]
    return found


def test_every_figure_of_a_node_is_exported_once(make_run, gpu_document, cpu_document):
    for document in (gpu_document, cpu_document):
        run = make_run({"n": {"result": document}})
        measured = next(run_folder.read(run).hosts()).result
        names = [found.name for found in headlines.of(measured)]
        assert set(names) <= set(FAMILIES)
        exported = [(sample.name, *sample.labels.items()) for family in read(run).values() for sample in family.samples]
        assert len(exported) == len(set(exported))
        assert {FAMILIES[name][0].name for name in names} <= {name for name, *_ in exported}


def test_values_are_in_base_units(families, make_run, gpu_document):
    measured = next(run_folder.read(make_run({"n": {"result": gpu_document}})).hosts()).result
    found = {figure.name: figure.median for figure in headlines.of(measured)}
    assert value(families, "stethos_model_load_seconds", cache="cold") == pytest.approx(found["cold_load_s"])
    assert value(families, "stethos_model_rss_bytes", cache="warm") == pytest.approx(found["warm_rss_mb"] * 2**20)
    rate = value(families, "stethos_memory_bytes_per_second", movement="h2d_pinned")
    assert rate == pytest.approx(found["h2d_pinned_gib_per_s"] * 2**30)
    assert value(families, "stethos_kv_cache_capacity_tokens") == 2476432
    assert value(families, "stethos_run_timestamp_seconds") == 1795226400  # 2026-11-21T02:00:00Z
    assert value(families, "stethos_host_state", state="ok") == 1
    assert value(families, "stethos_host_state", state="failed") == 0


def test_names_follow_the_conventions(families):
    for name, family in families.items():
        assert re.fullmatch(r"stethos_[a-z0-9_]+", name)
        assert name.endswith(BASE_UNITS)
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        assert len({tuple(sample.labels) for sample in family.samples}) == 1
        assert all(set(sample.labels) <= {"arm", "cache", "mode", "movement", "state"} for sample in family.samples)


def test_promtool_finds_nothing(make_run, gpu_document):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    read(make_run({"n": {"result": gpu_document}}))
    text = prometheus.text(*_host(make_run({"n": {"result": gpu_document}})), "ok")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run([promtool, "check", "rules", MONITORING / "alerts.yml"], check=True)


def _host(run):
    opened = run_folder.read(run)
    return opened, next(opened.hosts())


def test_a_node_cannot_choose_names_or_labels(make_run, gpu_document):
    for row in gpu_document["probes"]["allocator"]["samples"]:
        if row["arm"] == "jemalloc":
            row["arm"] = 'x"} 1\nevil_metric{a="'
    found = read(make_run({"n": {"result": gpu_document}}))
    assert all(name.startswith("stethos_") for name in found)
    assert "stethos_lever_effect_ratio" not in found


def test_a_host_that_failed_has_no_certificate_to_end(make_run, gpu_document):
    found = read(make_run({"n": {"result": gpu_document, "state": "failed", "reason": "rollback"}}))
    assert value(found, "stethos_host_state", state="failed") == 1
    assert "stethos_certificate_valid_until_timestamp_seconds" not in found


def test_a_host_whose_settings_were_put_back_has_none_either(make_run, gpu_document):
    run = make_run({"n": {"result": gpu_document}})
    assert "stethos_certificate_valid_until_timestamp_seconds" in read(run)
    document = json.loads((run / "run.json").read_text())
    document["hosts"]["n"]["put_back"] = True
    (run / "run.json").write_text(json.dumps(document))
    assert "stethos_certificate_valid_until_timestamp_seconds" not in read(run)


@pytest.mark.parametrize("until", ["2027-01-02T03:04:05+00:00", None])
def test_a_preflight_puts_no_certificate_s_end_off(make_run, gpu_document, until):
    run = make_run({"n": {"result": gpu_document}})
    (run / "preflight.json").write_text(json.dumps({"hosts": {"n": {"certified_until": until}}}))
    found = read(run)
    if until is None:
        assert "stethos_certificate_valid_until_timestamp_seconds" not in found
    else:
        assert value(found, "stethos_certificate_valid_until_timestamp_seconds") == 1798859045


def test_a_host_without_a_result_has_no_metrics(make_run, gpu_document):
    run = make_run({"n": {"result": gpu_document}})
    read(run)
    (run / "hosts/n/result.json").unlink()
    render.render(run_folder.read(run))
    assert not (run / "hosts/n" / NAME).exists()


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_alerts_and_dashboard_ask_for_what_is_exported(families, name):
    asked = set(OURS.findall((MONITORING / name).read_text()))
    assert asked
    assert asked <= set(families)


def test_alerts_are_rules_and_use_labels_there_are(families):
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "labels", "annotations"}
        (of,) = set(OURS.findall(rule["expr"]))
        labels = {"instance", *families[of].samples[0].labels}
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


def test_panels_have_places_of_their_own():
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
