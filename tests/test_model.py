"""Patches against transformers' image processor; checkpoints in and out."""

import dataclasses
import json
import pickle
import shutil
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from tests.conftest import QUESTION, image_settings
from vlm3 import mixture
from vlm3.qwen import architecture, batching, files, model, patches


@pytest.fixture(scope="module")
def saved(vlm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "saved"
    model.save(vlm, folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32), (256, 320)])
def test_patches_equal_those_of_the_image_processor(size):
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    reference = Qwen2VLImageProcessorPil(**image_settings())(image, return_tensors="np")
    rows = patches.patches(torch.from_numpy(image))
    assert rows.dtype == torch.float32
    assert rows.shape == (size[0] * size[1] // 256, 1536)
    np.testing.assert_allclose(rows, reference["pixel_values"], atol=1e-6, rtol=0)
    assert np.array_equal(patches.grid(image), reference["image_grid_thw"][0])


def test_the_processors_resizing_leaves_multiples_of_32_alone():
    limits = architecture.PREPROCESSING["size"]
    for height in range(32, 1400, 32):
        for width in (32, 64, 640, 1248, 4096):
            resized = smart_resize(
                height, width, 32, limits["shortest_edge"], limits["longest_edge"]
            )
            assert resized == (height, width)


def test_bad_images_are_refused_with_what_was_wrong():
    good = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="multiples of 32, got 60x64: use unify_focal"):
        patches.grid(good[:, :60])
    for bad, message in (
        (good / 255, "float64"),
        (good[..., 0], r"\(64, 64\)"),
        ([1], "list"),
        (good[:0], "64x0"),
    ):
        with pytest.raises(ValueError, match=message):
            patches.grid(bad)


