"""Splits keep places whole, and what is on both sides all the same is found."""

import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from tests import worlds
from tests.readers import REAL, real
from vlm3.geometry import Camera
from vlm3.sources import photos
from vlm3.sources.curation import hashes as hashing
from vlm3.sources.curation.hashes import BITS, hashes, near
from vlm3.sources.curation.splits import (
    Overlap,
    load,
    overlap,
    perceptual_hash,
    place,
    save,
    split,
)
from vlm3.sources.reading import Frame, Reader
from vlm3.sources.rgbd import Rgbd
from vlm3.sources.rooms import Rooms
from vlm3.views import View

GREY = np.full((96, 128, 3), 127, np.uint8)


def differ(a: int, b: int) -> int:
    return (a ^ b).bit_count()


@dataclass(frozen=True)
class _Frame(Frame):
    place: str
    image: np.ndarray


class Made(Reader):
    """Frames given by scene: how many, or their photographs."""

    layout = "nothing"

    def __init__(self, scenes: dict, places: dict | None = None):
        self.given, self.places = scenes, places or {}
        super().__init__(".")

    def _frames(self):
        for scene, of in self.given.items():
            for k, image in enumerate([GREY] * of if isinstance(of, int) else of):
                yield _Frame(scene, f"{scene}/{k}", self.places.get(scene, scene), image)

    def _view(self, frame):
        return View(frame.image, Camera(9, 9, 1, 1, *frame.image.shape[1::-1]))


