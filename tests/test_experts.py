"""Experts, told by stand-ins of their packages or by their own classes with few random weights."""

import re
import sys
from functools import partial
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from vlm3.focal import PAD_VALUE
from vlm3.geometry import Camera, invert, project, relative_pose, transform, unproject
from vlm3.mixture import Source
from vlm3.scoring import experts, predictors, warps
from vlm3.scoring.experts import Found
from vlm3.scoring.predictors import da3, depth_anything, depthlm, depthpro, spatialrgpt, vggt
from vlm3.sources.rooms import Rooms
from vlm3.views import Sample, View

VIEWS = {"depth": 1, "objects": 1, "correspondence": 2, "pose": 2}
MODULES = {n: import_module(f"vlm3.scoring.predictors.{n}") for n in predictors.NAMES}
EXPERTS = {name: m.EXPERT for name, m in MODULES.items() if hasattr(m, "EXPERT")}
PACKAGES = {
    "da3": "depth_anything_3.api",
    "dkm": "dkm",
    "roma": "romatch",
    "spatialrgpt": "llava.model.builder",
    "unidepth": "unidepth.models",
    "vggt": "vggt.models.vggt",
    "xfeat": "kornia.feature",
}


def source(task: str, **changes) -> Source:
    return Source(Rooms("small", views=VIEWS[task]), task, 12, 100, **changes)


def sample(found: Source, item: int = 0) -> Sample:
    return found.sample(item, "", np.random.default_rng([0, item]))


def scores(found: predictors.Predictor, asked: Sample) -> dict:
    (answers,) = found.predict([asked])
    task = found.source.bound
    read = [task.read(qa, a.text) for qa, a in zip(asked.qas, answers, strict=True)]
    return task.score([(v, task.truth(qa)) for v, qa in zip(read, asked.qas, strict=True)])


def true_depth(seen: Sample) -> np.ndarray:
    """Of the first picture, which has no padding."""
    width, height = experts.picture(seen.views[0]).size
    return seen.views[0].depth_m[:height, :width]


def knowing(found: Found, of: Source) -> predictors.Predictor:
    """Who finds this, whatever it is shown."""
    return predictors.Predictor(experts.answering(lambda views: found, of), of)


# What an expert finds, in words


@pytest.mark.parametrize("kind", ["z", "range"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_true_depth_map_is_right_at_any_resolution(kind, times):
    asked = source("depth", options={"kind": kind})
    seen = sample(asked)
    larger = np.kron(true_depth(seen), np.ones((times, times)))
    assert scores(knowing(Found(depth_m=larger), asked), seen)["abs_rel"] < 0.01


def test_depth_that_is_unknown_or_behind_the_camera_gets_no_answer():
    asked = source("depth")
    for depth_m in (None, np.full((96, 128), np.nan), np.full((96, 128), -1.0)):
        (answers,) = knowing(Found(depth_m=depth_m), asked).predict([sample(asked)])
        assert {a.text for a in answers} == {""}


def test_true_matches_are_right_and_unknown_ones_get_no_answer():
    asked = source("correspondence")
    seen = sample(asked)
    found = scores(knowing(Found(follow=partial(followed, seen)), asked), seen)
    assert found["epe_px_all"] < 8  # half a bin, and another of the pixel that is asked about
    assert found["parsed"] == 1
    lost = knowing(Found(follow=lambda uv: np.full_like(uv, np.nan)), asked)
    assert scores(lost, seen)["parsed"] == 0


def test_a_metric_pose_answers_the_distance_and_another_does_not():
    asked = source("pose")
    seen = sample(asked)
    for metric, parsed in ((True, 1.0), (False, 0.75)):
        found = scores(knowing(Found(cam1_from_cam2=truth(seen), metric=metric), asked), seen)
        assert found["auc_5"] == 1
        assert found["parsed"] == parsed


def test_padding_is_not_shown_and_pixels_keep_their_places(rng):
    image = rng.integers(0, 100, (96, 128, 3), np.uint8)
    image[70:], image[:, 100:] = PAD_VALUE, PAD_VALUE
    lens = Camera(100, 100, 50, 40, 128, 96)
    found = experts.picture(View(image, lens, np.ones((96, 128), np.float32)))
    assert found.size == (100, 70)
    assert np.array_equal(found.image, image[:70, :100])
    assert (found.camera.fx, found.camera.cx, found.camera.cy) == (100, 50, 40)
    assert found.depth_m is None  # its labels are nobody's to see
    whole = np.full((96, 128, 3), PAD_VALUE, np.uint8)
    assert experts.picture(View(whole, lens)).size == (128, 96)


def test_depth_of_a_padded_view_is_that_of_its_picture():
    asked = source("depth")
    image = np.zeros((96, 128, 3), np.uint8)
    image[64:], image[:, 96:] = PAD_VALUE, PAD_VALUE
    rows, columns = np.indices((64, 96)).astype(np.float32)
    known = np.full((96, 128), np.nan, np.float32)
    known[:64, :96] = 1 + columns + 100 * rows
    view = View(image, Camera(100, 100, 48, 32, 128, 96), known)
    qas = asked.bound.ask([view], 20, np.random.default_rng(0))
    shown = []

    def look(views):
        shown.append(views[0].size)
        return Found(depth_m=known[:64, :96])

    found = predictors.Predictor(experts.answering(look, asked), asked)
    assert scores(found, Sample((view,), tuple(qas), "depth", ""))["delta_1"] == 1
    assert shown == [(96, 64)]


def test_between_cells_a_map_is_interpolated():
    ramp = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5), -1)
    uv = np.array([[3.3, 2.2], [4.0, 5.0], [0.0, 6.0]])
    expected = np.clip(uv, 0.5, [7.5, 5.5])  # constant in the outer half cell
    assert experts.between(ramp, uv, (8, 6)) == pytest.approx(expected)
    assert experts.between(ramp, 2 * uv, (16, 12)) == pytest.approx(expected)


