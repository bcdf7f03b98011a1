"""Peak memory as computed, against every tensor of a step counted on a CPU."""

import json
from dataclasses import replace

import pytest
import torch

from tests.conftest import ROOT
from vlm3.qwen import attention, model, precision
from vlm3.terminal import planning
from vlm3.training import memory, peak
from vlm3.training.config import BUDGETS, PRESETS, TASKS, Config
from vlm3.training.peak import Peak

TEXT = dict(
    hidden_size=128,
    intermediate_size=400,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=32,
)
VISION = dict(
    depth=2,
    hidden_size=80,
    intermediate_size=208,
    num_heads=5,
    deepstack_visual_indexes=[0],
    spatial_merge_size=2,
)
TOLERANCE = 0.1


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The kernels that GPUs take, and products in bfloat16."""
    monkeypatch.setattr(attention, "written_out", attention._fused)
    monkeypatch.setattr(attention, "_twigs", attention._copied)
    monkeypatch.setattr(precision, "fast", lambda device: torch.bfloat16)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": 8, "base": "bf16"},
        {"lora": 8, "base": "bf16", "checkpointing": 1},
        {"lora": 8, "base": "int8", "checkpointing": 1},
        {"lora": 2, "base": "nf4", "checkpointing": 1},
        {"lora": 8},
        {},
        {"precision": "fp32", "checkpointing": 1},
    ],
    ids=str,
)
def test_the_computed_peak_is_that_of_a_step_within_a_tenth(as_on_a_gpu, changes):
    found = peak.compared(model.config("tiny", text=TEXT, vision=VISION), Config(**changes))
    assert found["computed"] == pytest.approx(found["measured"], rel=TOLERANCE)


def test_every_weight_is_counted_once():
    for size, vision in (("tiny", {}), ("tiny", VISION), ("4b", {})):
        settings = model.config(size, vision=vision)
        with torch.device("meta"):
            weights = model.Qwen3VLForConditionalGeneration(settings).named_parameters()
        known, counted = {name: w.numel() for name, w in weights}, memory.sizes(settings)
        assert sum(counted) - counted.sides == sum(known.values())
        assert counted.vision == sum(n for name, n in known.items() if "visual" in name)


@pytest.mark.parametrize("gb", BUDGETS)
@pytest.mark.parametrize("views", [1, 2])
def test_presets_of_adapters_fit_their_gpu_with_a_tenth_to_spare(gb, views):
    for task in TASKS:
        config = PRESETS[f"{task}-lora-{gb}gb"]
        load = memory.Load.typical(views, config.tokens)
        needed = sum(memory.plan(memory.settings_of(config.model), config, load).values())
        assert needed < 0.9 * gb * memory.GB


def test_what_saves_memory_is_computed_to_save_it():
    settings, config = model.config("4b"), PRESETS["depth-lora-24gb"]
    load = memory.Load.typical(1, config.tokens)

    def needed(**changes) -> float:
        return sum(memory.plan(settings, replace(config, **changes), load).values())

    bases = [needed(base=base) for base in ("fp32", "bf16", "int8", "nf4")]
    assert bases == sorted(bases, reverse=True)
    forgetting = [needed(checkpointing=every) for every in (0, 4, 2, 1)]
    assert forgetting == sorted(forgetting, reverse=True)
    assert needed(lora=4) < needed() < needed(lora=0, base="fp32")


def test_a_plan_names_each_part_and_what_it_comes_to():
    lines = planning.lines(PRESETS["pose-lora-16gb"])
    parts = [float(line.split()[-1]) for line in lines[2:-3]]
    assert float(lines[-3].split()[-1]) == pytest.approx(sum(parts), abs=0.01 * len(parts))
    assert {"language model", "adapters", "CUDA"} <= {line.rsplit(maxsplit=1)[0] for line in lines}
    assert "computed, not measured" in lines[-2]


def test_a_plan_knows_the_mixture():
    """More questions need more logits."""
    config = replace(PRESETS["tiny"], mixture="rooms", tokens=500)
    settings = memory.settings_of(config.model)
    few, many = (memory.load_of(replace(config, tokens=n), settings) for n in (500, 2000))
    assert few.tokens <= 500 < many.tokens <= 2000
    assert few.rows < many.rows


def test_a_tensor_counts_as_long_as_something_holds_it():
    weight = torch.ones(100, requires_grad=True)
    with Peak([weight]) as seen:
        assert seen.now == 400
        kept = weight.exp()  # held for its gradient
        view = kept[:50]
        assert seen.now == 800
        loss = (view * view).sum()
        del kept, view
        assert seen.now >= 800
        loss.backward()
        del loss
        assert seen.now == 800  # the weight and its gradient
    assert seen.most > 1200


def test_the_guide_shows_what_is_recorded_and_that_is_what_is_computed():
    found = json.loads((ROOT / "book/recorded/memory.json").read_text())["results"]
    page = (ROOT / "book/guide/adapters.md").read_text()
    for gb in BUDGETS:
        config = PRESETS[f"depth-lora-{gb}gb"]
        told = max(p["together"] for p in found["plans"] if p["gpu_gb"] == gb)
        loads = [memory.Load.typical(views, config.tokens) for views in (1, 2)]
        settings = memory.settings_of(config.model)
        needed = max(sum(memory.plan(settings, config, load).values()) for load in loads)
        assert told == pytest.approx(needed / memory.GB)
        row = f"| {gb} GB | {config.base}, {config.lora} | {config.tokens} |"
        assert any(s.startswith(row) and s.endswith(f"| {told:.1f} |") for s in page.splitlines())
    for each in found["compared"]:
        assert each["computed"] == pytest.approx(each["measured"], rel=TOLERANCE)
