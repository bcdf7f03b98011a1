"""DepthLM: the forerunner of VLM3, a language model that is shown the pixel by a red arrow.

`--model depthlm` takes facebook/DepthLM (FAIR CC-BY-NC, 12 billion weights on Pixtral), `--model
depthlm:NAME` another that transformers loads as a model of images and text. It is asked as its
evaluation asks: the picture at a focal length of 750 px, a red arrow of five pixels that ends left
of the pixel, one picture and one answer for each question. What is asked for is in words of this
project, since its authors say that theirs do not matter. It was taught distances from the camera
mostly, and answers them whether z-depth is asked for or range; published scores take them as they
come, and so does this file. Tested against a stand-in of transformers' model and processor.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, picture, pixels
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import Answer, Sample

EXPERT = Expert(
    name="depthlm",
    weights={"depth": "facebook/DepthLM"},
    install="pip install transformers torchvision",
    licence="FAIR CC-BY-NC",
    research_only=True,
    published={"depth": "DepthLM-7B"},
)
FOCAL_PX = 750.0
ARROW_PX, RED = 5, (255, 0, 0)  # the length of its shaft
LONGEST = 256  # tokens; an answer has a thought of one sentence
ASKED = (
    "How many metres is it from the camera to the point at the tip of the red arrow? "
    "Think in <think> </think>, then give the bare number in <answer> </answer>."
)


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task or without weights."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    hub = EXPERT.module("transformers", "AutoModelForImageTextToText")
    load = partial(hub.AutoModelForImageTextToText.from_pretrained, dtype="auto")
    net = EXPERT.loaded(load, weights).to(device).eval()
    processor = EXPERT.loaded(hub.AutoProcessor.from_pretrained, weights)
    asked = replace(source, focal_px=FOCAL_PX)
    predict = partial(_answers, net, processor, source.bound)
    return Predictor(predict, asked, EXPERT.identity("transformers", weights))


def _answers(net, processor, task: Task, samples: Sequence[Sample]) -> list[list[Answer]]:
    said = []
    for sample in samples:
        shown, places = picture(sample.views[0]).image, pixels(task, sample.views[0], sample.qas)
        said.append([Answer(_said(net, processor, pointed(shown, *uv))) for uv in places])
    return said


def pointed(image: np.ndarray, u: float, v: float) -> np.ndarray:
    """A copy of an image HxWx3 with a red arrow whose tip ends left of a pixel, as far as there is
    room for it."""
    column, row, drawn = int(u), int(v), image.copy()
    shaft = [(column - k, row) for k in range(1, ARROW_PX + 1)]
    head = [(column - 1 - k, row + side * k) for k in (1, 2) for side in (-1, 1)]
    for x, y in shaft + head:
        if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
            drawn[y, x] = RED
    return drawn


@torch.no_grad()
def _said(net, processor, image: np.ndarray) -> str:
    content = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": ASKED}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(net.device, net.dtype)
    tokens = net.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
    told = tokens[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(told, skip_special_tokens=True)[0]
