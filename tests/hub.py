"""Stand-ins: of the hub's Qwen3-VL-4B, with its vocabulary, ids and conventions, and narrow layers;
and of the authors' release, with its files, and prompts made up here."""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vlm3.qwen import model
from vlm3.qwen.tokenizer import CHAT_TEMPLATE

WORDS = 151643  # of the hub's vocabulary, before its special tokens
SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"),
    *("<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
TAGS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
WIDE = 96
NARROW = dict(
    text=dict(
        vocab_size=151936,
        hidden_size=WIDE,
        intermediate_size=WIDE,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        rope_parameters=dict(rope_theta=5e6, mrope_section=[4, 2, 2]),
    ),
    vision=dict(
        depth=18,
        hidden_size=32,
        intermediate_size=64,
        num_heads=2,
        num_position_embeddings=2304,
        deepstack_visual_indexes=[5, 11, 17],
        spatial_merge_size=2,
    ),
)


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a word, as digits are in the real one; what fills the rest is never said."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"<unused {number}>" for number in range(WORDS - len(alphabet)))]
    bpe = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}|\p{L}+|[^\p{N}\p{L}]+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(list(SPECIALS))
    bpe.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        clean_up_tokenization_spaces=False,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def checkpoint(folder: Path, says: str) -> Path:
    """A checkpoint as the hub has it that says one thing to every question: no token of it
    twice.

    Attention adds nothing, and the first layer turns each token into the one after it: words have
    one-hot embeddings, its neurons are one for each.
    """
    words = tokenizer()
    vlm = model.new(model.config("tiny", words, **NARROW), tokenizer=words)
    chain = words("\n" + says + "<|im_end|>").input_ids
    assert len(set(chain)) == len(chain) <= WIDE
    text, net = vlm.net.model.language_model, vlm.net
    with torch.no_grad():
        for layer in text.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        text.embed_tokens.weight.zero_()
        text.embed_tokens.weight[chain, range(len(chain))] = 1.0
        first = text.layers[0].mlp
        first.gate_proj.weight.copy_(torch.eye(WIDE))
        first.up_proj.weight.copy_(torch.eye(WIDE))
        first.down_proj.weight.copy_(torch.eye(WIDE).roll(1, 0))
        text.norm.weight.fill_(3.0)
    model.save(model.VLM(net.to(torch.bfloat16), words), folder)
    _as_published(folder)
    return folder


def _as_published(folder: Path) -> None:
    """In the words of the hub's files: older names in the configuration, a tokenizer of a class of
    its own, answers drawn by chance, weights in two files."""
    _change(folder / "generation_config.json", do_sample=True, temperature=0.7, top_k=20, top_p=0.8)
    _change(
        folder / "tokenizer_config.json",
        tokenizer_class="Qwen2Tokenizer",
        bos_token=None,
        unk_token=None,
        errors="replace",
        model_max_length=262144,
        additional_special_tokens=list(SPECIALS[1:]),
    )
    found = json.loads((folder / "config.json").read_text())
    rope = found["text_config"].pop("rope_parameters")
    found["text_config"] |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    _change(folder / "config.json", **found)
    limits = {"shortest_edge": 65536, "longest_edge": 16777216}
    _change(folder / "preprocessor_config.json", size=limits)
    _in_two(folder)


def _change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _in_two(folder: Path) -> None:
    whole = folder / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    names = sorted(weights)
    parts = {"1": names[: len(names) // 2], "2": names[len(names) // 2 :]}
    index = {}
    for number, some in parts.items():
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({n: weights[n] for n in some}, folder / name, {"format": "pt"})
        index |= dict.fromkeys(some, name)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))


def release(folder: Path) -> Path:
    """The authors' release as published, with photos of one grey and prompts that are not
    theirs."""
    samples = folder / "sample_data"
    samples.mkdir(parents=True)
    code = [
        "%matplotlib inline\nimport torch\n",
        'PROMPT_TEMPLATE = (\n    "Metres to {nx}, {ny}? "\n    "Think, then answer."\n)\n',
    ]
    cells = [{"cell_type": "code", "source": [text]} for text in code]
    (folder / "inference.ipynb").write_text(json.dumps({"cells": cells}))
    for name, made in LABELS.items():
        (samples / f"{name}.json").write_text(json.dumps(made))
    for name, size in (("wide.png", (300, 200)), ("other.png", (300, 200))):
        Image.new("RGB", size, (127, 127, 127)).save(samples / name)
    return folder


SIZED = {"width": 250, "height": 167}
INTRINSICS = {"fx": 1000.0, "fy": 1000.0, "cx": 124.5, "cy": 83.0}
LABELS = {
    "depth_labels": {
        "image": "wide.png",
        "image_size": SIZED,
        "intrinsics_after_focal_normalization_to_1000": INTRINSICS,
        "samples": [
            {
                "pixel_coord_resized": [25, 50],
                "pixel_coord_normalized_2000": [200, 599],
                "depth_meters": 2.5,
            },
            {
                "pixel_coord_resized": [200, 100],
                "pixel_coord_normalized_2000": [1600, 1198],
                "depth_meters": 4.0,
            },
        ],
    },
    "pixel_corr_labels": {
        "image_1": "wide.png",
        "image_2": "other.png",
        "image_1_size_original": {"width": 300, "height": 200},
        "image_1_size_resized": {"width": 1024, "height": 683},
        "image_2_size_resized": {"width": 1024, "height": 683},
        "prompt_template": "Find ({x1}, {y1}) of {image one} again.",
        "thinking_format_instruction": " Think {first}.",
        "correspondences": [
            {"img1_norm_1000": [440.2, 60.4], "img2_norm_1000": [338.1, 52.0]},
        ],
    },
    "pose_labels": {
        "image_1": "wide.png",
        "image_2": "other.png",
        "ground_truth_pose": {
            "rotation_angle_deg": 12.0,
            "yaw_deg": 12.0,
            "pitch_deg": 0.0,
            "roll_deg": 0.0,
            "translation_unit_vector": "(+1.00, +0.00, +0.00)",
            "translation_distance_m": 0.5,
        },
        "qa_pairs": [
            {"question_id": "rotation_angle", "question": "Turned by?", "answer": "12"},
            {"question_id": "euler_natural", "question": "Turned how?", "answer": "Yaw=+12.0"},
            {"question_id": "translation_direction", "question": "Gone where?", "answer": "right"},
            {"question_id": "translation_distance", "question": "Gone how far?", "answer": "0.5"},
        ],
    },
    "spatialrgpt_labels": {
        "image": "wide.png",
        "image_size_resized": SIZED,
        "prompt": "How wide is (100, 100, 200, 300)?",
        "answer": "It is 1.20 meters wide.",
        "qa_info": {"category": "width_data", "type": "quantitative", "class": ["a chair"]},
    },
}