def test_new_is_decided_by_its_seed_and_leaves_the_global_random_state_alone(vlm):
    before = torch.get_rng_state()
    vision = {"depth": 2, "deepstack_visual_indexes": [1]}
    settings = model.config("tiny", text={"num_hidden_layers": 1}, vision=vision)
    first, second, other = (model.new(settings, seed).net.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_4b_has_the_size_of_the_released_model():
    with torch.device("meta"):
        net = Qwen3VLForConditionalGeneration(model.config("4b"))
    assert sum(weight.numel() for weight in net.parameters()) == 4_437_815_808


def test_sizes_that_cannot_work_are_refused():
    for size, text, vision, message in (
        ("5b", {}, {}, "unknown size '5b'"),
        ("tiny", {"head_dim": 64}, {}, "half of head_dim"),
        ("tiny", {"vocab_size": 99}, {}, "vocab_size 99"),
        ("tiny", {}, {"depth": 2}, "below depth 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model.config(size, text=text, vision=vision)


def test_tiny_is_packaged_small_and_knows_how_all_four_tasks_were_taught():
    assert (files.PACKAGED / "model.safetensors").stat().st_size < 20e6
    vlm = model.load("tiny", dtype=torch.bfloat16)
    assert vlm.dtype == torch.bfloat16
    assert vlm.taught == json.loads(json.dumps(mixture.load("homes").taught))


def test_packaged_description_is_the_one_that_the_code_writes():
    packaged = json.loads((files.PACKAGED / "config.json").read_text())
    written = json.loads(model.config("tiny").to_json_string())
    ignore = ("architectures", "dtype", "transformers_version")
    assert {k: v for k, v in packaged.items() if k not in ignore} == {
        k: v for k, v in written.items() if k not in ignore
    }
    assert json.loads(
        (files.PACKAGED / "preprocessor_config.json").read_text()
    ) == architecture.PREPROCESSING | {"merge_size": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_comes_back_bit_by_bit(vlm, saved, images, tmp_path, dtype):
    folder = saved
    if dtype != torch.float32:
        model.save(model.load(saved, dtype=dtype), folder := tmp_path / "half")
    again = model.load(folder)
    assert again.dtype == dtype
    assert again.device.type == "cpu"
    for name, weight in vlm.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], weight.to(dtype)), name
    rotary = again.net.model.language_model.rotary_emb.inv_freq
    assert torch.equal(rotary, vlm.net.model.language_model.rotary_emb.inv_freq)
    assert again.tokenizer.backend_tokenizer.to_str() == vlm.tokenizer.backend_tokenizer.to_str()
    assert again.net.lm_head.weight is again.net.model.language_model.embed_tokens.weight


def test_a_saved_folder_is_what_transformers_expects(vlm, saved, images):
    names = {path.name for path in saved.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert not any(name.endswith((".bin", ".pt")) for name in names)
    rows = AutoImageProcessor.from_pretrained(saved)(images[0], return_tensors="np")["pixel_values"]
    ours = patches.patches(torch.from_numpy(images[0]))
    np.testing.assert_allclose(rows, ours, atol=0.02, rtol=0)  # backends may differ a little
    assert not list(saved.parent.glob("*.partial"))


def test_save_does_not_overwrite(vlm, saved):
    with pytest.raises(FileExistsError, match="not empty"):
        model.save(vlm, saved)


def test_answers_are_greedy_even_if_the_folder_asks_for_sampling(copy, images):
    (copy / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 5.0})
    )
    vlm = model.load(str(copy))
    asked = batching.inputs(vlm, images[:1], QUESTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (vlm.net.generate(**asked, max_new_tokens=3) for _ in range(2))
    assert vlm.net.generation_config.do_sample is False
    assert torch.equal(first, second)


def test_sharded_weights_load_and_a_lost_shard_is_named(vlm, copy):
    (copy / "model.safetensors").unlink()
    vlm.net.save_pretrained(copy, max_shard_size="4MB")
    shard = sorted(copy.glob("model-*.safetensors"))[1]
    again = model.load(copy).net.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in vlm.net.state_dict().items())
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        model.load(copy)


def test_a_config_in_the_hubs_older_words_means_the_same_model(vlm, copy, images):
    found = json.loads((copy / "config.json").read_text())
    rope = found["text_config"].pop("rope_parameters")
    found["text_config"] |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    del found["text_config"]["tie_word_embeddings"], found["vision_config"]["rope_parameters"]
    found["vision_config"]["model_type"] = "qwen3_vl"
    (copy / "config.json").write_text(json.dumps(found))
    asked = batching.inputs(vlm, images, QUESTION)
    with torch.no_grad():
        logits = [net(**asked, use_cache=False).logits for net in (vlm.net, model.load(copy).net)]
    assert torch.equal(*logits)


def _edit(name, **values):
    """Overrides values of a JSON file; section__key reaches one level down."""

    def spoil(folder):
        found = json.loads((folder / name).read_text())
        for key, value in values.items():
            *section, key = key.split("__")
            (found[section[0]] if section else found)[key] = value
        (folder / name).write_text(json.dumps(found))

    return spoil


def _remove(name):
    return lambda folder: (folder / name).unlink()


def _cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:800])