# What is to be known of each


@pytest.mark.parametrize("name", EXPERTS)
def test_each_refuses_tasks_that_it_does_not_answer(name):
    for task in VIEWS.keys() - EXPERTS[name].weights.keys():
        with pytest.raises(ValueError, match=f"{name} answers .*, not {task}: leave it out"):
            predictors.get(name, source(task))


@pytest.mark.parametrize("name", PACKAGES)
def test_without_its_package_one_line_says_what_to_do(name, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    task = next(iter(EXPERTS[name].weights))
    with pytest.raises(ValueError, match=f"^{name} needs .*(pip install|in an environment)"):
        predictors.get(name, source(task))


def test_another_package_of_the_same_name_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "dkm", ModuleType("dkm"))  # what the index has
    with pytest.raises(ValueError, match="the dkm that is installed is another package: pip inst"):
        predictors.get("dkm", source("pose"))


def test_weights_that_cannot_be_had_are_named_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"depthpro: .*absent cannot be had .*--model depthpro:"):
        predictors.get(f"depthpro:{tmp_path / 'absent'}", source("depth"))


def test_a_licence_for_research_is_shown_and_others_are_not(caplog):
    for name in ("depthpro", "roma"):
        EXPERTS[name].loaded(str, "weights")
    assert caplog.messages == ["depthpro: weights: licence apple-amlr, for research"]


def test_other_weights_have_another_identity_and_the_same_ones_the_same(tmp_path):
    kinds = []
    for body in (b"one", b"two", b"one"):
        (tmp_path / "model.safetensors").write_bytes(body)
        kinds.append(EXPERTS["depthpro"].identity("transformers", str(tmp_path)))
    assert kinds[0] == kinds[2] != kinds[1]
    assert transformers.__version__ in kinds[0]


# RoMa and DKM


def truth(seen: Sample) -> np.ndarray:
    return relative_pose(*(view.world_from_cam for view in seen.views))


def followed(seen: Sample, uv: np.ndarray) -> np.ndarray:
    """Where pixels (N, 2) of the first view are in the second, by its labels."""
    first, second = seen.views
    depth_m = experts.held(first.depth_m, uv, first.size)
    points = transform(invert(truth(seen)), unproject(uv, depth_m, first.camera))
    return project(points, second.camera)


