"""Rooms papered with photographs: what is true stays, and all views of a scene show one paper."""

import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.walls import write_frames
from vlm3.sources.rooms import Rooms
from vlm3.tasks.correspondence import covisible

sys.path.insert(0, str(ROOT / "book" / "record"))
from papered import Papered

sys.path.pop(0)
SCENES = range(6)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[dict]:
    return [{"root": str(write_frames(tmp_path_factory.mktemp("papers") / "frames", 5))}]


@pytest.fixture(scope="module")
def papered(photographs) -> list:
    return Papered(photographs, share=1.0).batch(SCENES)


def test_only_colours_are_others_than_those_of_the_room(papered):
    for views, plain in zip(papered, Rooms("homes", grade="near").batch(SCENES), strict=True):
        for view, known in zip(views, plain, strict=True):
            assert np.array_equal(view.depth_m, known.depth_m)
            assert np.array_equal(view.world_from_cam, known.world_from_cam)
            assert view.boxes == known.boxes
            assert np.abs(view.image.astype(int) - known.image).mean() > 10


def test_both_views_show_the_same_paper_at_the_same_place(papered):
    for first, second in papered:
        columns, rows = np.meshgrid(np.arange(4, 90, 6), np.arange(4, 90, 6))
        uv = np.stack([columns, rows], -1).reshape(-1, 2) + 0.5
        there, seen = covisible(first, second, uv)
        a, b = uv[seen].astype(int), there[seen].astype(int)
        gap = np.abs(first.image[a[:, 1], a[:, 0]].astype(int) - second.image[b[:, 1], b[:, 0]])
        other = np.abs(first.image[a[:, 1], a[:, 0]].astype(int) - second.image[a[:, 1], a[:, 0]])
        assert gap.mean() < 0.8 * other.mean()


def test_a_scene_alone_is_that_of_a_batch_and_not_that_of_plain_rooms(photographs, papered):
    alone = Papered(photographs, share=1.0)
    assert np.array_equal(alone[3][0].image, papered[3][0].image)
    assert alone != Rooms("homes", grade="near")
    assert not np.array_equal(Rooms("homes", grade="near")[3][0].image, alone[3][0].image)


def test_some_scenes_stay_plain(photographs):
    plain = Rooms("homes", grade="near").batch(range(20))
    some = Papered(photographs, share=0.5).batch(range(20))
    same = [np.array_equal(a[0].image, b[0].image) for a, b in zip(some, plain, strict=True)]
    assert 3 < sum(same) < 17
