"""The benchmarks: every rung of the ladder works on the same samples, and says what it took."""

import json
import subprocess
from functools import partialmethod

import pytest
import torch

from tests.test_cli import vlm3
from tests.training import small
from vlm3 import attention, bench, sft
from vlm3.config import Config


@pytest.fixture
def traced(monkeypatch):
    """Layers are compiled as for a GPU, but for the last stage, which would need a compiler here."""
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compiled, backend="aot_eager"))


@pytest.mark.parametrize("gpu", [False, True])
def test_every_rung_gives_the_same_loss_and_gradient(tmp_path, traced, gpu):
    config = small(tmp_path, precision="fp32")
    mixture = bench._mixture("correspondence", (64, 32), questions=3)
    losses, slopes = [], []
    for rung in bench.ladder(gpu):
        vlm = sft.start(config)
        batches = bench._batches(mixture, rung, config, vlm.tokenizer)
        net = bench._prepared(vlm, rung, config)
        supervised = [int(b.supervised.sum()) for b in batches]
        loss = sum(bench._loss(net, b, rung, config) * n for b, n in zip(batches, supervised, strict=True))
        (loss / sum(supervised)).backward()
        losses.append(loss.item() / sum(supervised))
        slopes.append(net.model.visual.patch_embed.proj.weight.grad.norm().item())
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-5)
    assert slopes == pytest.approx([slopes[0]] * len(slopes), rel=1e-4)
    assert net.config.text_config._attn_implementation == attention.NAME


def test_the_rungs_of_a_gpu_are_what_training_can_be_told(tmp_path, traced):
    before, *rungs = bench.ladder(gpu=True)[4:]
    assert (before.checkpointing, before.compiled) == (1, False)
    for rung in rungs:
        told = Config(tmp_path, checkpointing=rung.checkpointing, compiled=rung.compiled)
        net = sft.prepared(sft.start(told), told)
        forgets = [layer.gradient_checkpointing for layer in net.model.language_model.layers]
        every = rung.checkpointing
        assert forgets == [bool(every) and k % every == 0 for k in range(6)]
        assert all(layer._compiled_call_impl for layer in net.model.language_model.layers)


def test_the_command_measures_each_rung_and_records_how(monkeypatch, capsys, tmp_path):
    network = small(tmp_path).model
    words = ["--model", network, "--size", "64", "32", "--batch", "2", "--questions", "2", "--steps", "1"]
    assert vlm3(monkeypatch, "bench", "train", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["rung"] for r in recorded["results"]] == [r.name for r in bench.ladder(torch.cuda.is_available())]
    assert all(r["samples_per_s"] > 0 and r["mfu"] > 0 for r in recorded["results"])
    assert {"command", "commit", "date", "device", "versions", "seed", "wall_time_s"} <= recorded.keys()
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])


def test_what_was_measured_is_kept_when_a_later_rung_fails(monkeypatch, tmp_path):
    def measured(*_):
        yield {"rung": "first", "step_s": 1.0}
        raise OSError("the power is out")

    monkeypatch.setattr(bench, "train", measured)
    monkeypatch.setattr(bench.subprocess, "run", absent)
    assert vlm3(monkeypatch, "bench", "train", "--save", str(tmp_path / "speed.json")) == 2
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["rung"] for r in recorded["results"]] == ["first"]
    assert recorded["commit"] == ""


def test_the_commit_is_that_of_a_repository_that_holds_the_code(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "homework" / "copy" / "bench.py"))
    git = ["git", "-C", str(tmp_path / "homework"), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "homework" / "copy").mkdir(parents=True)
    (tmp_path / "homework" / "copy" / "bench.py").touch()
    assert bench._commit() == ""
    for words in ("init -q", "commit -q --allow-empty -m homework"):
        subprocess.run([*git, *words.split()], check=True)
    assert bench._commit() == ""
    for words in ("add copy/bench.py", "commit -q -m all"):
        subprocess.run([*git, *words.split()], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert len(bench._commit()) >= 7
    assert found.startswith(bench._commit())


def absent(words: list[str], **_):
    raise FileNotFoundError(words[0])


def test_a_rung_without_the_memory_for_its_network_is_told_and_left_out(monkeypatch, tmp_path):
    def full(config):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(sft, "start", full)
    found = list(bench.train(small(tmp_path), "depth", (64, 32), 2, 1, "cpu"))
    assert found == [{"rung": r.name, "out_of_memory": True} for r in bench.ladder(gpu=False)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--device", "cuda:7"], "device 'cuda:7' cannot be used here"),
        (["train", "--steps", "0"], "must be positive, got 8, 10, 0"),
        (["answer", "--task", "correspondence"], "task, batch and tokens are of `bench train`"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, capsys, words, message):
    assert vlm3(monkeypatch, "bench", *words) == 2
    assert message in capsys.readouterr().err


def test_a_question_per_sample_reads_the_image_again_for_each(tmp_path):
    config = Config(tmp_path, tokens=10**6, batch=2)
    mixture, tokenizer = bench._mixture("depth", (64, 32), questions=4), sft.start(config).tokenizer
    alone, packed = (bench._batches(mixture, rung, config, tokenizer)[0] for rung in bench.ladder(gpu=False)[:2])
    assert len(alone.grids) == 4 * len(packed.grids) == 8
    assert alone.supervised.sum() == packed.supervised.sum()


def test_every_way_to_answer_finds_the_texts_of_the_released_notebooks(monkeypatch, capsys, tmp_path):
    words = ["--model", small(tmp_path).model, "--size", "64", "40", "--questions", "3", "--steps", "1"]
    assert vlm3(monkeypatch, "bench", "answer", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["same_texts"] for r in recorded["results"]] == [1, 1, 1]
    assert {r["image_tokens"] for r in recorded["results"]} == {4}
    assert all(r["questions_per_s"] > 0 for r in recorded["results"])
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])
    assert "3 depth questions about one image, 64x40 px" in recorded["what"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, or hidden: see CONTRIBUTING.md")
def test_a_gpu_measures_each_rung(tmp_path):
    found = list(bench.train(small(tmp_path, precision="bf16"), "depth", (64, 32), 2, 1, "cuda"))
    assert [f["rung"] for f in found] == [r.name for r in bench.ladder(gpu=True)]
    assert all(f["mfu"] > 0 and f["memory_gb"] > 0 for f in found)


def test_a_way_to_answer_gives_each_question_its_texts(tmp_path):
    vlm = bench._answering(small(tmp_path).model, "cpu")
    sample = bench._mixture("depth", (64, 32), questions=3)[0]
    texts = {name: way(sample) for name, way in bench._ways(vlm).items()}
    generated, answered, distributions = texts.values()
    assert generated == answered
    assert [len(among) for among in answered] == [1, 1, 1]
    assert all(len(among) > 10 for among in distributions)