class Other(Made):
    """Of another kind."""


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Of different rooms, and a photograph."""
    rooms = [view.image for (view,) in Rooms("small", "train", views=1).batch(range(40))]
    return [photos.motorcycle().view1.image, *rooms]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def half(image: np.ndarray) -> np.ndarray:
    size = image.shape[1] // 2, image.shape[0] // 2
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


# hashes


def test_each_bit_says_whether_a_wave_is_stronger_than_most(rng):
    signs = rng.permutation([1] * 31 + [-1] * 32)  # the mean, always strong, makes 32 of 64
    x = np.cos(np.pi * (2 * np.arange(32) + 1)[:, None] * np.arange(8) / 64)
    waves = np.insert(signs, 0, 0).reshape(8, 8) * 1.8
    grey = 128 + np.einsum("yv,xu,vu->yx", x, x, waves)
    image = np.repeat(np.kron(np.round(grey), np.ones((5, 7)))[..., None], 3, -1).astype(np.uint8)
    found = f"{perceptual_hash(image):064b}"
    assert found[0] == "1"
    assert [1 if bit == "1" else -1 for bit in found[1:]] == signs.tolist()


def test_copies_are_near_and_other_pictures_are_far(pictures):
    known = [perceptual_hash(image) for image in pictures]
    assert None not in known
    for image, code in zip(pictures, known, strict=True):
        bright = np.clip(image * 1.15 + 5, 0, 255).astype(np.uint8)
        cut = image[1:-1, 1:-1]
        for copy in (jpeg(image, 40), half(image), bright, cut, image // 2, image.copy()):
            assert differ(code, perceptual_hash(copy)) <= BITS
    apart = [differ(a, b) for k, a in enumerate(known) for b in known[:k]]
    assert min(apart) > BITS + 4
    assert 28 < np.mean(apart) < 34  # of 64, as by chance


def test_what_has_no_structure_has_no_hash(rng):
    y, x = np.mgrid[:240, :320] / 320
    noise = rng.normal(0, 4, (240, 320))
    plain = {
        "black": 0 * x,
        "grey": 0 * x + 128,
        "noise": 128 + 2 * noise,
        "ramp": 50 + 100 * x + noise,
        "lens": 200 - 150 * ((x - 0.5) ** 2 + (y - 0.4) ** 2) + noise,
    }
    for grey in plain.values():
        image = np.repeat(np.clip(grey, 0, 255)[..., None], 3, -1).astype(np.uint8)
        assert perceptual_hash(image) is None
    image[100:140, 100:180] = rng.integers(0, 256, 3)  # a switch on the wall
    assert perceptual_hash(image) is not None


def test_the_nearest_are_those_that_counting_bits_finds(monkeypatch, rng):
    monkeypatch.setattr(hashing, "_BLOCK", (7, 11))
    a, b = ([int(n) for n in rng.integers(0, 2**64, k, np.uint64)] for k in (50, 31))
    b[5], b[20] = a[17], a[3] ^ (1 << 63) ^ 1
    which, apart = near(a, b)
    assert apart.tolist() == [min(differ(x, y) for x in a) for y in b]
    assert which.tolist() == [min(range(50), key=lambda k: differ(a[k], y)) for y in b]
    assert (which[5], apart[5], which[20], apart[20]) == (17, 0, 3, 2)
    assert near([], b)[1].tolist() == [65] * 31
    assert near(a, [])[0].shape == (0,)


def test_one_twin_is_found_among_ten_thousand_times_ten_thousand(rng):
    a, b = (rng.integers(0, 2**64, 10_000, np.uint64).tolist() for _ in range(2))
    b[9_999] = a[0]
    which, apart = near(a, b)
    assert which[9_999] == apart[9_999] == 0
    assert (apart[:-1] > BITS).all()


def test_several_processes_find_the_same(tmp_path, pictures):
    for k, image in enumerate([*pictures, *pictures[::-1]]):
        worlds.save(image, tmp_path / f"frame-{k:06}.color.png")
    (tmp_path / "camera-intrinsics.txt").write_text("90 0 40 0 90 30 0 0 1")
    reader = Rgbd(tmp_path)
    assert len(reader) > hashing.PART
    alone = hashes(reader, processes=1)
    assert alone == [perceptual_hash(view.image) for view in reader]
    assert hashes(reader, processes=2) == alone


# splits


SIZES = {f"room{k:02}": 10 + 7 * (k % 5) for k in range(40)}


def test_each_scene_is_whole_on_one_side_and_the_share_is_met():
    reader = Made(SIZES)
    for share in (0.1, 0.25, 0.5, 0.9):
        sides = split({"homes": reader}, share, seed=3)
        train, test = sides["train"]["homes"], sides["test"]["homes"]
        assert sorted(train + test) == sorted(SIZES)
        assert train == sorted(train)  # as readers have them
        part = sum(SIZES[scene] for scene in test) / len(reader)
        assert part == pytest.approx(share, abs=0.5 * 38 / len(reader))


def test_a_seed_gives_one_split_whatever_else_is_split():
    alone = split({"homes": Made(SIZES)}, 0.2)
    turned = split({"homes": Made(dict(reversed(SIZES.items())))}, 0.2)
    assert set(turned["test"]["homes"]) == set(alone["test"]["homes"])
    both = split({"more": Other(SIZES), "homes": Made(SIZES)}, 0.2)
    assert all(both[side]["homes"] == alone[side]["homes"] for side in alone)
    assert both["test"]["more"] != both["test"]["homes"]
    assert split({"homes": Made(SIZES)}, 0.2, seed=1) != alone


def test_sources_of_the_same_data_are_split_alike():
    some = {name: SIZES[name] for name in list(SIZES)[::2]}
    sides = split({"depth": Made(SIZES), "pose": Made(some)}, 0.3)
    assert set(sides["test"]["pose"]) == set(sides["test"]["depth"]) & set(some)
    assert not set(sides["test"]["pose"]) & set(sides["train"]["depth"])


def test_scenes_of_one_place_stay_together():
    places = {name: f"house{k // 4}" for k, name in enumerate(SIZES)}
    sides = split({"homes": Made(SIZES, places)}, 0.3)
    houses = [{places[scene] for scene in sides[side]["homes"]} for side in ("train", "test")]
    assert not houses[0] & houses[1]
    assert len(houses[0] | houses[1]) == 10
    assert place(Made({"a": 1}).frames[0]) == place(Frame("a", "a/0")) == "a"


def test_each_side_has_a_place_where_there_are_two():
    for share in (0.01, 0.99):
        sides = split({"homes": Made({"small": 1, "large": 100})}, share)
        assert len(sides["train"]["homes"]) == len(sides["test"]["homes"]) == 1
    sides = split({"one": Made({"only": 5}), "homes": Other({"a": 1, "b": 1})}, 0.5)
    assert sides["train"]["one"] == ["only"]
    assert list(sides["test"]) == ["homes"]
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="share must lie between 0 and 1"):
            split({"homes": Made(SIZES)}, share)


def test_a_split_is_a_file_that_readers_take_scenes_from(tmp_path):
    for scene in ("hall", "room [1]", "room 1", "what*"):
        worlds.save(GREY, tmp_path / "data" / scene / "frame-000000.color.png")
    (tmp_path / "data" / "camera-intrinsics.txt").write_text("90 0 64 0 90 48 0 0 1")
    reader = Rgbd(tmp_path / "data")
    sides = split({"homes": reader}, 0.5, seed=2)
    save(tmp_path / "split.json", sides, share=0.5, seed=2)
    assert load(tmp_path / "split.json") == sides
    written = json.loads((tmp_path / "split.json").read_text())
    assert written["share"] == 0.5
    assert written["train"]["homes"] == sides["train"]["homes"]
    parts = [Rgbd(reader.root, scenes=sides[side]["homes"]) for side in ("train", "test")]
    assert len(parts[0]) == len(parts[1]) == 2
    assert sorted(parts[0].scenes + parts[1].scenes) == list(reader.scenes)


def test_a_file_that_is_no_split_is_named(tmp_path):
    path = tmp_path / "split.json"
    with pytest.raises(
        FileNotFoundError, match="split.json: no such split; make it with `vlm3 data"
    ):
        load(path)
    for text in (
        "{",
        "[]",
        '{"train": {}}',
        '{"train": {"a": 3}, "test": {}}',
        '{"train": [], "test": 1}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="split.json: not a split .*; make it"):
            load(path)
    both = {"train": {"a": ["x", "y"], "b": ["z"]}, "test": {"a": ["y"], "c": ["z"]}}
    path.write_text(json.dumps(both))
    with pytest.raises(ValueError, match="split.json: on both sides: a/y; make it"):
        load(path)


# what is on both sides


def test_what_both_sides_show_is_found(pictures):
    a, b, c, d, e = pictures[:5]
    train = {"homes": Made({"hall": [a, b], "attic": [c]}), "plain": Other({"wall": 2})}
    test = {
        "homes": Made({"attic": [d], "cellar": [jpeg(b, 30), e]}),
        "others": Other({"hall": [half(a), GREY]}),
    }
    found = overlap(train, test, processes=1, progress=False)
    assert found.places == (("homes", "homes", "attic"),)
    assert [twin[:2] for twin in found.twins] == [
        (("homes", "hall/1"), ("homes", "cellar/0")),
        (("homes", "hall/0"), ("others", "hall/0")),
    ]
    assert all(twin.bits <= BITS for twin in found.twins)
    assert found.photos == (5, 5)
    assert found.plain == (2, 1)  # grey is compared with nothing
    assert not found.clean
    assert not overlap(train, {"o": Other({"x": [e]})}, bits=64, processes=1, progress=False).clean


def test_sides_apart_are_clean(pictures):
    train, test = {"a": Made({"x": pictures[:9]})}, {"b": Made({"y": pictures[9:]})}
    found = overlap(train, test, processes=1, progress=False)
    assert found == Overlap((), (), (9, len(pictures) - 9), (0, 0))
    assert found.clean


def test_places_count_whatever_the_scenes_are_called(pictures):
    train = {"a": Made({"scene0000_00": pictures[:1]}, {"scene0000_00": "scene0000"})}
    test = {"b": Made({"scene0000_01": pictures[1:2]}, {"scene0000_01": "scene0000"})}
    found = overlap(train, test, processes=1, progress=False)
    assert found.places == (("a", "b", "scene0000"),)
    assert found.twins == ()


def test_parts_of_a_real_walk_that_are_far_apart_share_no_photograph():
    root = real(REAL / "hololens")
    parts = {"train": Rgbd(root, frames=(0, 280))}, {"test": Rgbd(root, frames=(293, 373))}
    found = overlap(*parts, bits=2 * BITS, processes=1, progress=False)
    assert found.twins == ()  # the nearest differ by 14
    assert found.places == (("train", "test", "hololens"),)
    assert found.photos == (280, 80)
    assert found.plain == (0, 0)


def test_neighbours_in_a_real_kitchen_are_found():
    reader = Rgbd(real(REAL / "kitchen"))
    codes = hashes(reader, processes=1)
    which, apart = near(codes[::2], codes[1::2])
    found = apart <= BITS
    assert found.mean() > 0.6  # 0.70, four frames of a film apart
    beside = np.abs(2 * which - (2 * np.arange(len(which)) + 1))
    assert (beside[found] <= 3).mean() > 0.95
    # cut in two, the film has one pair across the cut
    which, apart = near(codes[:125], codes[125:])
    assert [(int(which[k]), int(k), int(apart[k])) for k in np.flatnonzero(apart <= BITS)] == [
        (124, 0, 6)
    ]


def test_real_data_sets_show_nothing_twice():
    names = "kitchen", "desk", "board"
    train, test = (
        {name: Rgbd(real(REAL / name), frames=(0, 20)) for name in some}
        for some in (names, ("tables", "hololens"))
    )
    assert overlap(train, test, processes=1, progress=False).clean


def test_a_reader_takes_one_side_of_a_split_by_its_file(tmp_path):
    for folder in ("attic", "cellar", "hall"):
        (tmp_path / folder).mkdir()
        Image.fromarray(GREY).save(tmp_path / folder / "frame-000000.color.png")
        (tmp_path / folder / "camera-intrinsics.txt").write_text("100 0 64 0 100 48 0 0 1")
    path = tmp_path / "split.json"
    sides = split({"rgbd": Rgbd(tmp_path)}, 0.3)
    save(path, sides)
    train, test = (Rgbd(tmp_path, scenes=f"{path}:{side}").scenes for side in ("train", "test"))
    assert sorted(train + test) == ["attic", "cellar", "hall"]
    assert (list(train), list(test)) == (sides["train"]["rgbd"], sides["test"]["rgbd"])
    assert Rgbd(tmp_path, scenes=[f"{path}:test"]).scenes == test  # as the command gives it
    with pytest.raises(ValueError, match="has no such side, or nothing of rgbd on it"):
        Rgbd(tmp_path, scenes=f"{path}:validation")
    with pytest.raises(FileNotFoundError, match="make it with `vlm3 data split`"):
        Rgbd(tmp_path, scenes=f"{tmp_path}/other.json:train")
