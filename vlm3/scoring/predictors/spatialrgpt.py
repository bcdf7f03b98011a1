"""SpatialRGPT: a language model that is shown objects as masks, and a depth map with the picture.

`--model spatialrgpt` takes a8cheng/SpatialRGPT-VILA1.5-8B (Apache-2.0, says its repository; it is
built on Llama 3 and VILA, whose terms go on). A question keeps its words, and each box in it
becomes a mask, as in its evaluation; the depth map is that of Depth Anything, through transformers.
Its package is called llava, as others are, and comes from its repository with an environment of its
own; it needs a GPU. Its interface is read there and tested against a stand-in.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, picture
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import Answer, Sample

EXPERT = Expert(
    name="spatialrgpt",
    weights={"objects": "a8cheng/SpatialRGPT-VILA1.5-8B"},
    install="install https://github.com/AnjieCheng/SpatialRGPT in an environment of its own",
    licence="Apache-2.0, on Llama 3 and VILA",
    published={"objects": "SpatialRGPT-8B"},
)
DEPTH = "LiheYoung/depth-anything-large-hf"
CHAT, LONGEST, MARK = "llama_3", 128, "<mask> <depth>"
_BOX = re.compile(r"(?:\bbox )?(\([0-9]+, [0-9]+, [0-9]+, [0-9]+\))")


class Llava(NamedTuple):
    """Its modules, and what they loaded."""

    tools: Any  # llava.mm_utils
    chats: Any  # llava.conversation
    tokenizer: Any
    net: Any
    processor: Any
    depths: Any  # a pipeline of transformers


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task, without llava or weights."""
    weights = EXPERT.meant(model, source)
    builder = EXPERT.module("llava.model.builder", "load_pretrained_model")
    tools = EXPERT.module("llava.mm_utils", "process_regions")
    name = tools.get_model_name_from_path(weights)
    tokenizer, net, processor, _ = EXPERT.loaded(
        lambda named: builder.load_pretrained_model(named, name), weights
    )
    hub = EXPERT.module("transformers", "pipeline")
    depths = EXPERT.loaded(partial(hub.pipeline, "depth-estimation", device=net.device), DEPTH)
    chats = EXPERT.module("llava.conversation", "conv_templates")
    llava = Llava(tools, chats, tokenizer, net, processor, depths)
    predict = partial(_answers, llava, source.bound)
    return Predictor(predict, source, EXPERT.identity("llava", weights))


def _answers(llava: Llava, task: Task, samples: Sequence[Sample]) -> list[list[Answer]]:
    return [[Answer(text) for text in _of_sample(llava, task, sample)] for sample in samples]


@torch.no_grad()
def _of_sample(llava: Llava, task: Task, sample: Sample) -> list[str]:
    view, shown = sample.views[0], Image.fromarray(picture(sample.views[0]).image)
    images, depths = (
        _tensor(llava, llava.tools.process_images([image], llava.processor, llava.net.config))
        for image in (shown, _grey(np.array(llava.depths(shown)["predicted_depth"])))
    )
    said = []
    for qa in sample.qas:
        question, boxes = masked(qa.question.removeprefix(_note(task)))
        masks = [mask(task.reference.decode_box(box, view.size), shown.size) for box in boxes]
        regions = llava.tools.process_regions(masks, llava.processor, llava.net.config)
        said.append(_said(llava, question, images, depths, _tensor(llava, regions)))
    return said


def _note(task: Task) -> str:
    """What all questions begin with: how boxes are written, of which none is left."""
    return task.templates.get("note", "").format(scale=task.templates["scale"])


def masked(question: str) -> tuple[str, list[str]]:
    """A question with a mark in the place of each box, and the boxes in their order."""
    return _BOX.sub(MARK, question).strip(), _BOX.findall(question)


def mask(box: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8, 1 in a box of a picture of a size (width, height)."""
    found = np.zeros(size[::-1], np.uint8)
    left, top, right, bottom = (round(side) for side in box)
    found[top:bottom, left:right] = 1
    return found


def _grey(depth: np.ndarray) -> Image.Image:
    """A relative map as a picture from black to white."""
    spread = max(float(np.ptp(depth)), 1e-9)
    level = ((depth - depth.min()) / spread * 255).astype(np.uint8)
    return Image.fromarray(np.repeat(level[..., None], 3, -1))


def _tensor(llava: Llava, values: torch.Tensor) -> torch.Tensor:
    return values.to(llava.net.device, torch.bfloat16)


def _said(llava: Llava, question: str, images, depths, masks) -> str:
    chat = llava.chats.conv_templates[CHAT].copy()
    chat.append_message(chat.roles[0], f"<image>\n{question}")
    chat.append_message(chat.roles[1], None)
    tokens = llava.tools.tokenizer_image_token(
        chat.get_prompt(), llava.tokenizer, return_tensors="pt"
    )
    out = llava.net.to(torch.bfloat16).generate(
        tokens[None].to(llava.net.device),
        images=images,
        depths=depths,
        masks=[masks],
        do_sample=False,
        max_new_tokens=LONGEST,
        use_cache=True,
    )
    (text,) = llava.tokenizer.batch_decode(out, skip_special_tokens=True)
    return text.strip().removesuffix(chat.sep or "").strip()