class Matcher:
    """Knows the labels; asks for Pillow images as RoMa and DKM do, and notes their sizes."""

    symmetric = True

    def __init__(self, seen: Sample, batch: bool):
        self.seen, self.batch, self.sizes = seen, batch, []

    def match(self, *images):
        self.sizes += [image.size for image in images]
        (width, height), half = images[0].size, self.batch
        rows, columns = np.indices((2 * height, 2 * width)) + 0.5  # finer than the pictures
        places = np.stack([columns, rows], -1) / (2 * width, 2 * height)
        uv2 = followed(self.seen, places.reshape(-1, 2) * images[0].size)
        ends = np.nan_to_num(uv2, nan=-9).reshape(places.shape) / images[1].size
        there = torch.from_numpy(2 * np.concatenate([places, ends], -1) - 1)
        warp = torch.cat([there, there.flip(-1) * 0], 1)  # nothing is known of the way back
        known = (there[..., 2:].abs() < 1).all(-1)
        certainty = torch.cat([known, torch.zeros_like(known)], 1).double()
        return (warp[None], certainty[None]) if half else (warp, certainty)

    def sample(self, warp, certainty, num):
        chosen = torch.multinomial(certainty.flatten().float(), num)
        return warp.reshape(-1, 4)[chosen], certainty.flatten()[chosen]


@pytest.fixture
def matcher(monkeypatch):
    """Modules like romatch and dkm, for a sample."""

    def made(seen: Sample) -> Matcher:
        batch = Matcher(seen, True)
        monkeypatch.setattr(warps, "DRAWN", 300)
        roma = SimpleNamespace(roma_indoor=lambda device: batch, roma_outdoor=None)
        dkm = SimpleNamespace(DKMv3_indoor=lambda: Matcher(seen, False), DKMv3_outdoor=None)
        monkeypatch.setitem(sys.modules, "romatch", roma)
        monkeypatch.setitem(sys.modules, "dkm", dkm)
        return batch

    return made


@pytest.mark.parametrize("name", ["roma:indoor", "dkm:indoor"])
def test_a_true_warp_gives_true_matches_and_the_pose(name, matcher):
    for task in ("correspondence", "pose"):
        asked = source(task)
        seen = sample(asked, 1)
        matcher(seen)
        found = predictors.get(name, asked)
        told = scores(found, seen)
        if task == "pose":
            assert told["auc_10"] > 0.8
            assert found.predict([seen]) == found.predict([seen])
        else:
            assert told["pck_10"] > 0.9


def test_roma_is_shown_pictures_and_has_two_sets_of_weights(matcher):
    asked = source("correspondence")
    made = matcher(sample(asked))
    predictors.get("roma:indoor", asked).predict([sample(asked)])
    assert made.sizes == [experts.picture(v).size for v in sample(asked).views]
    with pytest.raises(ValueError, match="roma:street: its weights are outdoor and indoor"):
        predictors.get("roma:street", asked)


# XFeat


def test_xfeat_counts_from_pixel_centres_and_answers_as_opencv_does(monkeypatch):
    asked = source("pose")
    seen = sample(asked, 1)

    class XFeat(torch.nn.Module):
        @classmethod
        def from_pretrained(cls):
            return cls()

        def match_xfeat(self, first, second, min_cossim):
            assert first.shape == (1, 3, 95, 127)  # without padding
            assert 0 <= first.min() <= first.max() <= 1
            uv1 = np.random.default_rng(0).uniform(0, [128, 96], (400, 2))
            uv2 = followed(seen, uv1)
            good = np.isfinite(uv2).all(1)
            return tuple(torch.from_numpy(uv[good] - 0.5) for uv in (uv1, uv2))

    monkeypatch.setitem(sys.modules, "kornia.feature", SimpleNamespace(XFeat=XFeat))
    found = predictors.get("xfeat", asked)
    assert scores(found, seen)["auc_10"] > 0.8
    assert "poses by" in found.identity


def test_xfeat_of_kornia_takes_a_file_of_weights(tmp_path):
    feature = pytest.importorskip("kornia.feature")
    torch.save(feature.XFeat().net.state_dict(), tmp_path / "xfeat.pt")
    asked = source("correspondence")
    found = predictors.get(f"xfeat:{tmp_path / 'xfeat.pt'}", asked)
    (answers,) = found.predict([sample(asked)])
    assert len(answers) == 12


# DepthPro and Depth Anything V2, small and random


def dinov2(size: int, patch: int) -> dict:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return small | {"model_type": "dinov2", "patch_size": patch, "image_size": size}


@pytest.fixture(scope="module")
def small_depthpro(tmp_path_factory):
    """A folder in hub format."""
    torch.manual_seed(0)
    parts = {f"{p}_model_config": dinov2(32, 8) for p in ("image", "patch", "fov")}
    config = transformers.DepthProConfig(
        **parts,
        patch_size=32,
        fusion_hidden_size=8,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_feature_dims=[8, 8, 8],
        use_fov_model=True,
    )
    net = transformers.DepthProForDepthEstimation(config)
    *_, weight, bias = net.head.parameters()
    weight.data.mul_(1e-4), bias.data.fill_(0.5)  # so that depth is not at its limits
    folder = tmp_path_factory.mktemp("depthpro")
    net.save_pretrained(folder)
    return folder


