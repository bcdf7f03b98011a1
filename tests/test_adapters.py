"""Adapters: in the format of peft, beside a base in few bits, merged in float32."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import FileSystemReader
from transformers import Qwen3VLForConditionalGeneration

from tests.training import small, state, told
from vlm3 import parallel
from vlm3.qwen import adapters, batching, model, network, quantised
from vlm3.training import checkpoints, sft, sharding
from vlm3.training.config import Config

IMAGE = np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A finished run of adapters on a base of 4 bits."""
    folder = tmp_path_factory.mktemp("adapters")
    made = small(folder, lora=2, base="nf4", precision="bf16", steps=3, lr=0.1, save_every=1)
    sft.train(made)
    return made


@pytest.fixture
def run(config, tmp_path) -> Path:
    """A folder with a copy of the adapter, to spoil."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in (config.out / "adapter").iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    return adapter


def logits(net: torch.nn.Module, folder: Path) -> torch.Tensor:
    """What follows a question about an image, asked in transformers' way."""
    vlm = model.load(folder)
    with torch.no_grad():
        return net.eval()(**batching.inputs(vlm, [IMAGE], "How far is it?"), use_cache=False).logits


def plain(folder: Path) -> torch.nn.Module:
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def test_peft_and_transformers_alone_read_what_a_run_leaves_and_say_the_same(config):
    adapter, merged, base = config.out / "adapter", config.out / "model", Path(config.model)
    ours = logits(model.load(adapter, dtype=torch.float32).net, base)
    theirs = logits(PeftModel.from_pretrained(plain(base), adapter), base)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    assert (logits(plain(base), base) - theirs).abs().max() > 0.01 * theirs.abs().max()
    # The merged one is rounded to bfloat16, once.
    assert (logits(plain(merged), base) - theirs).abs().max() < 0.02 * theirs.abs().max()
    assert json.loads((adapter / SETTINGS).read_text())["base_model_name_or_path"] == str(base)


def test_an_adapter_is_asked_as_it_was_taught(config):
    found = model.load(config.out / "adapter")
    assert found.taught == model.load(config.out / "model").taught
    assert set(found.taught) == {"depth", "pose"}


def test_a_merged_matrix_is_rounded_once_after_a_sum_in_float32(config):
    read = adapters.read(config.out / "adapter")
    base = model.load(config.model, dtype=torch.bfloat16)
    before = {name: w.clone() for name, w in base.net.state_dict().items()}
    adapters.merge(base.net, read, config.out / "adapter")
    for name, (down, up) in read.factors.items():
        exact = before[f"{name}.weight"].double() + read.scale * (up.double() @ down.double())
        found = base.net.get_submodule(name).weight
        step = 2.0 ** (torch.floor(torch.log2(exact.abs())) - 7)  # of bfloat16
        assert ((found.double() - exact).abs() <= 0.501 * step).all()