def _only_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _drop_token(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<|image_pad|>", "<|something|>"))


def _weights(change):
    """Writes the weights of a folder anew as `change` returns them."""

    def spoil(folder):
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def _one(change, name="model.visual.merger.norm.bias"):
    return _weights(lambda w: w | {name: change(w[name].clone())})


def _put(value, place=(-1,)):
    """One number of a weight replaced."""

    def change(weight):
        weight.view(-1)[place] = value
        return weight

    return change


def _twice(folder):
    """Two files of which each has one weight of the other's, too."""
    found = load_file(folder / WEIGHTS)
    names, half = sorted(found), len(found) // 2
    parts = {"a.safetensors": names[: half + 1], "b.safetensors": names[half:]}
    for file, own in parts.items():
        save_file({name: found[name] for name in own}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, own in parts.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / WEIGHTS).unlink()


def _grow(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"more")


def _with_file(name, text):
    return lambda folder: (folder / name).write_text(text)


CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
MISSING, WRONG = FileNotFoundError, ValueError
SPOILT = {
    "no config": (_remove(CONFIG), MISSING, "config.json is missing"),
    "broken config": (_cut(CONFIG), WRONG, "config.json does not hold"),
    "odd config": (_edit(CONFIG, vision_config=3), WRONG, "config.json does not hold"),
    "other model": (
        _edit(CONFIG, model_type="llama"),
        WRONG,
        "model_type is 'llama', but only 'qwen3_vl'",
    ),
    "other patches": (_edit(CONFIG, vision_config__patch_size=14), WRONG, "patch_size is 14"),
    "other ids": (_edit(CONFIG, image_token_id=9), WRONG, "image_token_id is 9"),
    "small vocabulary": (_edit(CONFIG, text_config__vocab_size=500), WRONG, "vocab_size 500"),
    "no tokenizer": (_remove(TOKENIZER), MISSING, "tokenizer.json is missing"),
    "broken tokenizer": (_cut(TOKENIZER), WRONG, "tokenizer.json does not hold"),
    "other tokenizer": (_drop_token, WRONG, r"lacks <\|image_pad\|>"),
    "other mean": (
        _edit("preprocessor_config.json", image_mean=[0.48, 0.46, 0.41]),
        WRONG,
        "image_mean",
    ),
    "no weights": (_remove(WEIGHTS), MISSING, "model.safetensors is missing"),
    "only a pickle": (_only_pickle, WRONG, "pytorch_model.bin.*safetensors"),
    "cut weights": (_cut(WEIGHTS), WRONG, "model.safetensors does not hold"),
    "a layer too few": (
        _edit(CONFIG, text_config__num_hidden_layers=5),
        WRONG,
        "missing, such as .*layers.4",
    ),
    "a layer too many": (
        _edit(CONFIG, text_config__num_hidden_layers=3),
        WRONG,
        "left over, such as .*layers.3",
    ),
    "other shapes": (
        _edit(CONFIG, text_config__intermediate_size=64),
        WRONG,
        "of another shape, such as .*mlp",
    ),
    "a head of its own": (
        _weights(lambda w: w | {architecture.HEAD: w[architecture.EMBEDDINGS] + 1e-6}),
        WRONG,
        "lm_head.weight and .*embed_tokens.weight differ.*tie_word_embeddings to false.*or take",
    ),
    "a rounded head": (
        _weights(lambda w: w | {architecture.HEAD: w[architecture.EMBEDDINGS].bfloat16()}),
        WRONG,
        "differ",
    ),
    "untied without a head": (
        _edit(CONFIG, tie_word_embeddings=False),
        WRONG,
        "missing, such as lm_head.weight",
    ),
    "all NaN": (
        _one(lambda w: w * torch.nan),
        WRONG,
        "merger.norm.bias holds NaN or infinite .* as torch.float32",
    ),
    "one NaN": (_one(_put(torch.nan)), WRONG, "merger.norm.bias holds NaN"),
    "an infinity": (_one(_put(torch.inf)), WRONG, "merger.norm.bias holds NaN"),
    "a negative infinity": (_one(_put(-torch.inf, 0)), WRONG, "merger.norm.bias holds NaN"),
    "NaN embeddings": (
        _one(_put(torch.nan), architecture.EMBEDDINGS),
        WRONG,
        "embed_tokens.weight holds NaN",
    ),
    "NaN in bfloat16": (
        _weights(lambda w: {k: _put(torch.nan)(v.bfloat16()) for k, v in w.items()}),
        WRONG,
        "holds NaN or infinite numbers as torch.bfloat16",
    ),
    "whole numbers": (
        _one(lambda w: w.to(torch.int8)),
        WRONG,
        "merger.norm.bias is I8, but only BF16, F16, F32",
    ),
    "eight bits": (_one(lambda w: w.to(torch.float8_e4m3fn)), WRONG, "merger.norm.bias is F8_E4M3"),
    "yes or no": (_one(lambda w: w > 0), WRONG, "merger.norm.bias is BOOL"),
    "double": (_weights(lambda w: {k: v.double() for k, v in w.items()}), WRONG, "F64"),
    "quantised": (
        _edit(CONFIG, quantization_config={"quant_method": "awq"}),
        WRONG,
        "quantization_config is .*awq",
    ),
    "an adapter's key": (
        _weights(lambda w: w | {"model.visual.lora_A.weight": torch.ones(2)}),
        WRONG,
        "left over",
    ),
    "wrapped names": (
        _weights(lambda w: {f"module.{k}": v for k, v in w.items()}),
        WRONG,
        "missing",
    ),
    "no vision": (
        _weights(lambda w: {k: v for k, v in w.items() if "visual" not in k}),
        WRONG,
        "missing, such as model.visual",
    ),
    "an empty weight": (
        _one(lambda w: w[:0]),
        WRONG,
        "of another shape, such as .*merger.norm.bias",
    ),
    "no weight at all": (_weights(lambda w: {}), WRONG, "missing"),
    "a weight twice": (_twice, WRONG, "is in another file, too"),
    "longer than it says": (_grow(WEIGHTS), WRONG, "model.safetensors does not hold"),
    "a pointer": (
        _with_file(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
        WRONG,
        "does not hold",
    ),
    "an adapter beside": (
        _with_file("adapter_config.json", '{"peft_type": "LORA"}'),
        WRONG,
        "adapter beside a whole model",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_named_with_its_fault(copy, name):
    spoil, error, message = SPOILT[name]
    spoil(copy)
    with pytest.raises(error, match=message) as caught:
        model.load(copy)
    assert str(copy) in str(caught.value)


def test_what_is_wrong_with_a_folder_is_said_in_one_line_and_nothing_else_is_printed(copy, capfd):
    _weights(lambda w: {})(copy)
    with pytest.raises(ValueError, match="missing") as told:
        model.load(copy)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "changes",
    [
        lambda w: {architecture.HEAD: w[architecture.EMBEDDINGS].clone()},
        lambda w: {"model.visual.merger.norm.bias": w["model.visual.merger.norm.bias"] * 0 + 3e38},
    ],
    ids=["equal head", "large numbers"],
)
def test_what_looks_odd_and_is_right_loads(vlm, copy, changes):
    _weights(lambda w: w | changes(w))(copy)
    written, again = load_file(copy / WEIGHTS), model.load(copy).net
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in written.items())
    assert again.lm_head.weight is again.model.language_model.embed_tokens.weight


@pytest.mark.parametrize(
    ("kinds", "wide"),
    [
        ([torch.bfloat16], torch.bfloat16),
        ([torch.float16], torch.float16),
        ([torch.bfloat16, torch.float32], torch.float32),
        ([torch.bfloat16, torch.float16], torch.float32),
    ],
)
@pytest.mark.parametrize("said", ["bfloat16", "float32", None])
def test_weights_keep_the_type_of_the_file_whatever_the_configuration_says(copy, kinds, wide, said):
    _weights(lambda w: {k: v.to(kinds[i % len(kinds)]) for i, (k, v) in enumerate(w.items())})(copy)
    _edit(CONFIG, dtype=said)(copy)
    written, again = load_file(copy / WEIGHTS), model.load(copy).net
    assert again.dtype == wide
    assert all(
        torch.equal(again.state_dict()[name], weight.to(wide)) for name, weight in written.items()
    )


def test_a_number_too_large_for_the_type_that_is_asked_for_is_refused(copy):
    _one(_put(1e9))(copy)
    assert model.load(copy).dtype == torch.float32
    with pytest.raises(
        ValueError, match="merger.norm.bias holds NaN or infinite numbers as torch.float16"
    ):
        model.load(copy, dtype=torch.float16)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "taught.json"])
