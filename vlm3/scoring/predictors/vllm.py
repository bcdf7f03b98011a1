"""The same Qwen3-VL served by vLLM, for evaluations too large for this package's own answers.

vLLM keeps what it has computed of a prompt and takes it up again where another one begins alike, so
the questions of a sample stand next to each other, images first, and each image is read once. Give
it much at a time: `at_once` of an evaluation in the hundreds. Questions, images and the end of an
answer are those of `vlm3.qwen.packing`; the images arrive in the size that focal unification gave
them and must stay so, which is checked in every prompt.

Written from vLLM's documentation and tested against a stand-in that records what it is asked, never
against vLLM.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from vlm3 import disk, parallel
from vlm3.mixture import Source
from vlm3.qwen import adapters, files
from vlm3.qwen.architecture import MERGE, PATCH, PREPROCESSING
from vlm3.qwen.lessons import LONGEST, demand, lesson, of
from vlm3.qwen.packing import prompt
from vlm3.scoring.predictors import Predictor, as_taught
from vlm3.views import Answer, Sample

# Tokens of images, question and answer; Qwen3-VL's own limit asks for more memory than GPUs have.
CONTEXT = 16384


def predictor(model: str, source: Source, lessons: str = "") -> Predictor:
    """model: a folder in hub format, whose lessons are followed, a folder of an adapter, which vLLM
    puts on its base, or a hub name; lessons: instead of its own, see `vlm3.qwen.lessons.read`.
    ValueError without vLLM or a model."""
    if not model:
        raise ValueError(
            "vllm needs a model, a folder or a hub name: vllm:Qwen/Qwen3-VL-4B-Instruct"
        )
    demand(model, lessons)
    folder = Path(model)
    taught = of(model, folder, lessons)
    longest, vllm = lesson(taught, source.task).tokens, _vllm(model)
    adapter = adapters.read(folder) if adapters.there(folder) else None
    llm = vllm.LLM(
        model=adapter.base if adapter else model,
        **_room(adapter),
        enable_prefix_caching=True,
        max_model_len=CONTEXT,
        seed=0,
        limit_mm_per_prompt={"image": 2, "video": 0},
        mm_processor_kwargs={"size": PREPROCESSING["size"]},
    )
    end = llm.get_tokenizer().convert_tokens_to_ids("<|im_end|>")
    greedy = vllm.SamplingParams(
        temperature=0.0, max_tokens=longest, stop_token_ids=[end], logprobs=1
    )
    weights = sorted(folder.glob("*.safetensors"))
    identity = f"vLLM {vllm.__version__} {disk.fingerprint(weights)}".strip()
    identity += f", {longest} tokens" if longest > LONGEST else ""
    block = PATCH * _merge(Path(adapter.base) if adapter else folder)
    more = {"lora_request": _request(folder)} if adapter else {}
    predict = partial(_answers, llm, greedy, block, more=more)
    return Predictor(predict, as_taught(source, taught), identity)


def _vllm(model: str):
    try:
        import vllm
    except ImportError as error:
        raise ValueError(
            f"vllm:{model} needs vLLM and a GPU (pip install vllm); without, take {model}"
        ) from error
    if parallel.place().num_processes > 1:
        raise ValueError("vLLM shares out its own work: start one process")
    return vllm


def _room(adapter: adapters.Adapter | None) -> dict:
    """What vLLM must know of an adapter before it loads the base; it knows some ranks only."""
    if adapter is None:
        return {}
    return {"enable_lora": True, "max_lora_rank": max(8, 1 << (adapter.rank - 1).bit_length())}


def _request(folder: Path):
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, str(folder.resolve()))


def _answers(
    llm, greedy, block: int, samples: Sequence[Sample], more: Mapping = MappingProxyType({})
) -> list[list[Answer]]:
    asked = [request for sample in samples for request in _requests(sample)]
    found = iter(llm.generate(asked, greedy, use_tqdm=False, **more) if asked else ())
    pad = llm.get_tokenizer().convert_tokens_to_ids("<|image_pad|>")
    return [[_answer(next(found), sample, pad, block) for _ in sample.qas] for sample in samples]


def _requests(sample: Sample) -> list[dict]:
    images = [Image.fromarray(view.image) for view in sample.views]
    return [
        {"prompt": prompt(qa.question, len(images)), "multi_modal_data": {"image": images}}
        for qa in sample.qas
    ]


def _answer(output, sample: Sample, pad: int, block: int) -> Answer:
    _check(output.prompt_token_ids.count(pad), sample, block)
    (said,) = output.outputs
    logprobs = [
        step[token].logprob for step, token in zip(said.logprobs, said.token_ids, strict=True)
    ]
    return Answer(said.text, tuple(logprobs))


def _check(tokens: int, sample: Sample, block: int) -> None:
    """Each token of an image stands for so many pixels: another number of them, and vLLM has
    resized the images."""
    sizes = [view.size for view in sample.views]
    expected = sum(width * height for width, height in sizes) / block**2
    if tokens != expected:
        raise ValueError(
            f"vLLM made {tokens} tokens of images of {sizes} pixels, not {expected:g}: it resized "
            "them, so their focal length is wrong; look at its mm_processor_kwargs"
        )


def _merge(folder: Path) -> int:
    """Patches per token side of a model in a folder; that of all released ones for a hub name."""
    path = folder / "config.json"
    known = files.read_json(path).get("vision_config", {}) if path.exists() else {}
    return known.get("spatial_merge_size", MERGE)
