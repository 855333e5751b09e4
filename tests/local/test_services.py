"""Levers of services on this machine: refused or skipped before anything changes."""

from pathlib import Path

import pytest

from probe_agent.host import services


@pytest.fixture
def tune(playbook, tmp_path):
    def run(**variables):
        done = playbook("playbooks/tune.yml", "--tags", "preflight,jemalloc", reports_dir=str(tmp_path), **variables)
        return done.code, done.recap["local"]["changed"], " ".join(done.output.split())

    return run


@pytest.mark.skipif(not services.missing(), reason="systemd runs here")
def test_without_systemd_each_service_is_skipped_with_the_reason(tune):
    code, changed, output = tune(jemalloc_services=[{"name": "vllm"}, {"name": "tokenizer", "levers": ["torch-thp"]}])
    assert (code, changed) == (0, 0), output
    for unit in ("vllm", "tokenizer"):
        assert f"{unit}.service is skipped: systemd does not run on this node" in output
    assert not Path("/", services.path("vllm.service")).exists()


BAD = [
    (
        {"name": "vllm", "levers": ["jemaloc"]},
        "value of levers must be one or more of: jemalloc, jemalloc-thp, tcmalloc",
    ),
    ({"name": "../vllm"}, "jemalloc_services[0] has name '../vllm', and must have the name of a service"),
    ({"name": "vllm", "levers": ["jemalloc", "glibc-thp"]}, "makes glibc.malloc.hugetlb=1 in GLIBC_TUNABLES inert"),
    ({"levers": ["jemalloc"]}, "missing required arguments: name found in jemalloc_services"),
]


@pytest.mark.parametrize(
    ("levers", "sentence"),
    [
        (["jemalloc", "glibc-thp"], "jemalloc_services[0] has libjemalloc.so.2 in LD_PRELOAD"),
        (["jemaloc"], "value of jemalloc_levers must be one or more of: jemalloc, jemalloc-thp, tcmalloc"),
    ],
)
def test_a_service_that_names_no_levers_gets_those_of_the_variable(tune, levers, sentence):
    code, changed, output = tune(jemalloc_services=[{"name": "vllm"}], jemalloc_levers=levers)
    assert (code, changed) == (2, 0), output
    assert sentence in output
    own = {"name": "vllm", "levers": ["torch-thp"]}
    code, changed, output = tune(jemalloc_services=[own], jemalloc_levers=["jemalloc", "glibc-thp"])
    assert (code, changed) == (0, 0), output


@pytest.mark.parametrize(("wrong", "sentence"), BAD, ids=[f"{value}"[:40] for value, _ in BAD])
def test_bad_input_is_refused_before_anything_changes(tune, wrong, sentence):
    code, changed, output = tune(jemalloc_services=[wrong])
    assert (code, changed) == (2, 0), output
    assert sentence in output
    assert "Traceback" not in output