def test_a_description_with_a_byte_order_mark_is_read(copy, name):
    (copy / "taught.json").write_text("{}")
    (copy / name).write_bytes(b"\xef\xbb\xbf" + (copy / name).read_bytes())
    assert model.load(copy).taught == {}


def untied(folder):
    """A folder with a head of its own, and a configuration that says so."""
    _weights(lambda w: w | {architecture.HEAD: w[architecture.EMBEDDINGS].flip(0)})(folder)
    _edit(CONFIG, tie_word_embeddings=False)(folder)
    return folder


def test_an_untied_head_is_kept_by_load_and_save(copy, tmp_path):
    model.save(model.load(untied(copy)), tmp_path / "again")
    first, second = load_file(copy / WEIGHTS), load_file(tmp_path / "again" / WEIGHTS)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(second[architecture.HEAD], second[architecture.EMBEDDINGS])


def test_a_head_that_its_configuration_would_drop_is_not_saved(copy, tmp_path):
    vlm = model.load(untied(copy))
    vlm.net.config.tie_word_embeddings = True
    with pytest.raises(ValueError, match=f"{tmp_path / 'again'}: lm_head.weight and .* differ"):
        model.save(vlm, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_places_that_hold_no_model_are_named(saved, tmp_path, monkeypatch):
    def offline(name, **_):
        raise ConnectionError("offline")

    monkeypatch.setattr(files, "snapshot_download", offline)
    for name in (
        "tinny",
        "no/such/folder",
        "./nothing",
        tmp_path / "nothing",
        "Qwen/No-Such-Model",
    ):
        with pytest.raises(FileNotFoundError, match="no folder"):
            model.load(name)
    with pytest.raises(ValueError, match="is a file"):
        model.load(saved / "config.json")
    with pytest.raises(ValueError, match="'warp'"):
        model.load(saved, device="warp")


def test_the_patch_embedding_is_torchs_convolution_to_rounding(vlm, images):
    ours = deepcopy(vlm.net.model.visual.patch_embed.proj).double()
    rows = patches.patches(torch.from_numpy(images[0])).double()
    plain = torch.nn.Conv3d(
        3, ours.out_channels, (2, 16, 16), stride=(2, 16, 16), dtype=torch.float64
    )
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        blocks = rows.view(-1, 3, 2, 16, 16)
        found, expected = ours(blocks), plain(blocks).flatten(1)
    assert isinstance(ours, patches.LinearPatches)
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_weights_have_the_names_and_shapes_that_transformers_gives_them(vlm):
    with torch.device("meta"):
        plain = Qwen3VLForConditionalGeneration(vlm.net.config)
    shapes = {name: weight.shape for name, weight in vlm.net.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in plain.state_dict().items()}
    assert shapes["model.visual.patch_embed.proj.weight"][1:] == (3, 2, 16, 16)


def test_transformers_own_network_reads_a_saved_folder_with_the_same_logits(vlm, saved, images):
    plain = Qwen3VLForConditionalGeneration.from_pretrained(saved)
    assert type(plain.model.visual.patch_embed.proj) is torch.nn.Conv3d
    asked = batching.inputs(vlm, images, QUESTION)
    with torch.no_grad():
        ours, theirs = (net(**asked, use_cache=False).logits for net in (vlm.net, plain.eval()))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_checkpoint_remembers_how_it_was_taught(vlm, tmp_path):
    lessons = {"depth": {"focal_px": 100.0, "templates": {"scale": 100}}}
    model.save(dataclasses.replace(vlm, taught=lessons), tmp_path / "taught")
    model.save(vlm, tmp_path / "plain")
    assert model.load(tmp_path / "taught").taught == lessons
    assert model.load(tmp_path / "plain").taught == {}
