"""The benchmark of training: every rung of the ladder learns from the same samples, and says what it took."""

import json

import pytest
import torch

from tests.test_cli import vlm3
from tests.training import small
from vlm3 import attention, bench, sft
from vlm3.config import Config


def test_every_rung_gives_the_same_loss(tmp_path):
    config = small(tmp_path, precision="fp32")
    mixture = bench._mixture("correspondence", (64, 32), questions=3)
    losses = []
    for rung in bench.ladder(gpu=False):
        vlm = sft.start(config)
        batches = bench._batches(mixture, rung, config, vlm.tokenizer)
        net = bench._prepared(vlm.net, rung)
        with torch.no_grad():
            found = [(bench._loss(net, b, rung, config), int(b.supervised.sum())) for b in batches]
        losses.append(sum(float(loss) * n for loss, n in found) / sum(n for _, n in found))
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-5)
    assert net.config.text_config._attn_implementation == attention.NAME


def test_the_command_measures_each_rung_and_records_how(monkeypatch, capsys, tmp_path):
    network = small(tmp_path).model
    words = ["--model", network, "--size", "64", "32", "--batch", "2", "--questions", "2", "--steps", "1"]
    assert vlm3(monkeypatch, "bench", "train", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["rung"] for r in recorded["results"]] == [r.name for r in bench.ladder(torch.cuda.is_available())]
    assert all(r["samples_per_s"] > 0 and r["mfu"] > 0 for r in recorded["results"])
    assert {"command", "commit", "date", "device", "versions", "seed", "wall_time_s"} <= recorded.keys()
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])


def test_a_question_per_sample_reads_the_image_again_for_each(tmp_path):
    config = Config(tmp_path, tokens=10**6, batch=2)
    mixture, tokenizer = bench._mixture("depth", (64, 32), questions=4), sft.start(config).tokenizer
    alone, packed = (bench._batches(mixture, rung, config, tokenizer)[0] for rung in bench.ladder(gpu=False)[:2])
    assert len(alone.grids) == 4 * len(packed.grids) == 8
    assert alone.supervised.sum() == packed.supervised.sum()
