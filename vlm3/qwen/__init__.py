"""All that knows Qwen3-VL: its shapes and tokens, how samples are packed, how it answers."""