def test_depthpro_answers_in_the_metres_of_the_camera_that_is_known(small_depthpro):
    asked = source("depth")
    found = predictors.get(f"depthpro:{small_depthpro}", asked)
    (answers,) = found.predict([sample(asked)])
    assert all(float(a.text) > 0 for a in answers)
    net = transformers.DepthProForDepthEstimation.from_pretrained(small_depthpro).eval()
    view = experts.picture(sample(asked).views[0])
    twice = 2 * view.camera.fx
    longer = View(view.image, Camera(twice, twice, 64, 48, *view.size))
    near, far = (depthpro.look(net, [each]).depth_m for each in (view, longer))
    assert far == pytest.approx(2 * near, rel=1e-4)
    alone = depthpro.look(net, [View(view.image, None)]).depth_m  # by its own field of view
    assert np.ptp(alone / near) < 1e-3 * (alone / near).max()
    assert alone != pytest.approx(near)


@pytest.fixture(scope="module")
def small_depth_anything(tmp_path_factory):
    """A folder in hub format for each kind of depth."""
    folders = {}
    for kind in ("metric", "relative"):
        torch.manual_seed(0)
        stages = [f"stage{k}" for k in (1, 2, 3, 4)]
        config = transformers.DepthAnythingConfig(
            backbone_config=dinov2(56, 14)
            | {"out_features": stages, "reshape_hidden_states": False, "num_hidden_layers": 4},
            reassemble_hidden_size=16,
            neck_hidden_sizes=[8] * 4,
            fusion_hidden_size=8,
            head_hidden_size=4,
            depth_estimation_type=kind,
            max_depth=20,
        )
        folders[kind] = tmp_path_factory.mktemp(kind)
        transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folders[kind])
        (folders[kind] / "preprocessor_config.json").write_text(
            '{"image_processor_type": "DPTImageProcessor", "size": {"height": 56, "width": 56},'
            ' "keep_aspect_ratio": true, "ensure_multiple_of": 14}'
        )
    return folders


def test_depth_anything_is_taken_as_it_is_and_must_be_metric(small_depth_anything):
    asked = source("depth")
    found = predictors.get(f"depth_anything:{small_depth_anything['metric']}", asked)
    (answers,) = found.predict([sample(asked)])
    assert all(0 < float(a.text) < 20 for a in answers)
    with pytest.raises(ValueError, match="finds depth without a unit: take weights with Metric"):
        predictors.get(f"depth_anything:{small_depth_anything['relative']}", asked)
    assert depth_anything.EXPERT.weights["depth"].endswith("Small-hf")  # for a laptop


# UniDepthV2, Depth Anything 3, VGGT


class Net:
    """A network on any device, from any weights."""

    @classmethod
    def from_pretrained(cls, weights):
        made = cls()
        made.weights = weights
        return made

    def to(self, device):
        return self

    def eval(self):
        return self


def test_unidepth_is_given_bytes_and_the_camera(monkeypatch):
    asked, given = source("depth"), []
    seen = sample(asked)

    class UniDepthV2(Net):
        def infer(self, rgb, camera):
            given.append((rgb, camera))
            return {"depth": torch.from_numpy(true_depth(seen))[None, None]}

    monkeypatch.setitem(sys.modules, "unidepth.models", SimpleNamespace(UniDepthV2=UniDepthV2))
    found = predictors.get("unidepth", asked)
    assert scores(found, seen)["abs_rel"] < 0.01
    ((rgb, camera),) = given
    assert (rgb.dtype, rgb.shape) == (torch.uint8, (3, 95, 127))  # without padding
    assert camera.numpy() == pytest.approx(seen.views[0].camera.K)
    assert "unidepth-v2-vitl14" in found.identity


