"""The pre-training of the tiny model, and the expert of its eyes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from vlm3 import tasks
from vlm3.qwen import model

RECORD = ROOT / "book" / "record"


@pytest.fixture(scope="module")
def dense():
    sys.path.insert(0, str(RECORD))
    import dense

    yield dense
    sys.path.remove(str(RECORD))


@pytest.fixture(scope="module")
def eyes(dense):
    return dense.Dense(model.new("tiny"))


@pytest.fixture(scope="module")
def labels(dense):
    return dense.labelled(dense.rooms((160, 96)).batch(range(4)), 0)


@torch.no_grad()
def test_heads_speak_of_every_pixel_patch_and_cell_in_its_place(dense, eyes, labels):
    said = eyes(labels.images)
    assert said.tower.shape == labels.log_depth.shape
    assert said.features.shape == (8, 2, dense.FEATURES, 6, 10)
    assert said.depth.shape == (8, 2, 24, 40)
    assert said.match.shape == labels.match.shape == (8, 12, 20, 2)
    dark = labels.images.clone()
    dark[:, :, 32:64, 96:128] = 0
    moved = (eyes(dark).tower - said.tower).abs().mean((0, 1))
    assert moved[32:64, 96:128].mean() > 2 * moved[:32, :64].mean()


def test_labels_of_both_ways_round_are_one_scene(labels):
    assert torch.equal(labels.images[:4], labels.images[4:].flip(1))
    first, back = labels.pose[:4, 3:].norm(dim=1), labels.pose[4:, 3:].norm(dim=1)
    torch.testing.assert_close(first, back)


def test_a_cell_and_its_match_show_the_same_colour(labels):
    n, high, wide = labels.seen.shape
    apart, anywhere = [], []
    for k in range(n):
        for row, column in np.argwhere(labels.seen[k].numpy() > 0):
            uv = labels.match[k, row, column].numpy() * (wide * 8, high * 8)
            here = labels.images[k, 1, row * 8 + 4, column * 8 + 4].float()
            there = labels.images[k, 0, int(uv[1]), int(uv[0])].float()
            apart.append((here - there).abs().mean())
            anywhere.append((here - labels.images[k, 0, row, column].float()).abs().mean())
    assert np.mean(apart) < 0.5 * np.mean(anywhere)


def test_a_pre_training_goes_on_where_it_stopped_and_ends_in_a_model_and_an_expert(tmp_path):
    script = [sys.executable, RECORD / "pretrain.py"]

    def trained(out, steps: int, total: int):
        told = ["--batch", "2", "--steps", str(total), "--save-every", "1", "--stop", str(steps)]
        subprocess.run([*script, out, *told], check=True, cwd=ROOT)
        return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]

    whole = trained(tmp_path / "whole", 3, 3)
    trained(tmp_path / "parts", 2, 3)
    parts = trained(tmp_path / "parts", 3, 3)
    assert [r["tower"] for r in parts] == [r["tower"] for r in whole]
    assert model.load(tmp_path / "parts" / "model").net.config.text_config.num_hidden_layers == 8
    names = os.environ | {"VLM3_BASELINES": str(RECORD / "baselines")}
    for task in ("depth", "correspondence", "pose"):
        out = tmp_path / task
        told = ["--model", f"expert:{tmp_path / 'parts'}", "--task", task, "--out", out]
        told += ["--source", "homes-validation", "--samples", "2"]
        subprocess.run(
            [sys.executable, "-m", "vlm3", "evaluate", *told], check=True, cwd=ROOT, env=names
        )
        scores = json.loads((out / "scores.json").read_text())
        assert scores["parsed"] == 1.0 or task == "pose"
        assert np.isfinite(scores[tasks.get(task).headline])


def test_what_is_not_known_of_a_pair_teaches_nothing(dense):
    ((first, second),) = dense.rooms((128, 96)).batch(range(1))
    holes = np.where(np.indices(first.depth_m.shape)[1] < 64, np.nan, first.depth_m)
    torn = dense.labelled([(replace(first, depth_m=holes.astype(np.float32)), second)], 0)
    whole = dense.labelled([(first, second)], 0)
    assert (torn.told < whole.told).any()
    assert whole.told.min() == 1
    assert (torn.seen <= torn.told).all()
    said = [torch.zeros_like(each).requires_grad_() for each in _said(dense, torn)]
    found = dense.losses(dense.Said(*said), torn)
    sum(found.values()).backward()
    assert all(loss.isfinite() for loss in found.values())
    tower = said[0].grad
    assert tower.isfinite().all()
    assert (tower[0, 0, :, :64] == 0).all()
    assert (tower[0, 0, :, 64:] != 0).all()
    assert (said[2].grad[0, 0, :, : 64 // dense.DEPTH_CELL] == 0).all()


def _said(dense, true) -> list[torch.Tensor]:
    n, views, height, width, _ = true.images.shape
    features = torch.ones(n, views, dense.FEATURES, height // 16, width // 16)
    depth = torch.zeros(n, views, height // dense.DEPTH_CELL, width // dense.DEPTH_CELL)
    return [true.log_depth, features, depth, true.match, true.seen, true.pose]
