"""A probe that fails, however it does, fails alone, and what made it fail is what is said."""

import contextlib
import json
import subprocess
from types import SimpleNamespace

import pytest

from probe_agent import run
from probe_agent.bench import Skipped
from probe_agent.clock import Clock
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.progress import Progress
from probe_agent.renewed import NotKept
from probe_agent.result import ResultFile
from probe_agent.spec import Spec

HUNG = ProcessFailed("the server does not answer")


def probe(rows_end=None, evidence_ends=None):
    """Return a probe of one row that ends as it is told."""

    def rows(_bench):
        yield {"seconds": 1.0}
        if rows_end:
            raise rows_end

    def evidence(_samples, _bench):
        if evidence_ends:
            raise evidence_ends
        return {"seen": True}

    return SimpleNamespace(rows=rows, evidence=evidence, headline=lambda samples: {"rows": len(samples)})


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Return a function that measures with `broken` as the first probe of two; it returns the parts of both."""

    def both(broken):
        spec = Spec(probes=("batching", "curves"))
        monkeypatch.setattr(run, "PROBES", {"batching": broken, "curves": probe()})
        result = ResultFile(tmp_path / "result.json", spec)
        progress = Progress(tmp_path / "progress.json", ("model", *spec.probes), "tiny standard")
        run._probe_all(SimpleNamespace(spec=spec, progress=progress, clock=Clock()), result, set())
        return json.loads((tmp_path / "result.json").read_text())["probes"].values()

    return both


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (probe(HUNG), "the server does not answer"),
        (probe(HUNG, ProcessFailed("no metrics came")), "the server does not answer"),
        (probe(evidence_ends=ProcessFailed("no metrics came")), "no metrics came"),
        (probe(PermissionError(13, "Permission denied", "drop_caches")), "[Errno 13] Permission denied: 'drop_caches'"),
        (probe(subprocess.SubprocessError("Exception occurred in preexec_fn.")), "Exception occurred in preexec_fn."),
    ],
)
def test_a_probe_fails_alone_and_its_first_reason_is_kept(measure, broken, reason):
    failed, following = measure(broken)
    assert (failed["status"], failed["reason"], len(failed["samples"])) == ("failed", reason, 1)
    assert (following["status"], following["headline"], following["evidence"]) == ("ok", {"rows": 1}, {"seen": True})


def test_a_probe_that_failed_still_says_what_its_samples_show(measure):
    failed, _ = measure(probe(HUNG))
    assert (failed["headline"], failed["evidence"]) == ({"rows": 1}, {"seen": True})


def test_a_probe_that_was_skipped_concludes_nothing(measure):
    skipped, _ = measure(probe(Skipped("there is no vLLM"), HUNG))
    assert (skipped["status"], skipped["reason"], skipped["headline"]) == ("skipped", "there is no vLLM", {})


def test_an_error_before_any_probe_is_the_reason_of_all(monkeypatch, tmp_path, capsys):
    def measure(*_):
        raise FileNotFoundError(2, "No such file or directory", "config.json")

    monkeypatch.setattr(run, "_measure", measure)
    monkeypatch.setattr(run, "_alone", contextlib.nullcontext)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    assert run.run(Spec(probes=("load",)), tmp_path / "result.json") == 1
    assert "probe load failed: [Errno 2] No such file or directory: 'config.json'" in capsys.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["finished"]


@pytest.mark.parametrize("gone", ["result", "progress"])
def test_what_cannot_be_written_is_no_failure_of_a_probe(tmp_path, gone):
    (tmp_path / f"{gone}.new").mkdir()
    with pytest.raises(NotKept, match=rf"{gone}\.new"):
        {
            "result": lambda: ResultFile(tmp_path / "result.json", Spec()).describe(),
            "progress": lambda: Progress(tmp_path / "progress.json", ("model",), "tiny standard"),
        }[gone]()