@pytest.fixture
def three(monkeypatch):
    """A module like Depth Anything 3's, which knows the labels of a sample."""
    given = []

    def install(seen: Sample, metric: bool = False):
        class DepthAnything3(Net):
            def inference(self, images):
                given.append([image.shape for image in images])
                small = true_depth(seen)[None, ::2, ::2]
                world = [np.eye(4), invert(truth(seen))] if len(images) == 2 else None
                return SimpleNamespace(
                    depth=small,
                    is_metric=metric,
                    extrinsics=world and np.array(world)[:, :3],
                )

        api = SimpleNamespace(DepthAnything3=DepthAnything3)
        monkeypatch.setitem(sys.modules, "depth_anything_3.api", api)
        return given

    return install


def test_da3_counts_metres_by_the_focal_length_in_the_pixels_of_its_map(three):
    asked = source("depth")
    seen = sample(asked)
    three(seen)
    found = predictors.get("da3", asked)
    (answers,) = found.predict([seen])
    true = [qa.truth for qa in seen.qas]
    ratio = np.median([float(a.text) / t for a, t in zip(answers, true, strict=True)])
    assert ratio == pytest.approx(100 / 2 / da3.CANONICAL_PX, rel=0.1)  # half as many pixels
    three(seen, metric=True)
    nested = predictors.get("da3:depth-anything/DA3NESTED-GIANT-LARGE-1.1", asked)
    assert scores(nested, seen)["delta_1"] > 0.9
    with pytest.raises(ValueError, match="DA3-GIANT finds depth without a unit"):
        predictors.get("da3:depth-anything/DA3-GIANT", asked)


@pytest.mark.parametrize("metric", [False, True])
def test_da3_says_poses_and_distances_only_where_it_knows_metres(three, metric):
    asked = source("pose")
    seen = sample(asked)
    three(seen, metric)
    told = scores(predictors.get("da3", asked), seen)
    assert told["auc_5"] == 1
    assert told["parsed"] == (1.0 if metric else 0.75)


def test_views_of_two_sizes_become_one_without_cutting():
    tall, wide = np.ones((8, 4, 3), np.uint8), np.ones((6, 9, 3), np.uint8)
    for found, image in zip(da3.one_size([tall, wide], 7), (tall, wide), strict=True):
        assert found.shape == (8, 9, 3)
        assert np.array_equal(found[: image.shape[0], : image.shape[1]], image)
        assert (found == 7).sum() == found.size - image.size


def test_vggt_is_shown_patches_and_its_cameras_and_tracks_are_read(monkeypatch):
    asked, given = source("pose"), []
    seen = sample(asked)

    class VGGT(Net):
        def __call__(self, images, query_points=None):
            given.append(images)
            if query_points is None:
                return {"pose_enc": torch.zeros(1, 2, 9)}
            shrunk = torch.tensor([518 / 128, 392 / 96])
            uv = (query_points + 0.5) / shrunk
            moved = torch.from_numpy(followed(seen, uv.numpy().astype(float)))
            return {"track": torch.stack([query_points, moved * shrunk - 0.5])[None]}

    def decode(encoding, shape):
        assert tuple(shape) == (392, 518)
        world = np.array([np.eye(4), invert(truth(seen))])
        return torch.from_numpy(world[None, :, :3]), None

    monkeypatch.setitem(sys.modules, "vggt.models.vggt", SimpleNamespace(VGGT=VGGT))
    pose_enc = SimpleNamespace(pose_encoding_to_extri_intri=decode)
    monkeypatch.setitem(sys.modules, "vggt.utils.pose_enc", pose_enc)
    told = scores(predictors.get("vggt", asked), seen)
    assert told["auc_5"] == 1
    assert told["parsed"] == 0.75  # its poses have no unit
    assert given[0].shape == (2, 3, 392, 518)
    assert 0 <= given[0].min() <= given[0].max() <= 1
    matched = source("correspondence")
    seen = sample(matched)
    assert scores(predictors.get("vggt", matched), seen)["pck_10"] > 0.9
    assert vggt.PATCH_PX * 37 == vggt.LONGEST_PX


# DepthLM and SpatialRGPT, which answer in words


def test_the_arrow_ends_left_of_the_pixel_and_leaves_it_as_it_is():
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = depthlm.pointed(image, 30.5, 20.5)
    rows, columns = np.nonzero((drawn == depthlm.RED).all(-1))
    assert (columns.min(), columns.max()) == (25, 29)
    assert sorted(set(rows)) == [18, 19, 20, 21, 22]
    assert len(rows) == depthlm.ARROW_PX + 4
    assert not image.any()
    assert (depthlm.pointed(image, 0.5, 0.5) == depthlm.RED).all(-1).sum() == 0  # no room


