"""The benchmarks: every rung of the ladder works on the same samples, and says what it took."""

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


def test_every_way_to_answer_finds_the_texts_of_the_released_notebooks(monkeypatch, capsys, tmp_path):
    words = ["--model", small(tmp_path).model, "--size", "64", "40", "--questions", "3", "--steps", "1"]
    assert vlm3(monkeypatch, "bench", "answer", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["same_texts"] for r in recorded["results"]] == [1, 1, 1]
    assert {r["image_tokens"] for r in recorded["results"]} == {4}
    assert all(r["questions_per_s"] > 0 for r in recorded["results"])
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])
    assert "3 depth questions about one image, 64x40 px" in recorded["what"]


def test_a_way_to_answer_gives_each_question_its_texts(tmp_path):
    vlm = bench._answering(small(tmp_path).model, "cpu")
    sample = bench._mixture("depth", (64, 32), questions=3)[0]
    texts = {name: way(sample) for name, way in bench._ways(vlm).items()}
    generated, answered, distributions = texts.values()
    assert generated == answered
    assert [len(among) for among in answered] == [1, 1, 1]
    assert all(len(among) > 10 for among in distributions)
