"""The tiny tokenizer: byte-level BPE with Qwen's special tokens and Qwen's way with numbers.

Every digit is a token of its own and so is every punctuation mark, often with the space before
it: a number is always spelled digit by digit. Words keep the space before them, and a phrase of
the questions, from one number or mark to the next, is mostly one token: a question is then hardly
longer than the numbers in it. Any text makes the round trip, byte by byte if need be.

Weights fit the tokenizer of their training. So the packaged one is made from a corpus that lies
beside its weights, and not from the questions that the tasks ask today: these may change freely.
"""

import gzip
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vlm3.qwen import files

CORPUS = files.PACKAGED / "corpus.txt.gz"
VOCABULARY = 1536
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PIECES = r"\p{N}|(?: ?\p{L}+)+| ?[^\s\p{L}\p{N}]|\s"  # one digit, a phrase, one mark, one space
CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def train(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tiny tokenizer, the same for the same turns of a conversation, role and words."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    # All bytes from the start, so that any text can be written.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        clean_up_tokenization_spaces=False,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def packaged_corpus() -> list[str]:
    """What the packaged tokenizer was made from: turns of users and assistants, two lines each."""
    lines = gzip.decompress(CORPUS.read_bytes()).decode().splitlines()
    return ["\n".join(turn) for turn in zip(lines[::2], lines[1::2], strict=True)]


def load(folder: Path = files.PACKAGED) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint, by default the packaged one."""
    path = folder / "tokenizer.json"
    files.read_json(path)
    with files.reading(path):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template or CHAT_TEMPLATE
    return tokenizer