def test_depthlm_is_asked_once_for_each_pixel_at_its_own_focal_length(monkeypatch):
    shown = []

    class Inputs(dict):
        def to(self, *where):
            return self

    class Processor(Net):
        def apply_chat_template(self, messages, **how):
            image, text = messages[0]["content"]
            shown.append((np.asarray(image["image"]), text["text"]))
            return Inputs(input_ids=torch.zeros(1, 3, dtype=int))

        def batch_decode(self, tokens, skip_special_tokens):
            assert tokens.shape == (1, 2)  # what was said, and not what was asked
            return ["<think> It is 2.5 metres away. </think><answer> 2.50 </answer>"]

    class Model(Net):
        device, dtype = "cpu", torch.float32

        @classmethod
        def from_pretrained(cls, weights, dtype):
            return super().from_pretrained(weights)

        def generate(self, input_ids, max_new_tokens, do_sample):
            return torch.zeros(1, 5, dtype=int)

    monkeypatch.setattr(transformers, "AutoModelForImageTextToText", Model)
    monkeypatch.setattr(transformers, "AutoProcessor", Processor)
    found = predictors.get("depthlm", source("depth"))
    assert found.source.focal_px == 750
    seen = sample(found.source)
    (answers,) = found.predict([seen])
    task = found.source.bound
    read = {task.read(qa, a.text) for qa, a in zip(seen.qas, answers, strict=True)}
    assert read == {2.5}
    assert len(shown) == len(seen.qas)
    places = experts.pixels(task, seen.views[0], seen.qas)
    for (image, text), (u, v) in zip(shown, places, strict=True):
        assert "red arrow" in text
        if u > 5:
            assert tuple(image[int(v), int(u) - 1]) == depthlm.RED


class Tokens(SimpleNamespace):
    """As much of a tokenizer as is asked of."""

    def batch_decode(self, out, skip_special_tokens):
        return ["Yes, it is. END"]


def test_spatialrgpt_is_shown_a_mask_for_each_box(monkeypatch):
    asked, given = source("objects"), []
    seen = sample(asked)

    class Model(Net):
        config, device = SimpleNamespace(image_aspect_ratio="resize"), torch.device("cpu")

        def generate(self, tokens, **inputs):
            given[-1] |= {"inputs": inputs}
            return tokens

    class Chat:
        roles, sep = ("user", "assistant"), "END"

        def __init__(self):
            self.said = []

        def copy(self):
            return Chat()

        def append_message(self, role, text):
            self.said.append(text)

        def get_prompt(self):
            return self.said[0]

    def process_regions(masks, processor, config):
        given.append({"masks": masks})
        return torch.from_numpy(np.array(masks))

    def tokenized(prompt, tokenizer, return_tensors):
        given[-1] |= {"prompt": prompt}
        return torch.zeros(4, dtype=int)

    tools = SimpleNamespace(
        get_model_name_from_path=lambda path: path.split("/")[-1],
        process_images=lambda images, processor, config: torch.zeros(len(images), 3, 8, 8),
        process_regions=process_regions,
        tokenizer_image_token=tokenized,
    )
    load = SimpleNamespace(load_pretrained_model=lambda path, name: (Tokens(), Model(), None, 99))
    monkeypatch.setitem(sys.modules, "llava.model.builder", load)
    monkeypatch.setitem(sys.modules, "llava.mm_utils", tools)
    chats = SimpleNamespace(conv_templates={"llama_3": Chat()})
    monkeypatch.setitem(sys.modules, "llava.conversation", chats)

    def pipeline(kind, model, device):
        return lambda image: {"predicted_depth": np.random.default_rng(0).random((9, 9))}

    monkeypatch.setattr(transformers, "pipeline", pipeline)
    (answers,) = predictors.get("spatialrgpt", asked).predict([seen])
    assert {a.text for a in answers} == {"Yes, it is."}
    for qa, each in zip(seen.qas, given, strict=True):
        assert each["prompt"].startswith("<image>\n")
        assert each["prompt"].count(spatialrgpt.MARK) == len(each["masks"]) >= len(qa.about)
        assert not re.search(r"[0-9]{3}|1000", each["prompt"])  # no box is left, nor how they count
        assert each["inputs"]["masks"][0].shape == (len(each["masks"]), 95, 127)
        for mask in each["masks"]:
            assert 0 < mask.sum() < mask.size