def test_a_run_on_four_bits_resumes_to_the_bit(config, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(record: dict) -> None:
        if record["step"] == 2:
            raise Interrupted

    again = replace(config, out=tmp_path / "run")
    with pytest.raises(Interrupted):
        sft.train(again, on_step=stop)
    sft.train(again)
    assert told(again.out) == told(config.out)
    assert state(again.out) == state(config.out)


def test_a_checkpoint_holds_adapters_and_their_optimiser_only(config):
    last = checkpoints.checkpoints(config.out)[-1]
    held = FileSystemReader(last).read_metadata().state_dict_metadata
    assert len(held) > 3 * 28  # two factors beside seven matrices of two layers, two moments
    others = {name for name in held if "lora_" not in name}
    assert all(name.startswith("optimizer.param_groups.") for name in others)


@pytest.mark.parametrize("base", ["bf16", "int8", "nf4"])
@pytest.mark.parametrize("checkpointing", [0, 1])
def test_gradients_reach_adapters_through_a_frozen_base_of_any_bits(config, base, checkpointing):
    """They are those of the same matrices in float32."""
    asked = replace(config, base=base, checkpointing=checkpointing)
    net = sft.prepared(sft.start(asked), asked)
    whole = sft.prepared(sft.start(asked), replace(asked, base="bf16", checkpointing=0))
    for mine, theirs in zip(network.text_layers(net), network.text_layers(whole), strict=True):
        for name, module in mine.named_modules():
            if isinstance(module, quantised.Quantised):
                theirs.get_submodule(name).weight.data = module.dense()
    found, expected = (_gradients(each, asked) for each in (net, whole))
    assert len(found) == 2 * 7 * 2
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0 or "lora_A" in name  # B begins with zeros
        torch.testing.assert_close(found[name], gradient, rtol=0.02, atol=1e-6)


def _gradients(net: torch.nn.Module, config: Config) -> dict[str, torch.Tensor]:
    learner = sft.Learner(config, net, parallel.place(), ["depth", "pose"])
    samples = sft._named("mixture", config)
    vlm = model.load(config.model)
    share = sft.Share(samples, config, vlm.tokenizer, merge=vlm.merge)
    batch = batching.collate(share[range(2)])  # of both tasks
    learner.gradients(batch, counts=True)
    return {n: p.grad for n, p in learner.net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("kind", "bits", "worst"), [("Int8", 8.1, 0.01), ("Nf4", 4.2, 0.1)])
def test_a_matrix_in_few_bits_stays_near_itself(kind, bits, worst):
    full = torch.nn.Linear(512, 256, bias=False)
    held = getattr(quantised, kind)(full)
    assert (held.dense() - full.weight).norm() < worst * full.weight.norm()
    stored = [held.weight, *(b for n, b in held.named_buffers() if "code" not in n)]
    assert sum(8 * t.numel() * t.element_size() for t in stored) < bits * full.weight.numel()
    assert network.count(held.weight) == full.weight.numel()


def test_training_goes_on_from_a_folder_of_adapters(config, tmp_path):
    """Its first loss is that of the adapters, and what it leaves stands on the same base."""
    further = replace(config, model=str(config.out / "adapter"), out=tmp_path / "on", steps=1)
    net = sft.prepared(sft.start(further), further)
    begun = adapters.learned(dict(net.named_parameters()))
    for name, weight in load_file(config.out / "adapter" / WEIGHTS).items():
        assert torch.equal(begun[name], weight)
    sft.train(further)
    assert adapters.read(further.out / "adapter").base == config.model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": 0}, "--lora 16"),
        ({"precision": "fp32"}, "--precision bf16"),
        ({"base": "fp8"}, "one of fp32, bf16, int8, nf4"),
    ],
)
def test_a_base_that_cannot_be_trained_on_is_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_without_bitsandbytes_the_way_out_is_named(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"vlm3\[quantised\]; int8 and bf16 need nothing"):
        sft.prepared(sft.start(config), config)


def _edit(**changes):
    def spoil(folder: Path) -> None:
        path = folder / SETTINGS
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _weights(change):
    def spoil(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return spoil


def _first(weights: dict) -> str:
    return sorted(weights)[0]


SPOILT = {
    "no base": (_edit(base_model_name_or_path="/no/such/folder"), "base_model_name_or_path"),
    "random weights": (_edit(base_model_name_or_path="random:tiny"), "take a merged model"),
    "another base": (_edit(base_model_name_or_path="tiny"), "was trained on another model"),
    "more than factors": (_edit(use_dora=True), "merge_and_unload"),
    "another kind": (_edit(peft_type="IA3"), "peft_type is 'IA3'"),
    "no rank": (_edit(r=None), SETTINGS),
    "a key left over": (_weights(lambda w: w | {"lora_C": torch.ones(2)}), "lora_C is no factor"),
    "half a pair": (
        _weights(lambda w: {k: v for k, v in w.items() if k != _first(w)}),
        "lacks the other one",
    ),
    "no such matrix": (
        _weights(lambda w: {k.replace("up_proj", "out_proj"): v for k, v in w.items()}),
        "no such matrix",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
    "not numbers": (
        _weights(lambda w: {k: v * float("nan") for k, v in w.items()}),
        "NaN or infinite",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_adapter_is_named_with_its_fault(run, name):
    spoil, message = SPOILT[name]
    spoil(run)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        model.load(run)
    assert str(run) in str(caught.value)


def test_another_rank_is_not_gone_on_with_in_silence(config, tmp_path):
    further = replace(config, model=str(config.out / "adapter"), lora=4, out=tmp_path / "on")
    with pytest.raises(ValueError, match="--lora 2"):
        sft.prepared(sft.start(further), further)


def test_a_base_in_bits_is_not_held_in_parts(config, monkeypatch):
    monkeypatch.setattr(sharding.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(sharding.dist, "get_world_size", lambda: 2)
    net = sft.prepared(sft.start(config), config)
    with pytest.raises(ValueError, match="--shard 1 gives each process the whole"):
        sharding.sharded(net, torch.device("cpu"), shard=2)
