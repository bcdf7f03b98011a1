"""The shapes and names of Qwen3-VL, for whoever must know them before a network is made."""

PATCH = 16  # pixels per patch side
MERGE = 2  # patches per token side in all released models; small ones may have 1
BLOCK = PATCH * MERGE  # what image sides are multiples of: pixels per token side
TEMPORAL = 2  # copies of a still image: the tower reads two frames of a film at a time
TOWER = {"patch_size": PATCH, "temporal_patch_size": TEMPORAL}
HEAD, EMBEDDINGS = "lm_head.weight", "model.language_model.embed_tokens.weight"
PARTS = {  # what may be frozen, by its place in the network
    "vision": "model.visual",
    "merger": "model.visual.merger",
    "deepstack": "model.visual.deepstack_merger_list",
    "text": "model.language_model",
    "embeddings": "model.language_model.embed_tokens",
}
# The layers of the language model that adapters are put on: all that a token passes through.
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# In what weights that do not learn may be held, see `vlm3.qwen.quantised`.
BASES = ("fp32", "bf16", "int8", "nf4")
# Weights with a row for each word, place or patch, by their names.
ROWS = r"embed|lm_head"
TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
SIZES = {
    "tiny": {
        "text": dict(
            vocab_size=1536,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=8192,
            rope_parameters=dict(rope_theta=1e4, mrope_section=[6, 5, 5]),
        ),
        "vision": dict(
            depth=6,
            hidden_size=192,
            intermediate_size=768,
            num_heads=6,
            num_position_embeddings=256,
            deepstack_visual_indexes=[1, 3],
            spatial_merge_size=1,  # flow halved with it, see pretraining_search.json
        ),
    },
    "4b": {
        "text": dict(
            vocab_size=151936,
            hidden_size=2560,
            intermediate_size=9728,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=262144,
            rope_parameters=dict(rope_theta=5e6, mrope_section=[24, 20, 20]),
        ),
        "vision": dict(
            depth=24,
            hidden_size=1024,
            intermediate_size=4096,
            num_heads=16,
            num_position_embeddings=2304,
            deepstack_visual_indexes=[5, 11, 17],
        ),
    },
}
# What `patches` does, in the words of transformers' image processors. Their resizing leaves our
# images alone: sides are multiples of 32 already, and so are the pixel counts from one token up to
# 4096 x 4096.
PREPROCESSING = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen3VLProcessor",
    "size": {"shortest_edge": BLOCK**2, "longest_edge": 4096**2},
    "patch_size": PATCH,
    "merge_size": MERGE,
    "temporal_patch_size": TEMPORAL,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
