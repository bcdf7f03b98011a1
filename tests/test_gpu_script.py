"""The script for a GPU, without one: all of it with small sizes, and what becomes of a step that
fails."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
import torch

from tests.conftest import ROOT
from vlm3.qwen import model

SCRIPT = ROOT / "book" / "record" / "gpu.py"
spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
gpu = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)


def test_a_dry_run_goes_all_the_way_and_brings_home_a_model(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--dry", "--minutes", "9", "--out", tmp_path / "found"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "eyes.tar.gz",
        "gpu.json",
        "gpu.log",
        "words.tar.gz",
    ]
    found = json.loads((tmp_path / "found" / "gpu.json").read_text())
    assert {
        "what",
        "command",
        "commit",
        "date",
        "device",
        "versions",
        "seed",
        "wall_time_s",
    } <= found.keys()
    parts = found["results"]
    assert {name: part["ended"] for name, part in parts.items()} == dict.fromkeys(gpu.STEPS, "done")
    assert {rung["outcome"] for rung in parts["tests"]["rungs"]} == {"skipped"}
    assert {rung["task"] for rung in parts["train"]["rungs"]} == {"depth", "correspondence"}
    assert all(rung["samples_per_s"] > 0 for rung in parts["train"]["rungs"])
    assert {rung["dtype"] for rung in parts["answer"]["rungs"]} == {"bfloat16", "float32"}
    for name in ("eyes", "words"):
        with tarfile.open(tmp_path / "found" / f"{name}.tar.gz") as file:
            file.extractall(tmp_path, filter="data")
        steps = len((tmp_path / name / "log.jsonl").read_text().splitlines())
        (rung,) = (rung for rung in parts["tiny"]["rungs"] if rung["rung"] == name)
        assert rung["steps"] == steps
    assert "depth" in model.load(tmp_path / "words" / "model").taught
    assert model.load(tmp_path / "eyes" / "half").dtype == torch.bfloat16


def _run(tmp_path, **steps) -> tuple[dict, bool]:
    """Steps with a budget of their own, in seconds; what was written, and whether it is said to be
    well."""
    shown = []
    record = gpu.Record(tmp_path, 9.0, gpu.SMALL, shown.append)
    well = record.run({name: (step, budget_s) for name, (step, budget_s) in steps.items()})
    assert len(shown) >= len(steps)
    return json.loads((tmp_path / "gpu.json").read_text())["results"], well


def _fine(job) -> None:
    job.tell({"rung": "fine"})


def _crashing(job) -> None:
    job.tell({"rung": "first"})
    raise FloatingPointError("the loss is\nnot a number")


def _killed(job) -> None:
    job.tell({"rung": "first"})
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def _endless(job) -> None:
    job.tell({"rung": "first"})
    time.sleep(1000)


def _deaf(job) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "1000"])
    _endless(job)


def _saving(job) -> None:
    """What `sft.train` does: the signal is heard, work is saved and told."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    while not asked:
        time.sleep(0.05)
    job.tell({"rung": "saved"})


@pytest.mark.parametrize(
    ("step", "ended", "kept"),
    [
        (_crashing, "failed: not a number", ["first"]),
        (_killed, "died with code -9", ["first"]),
        (_endless, "cut off at the end of its time", ["first"]),
        (_deaf, "killed at the end of its time", ["first"]),
        (_saving, "done", ["saved"]),
    ],
)
def test_a_step_that_fails_or_takes_too_long_loses_only_itself(
    tmp_path, monkeypatch, step, ended, kept
):
    monkeypatch.setattr(gpu, "GRACE_S", 1)
    found, well = _run(tmp_path, before=(_fine, 60), it=(step, 1), after=(_fine, 60))
    assert found["it"]["ended"] == ended
    assert [rung["rung"] for rung in found["it"]["rungs"]] == kept
    for name in ("before", "after"):
        assert found[name]["ended"] == "done"
        assert found[name]["rungs"] == [{"rung": "fine"}]
    assert well == (ended == "done")


def test_without_a_gpu_nothing_is_tried_and_it_says_so(tmp_path):
    shown = []
    record = gpu.Record(tmp_path, 9.0, gpu.Sizes(), shown.append)
    assert not record.run({"it": (_fine, 60)})
    assert shown == [
        "machine: failed: RuntimeError: torch sees no GPU here; --dry tries all of it on CPUs"
    ]
    assert not record.results


def test_what_a_step_found_is_written_before_it_ends(tmp_path):
    def looking(job) -> None:
        job.tell({"rung": "first"})
        job.tell({"rung": "second"})
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (tmp_path / "gpu.json").exists() and "second" in (tmp_path / "gpu.json").read_text():
                job.tell({"rung": "seen"})
                return
            time.sleep(0.05)

    found, _ = _run(tmp_path, looking=(looking, 60))
    assert [rung["rung"] for rung in found["looking"]["rungs"]] == ["first", "second", "seen"]


def test_a_run_asked_to_end_is_finished_from_its_checkpoint(tmp_path):
    """Its last steps are lost, its model is not."""
    sys.path.insert(0, str(SCRIPT.parent))
    import teach

    from tests.training import small, weights
    from vlm3.training import checkpoints, sft

    config = small(tmp_path, steps=6, mixture="rooms-all", tokens=4000, batch=1)

    def stop(record: dict) -> None:
        if record["step"] == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        sft.train(config, on_step=stop)
    teach.finish(config)
    assert [path.name for path in checkpoints.checkpoints(config.out)] == ["step-00000002"]
    before, after = weights(config.model), weights(config.out / "model")
    assert any((before[name] - after[name]).abs().max() > 1e-3 for name in before)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"transformers": ""}, "transformers 5.23 or later is needed, here is none"),
        ({"transformers": "5.17.0"}, "transformers 5.23 or later is needed, here is 5.17.0"),
        ({"transformers": "4.99.1"}, "here is 4.99.1"),
        ({"transformers": "5.23.0"}, ""),
        ({"transformers": "6.0.0.dev0"}, ""),
        ({"accelerate": ""}, "accelerate is missing"),
    ],
)
def test_what_is_missing_is_named_in_one_line(monkeypatch, there, said):
    real = gpu._version
    monkeypatch.setattr(gpu, "_version", lambda name: there.get(name, real(name)))
    if there.get("accelerate") == "":
        for name in [
            name
            for name in sys.modules
            if name.startswith("vlm3.training.sft") or name == "vlm3.parallel"
        ]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("vlm3.training.sft", raising=False)
        monkeypatch.delattr("vlm3.parallel", raising=False)
        monkeypatch.setitem(sys.modules, "accelerate", None)
    found = gpu._missing()
    assert said in found
    assert bool(found) == bool(said)
    assert "\n" not in found
