"""The runs on photographs: what each of them learns from."""

import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.readers import REAL, real
from vlm3 import mixture
from vlm3.sources.curation.indexing import index
from vlm3.sources.rgbd import Rgbd

sys.path.insert(0, str(ROOT / "book" / "record"))
import board
import offices  # noqa: F401, which a mixture names
import papered  # noqa: F401
import photos
import pretrain

sys.path.pop(0)


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """The environment in which the files of these mixtures find their data."""
    pairs = tmp_path_factory.mktemp("pairs")
    for folder, name in (("hololens", "walk"), ("kitchen", "kitchen")):
        index(Rgbd(real(REAL / folder)), pairs / name, neighbours=4, processes=1, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLM3_REAL", str(REAL))
        patch.setenv("VLM3_PAIRS", str(pairs))
        yield


@pytest.mark.parametrize("run", photos.RUNS)
def test_a_batch_of_a_run_has_each_of_sixteen_sources_once_and_half_ask_short_questions(
    around, run
):
    samples = photos.mixed(run)
    drawn = [samples.draw(k).source for k in range(photos.SLOTS)]
    assert sorted(drawn) == sorted(samples.names)
    short = [samples.sources[name].task in ("depth", "correspondence") for name in drawn]
    assert sum(short) == photos.SLOTS // 2
    kinds = {name.split("_")[0] == "rooms" for name in drawn}
    assert kinds == {"rooms": {True}}.get(run, {True, False} if "both" in run else {False})


def test_few_photographs_are_the_first_quarter_of_each_place(around):
    few, all_ = photos.mixed("photos-few").sources, photos.mixed("photos").sources
    for name in ("tables_depth", "tables_objects"):
        frames = [frame.name for frame in few[name].items.frames]
        assert frames == [f.name for f in all_[name].items.frames[: len(all_[name].items) // 4]]
    names = {frame.name for frame in few["walk_depth"].items.frames}
    assert names == {frame.name for frame in all_["walk_depth"].items.reader.frames[: 232 // 4]}
    assert len(few["walk_pose"].items) < len(all_["walk_pose"].items) / 2


def test_what_the_packaged_model_is_to_learn_from_fills_a_batch_of_sixteen(around):
    sources = mixture.load(ROOT / "book" / "record" / "papered.toml").sources
    assert len(sources) == photos.SLOTS
    short = [source.task in ("depth", "correspondence") for source in sources.values()]
    assert sum(short) == photos.SLOTS // 2


def test_pairs_for_eyes_are_of_one_size_and_teach_only_what_is_known(around):
    pairs = mixture.load(ROOT / "book" / "record" / "eyes.toml")
    labels = pretrain.Made(0, len(pairs.names), mixture=pairs)[0]
    assert labels.images.shape[2:] == (96, 128, 3)
    known = labels.log_depth.isfinite().float().mean((1, 2, 3))
    assert known.min() < 0.7 < 0.95 < known.max()  # of photographs, of rooms
    assert (labels.seen <= labels.told).all()


def test_the_board_is_as_deep_as_its_plane_where_a_marker_is_seen():
    pairs = board.Board(real(REAL / "board"), most=3)
    for view in (view for pair in (pairs[k] for k in range(3)) for view in pair):
        rows, columns = np.nonzero(np.isfinite(view.depth_m))
        uv, z_m = np.stack([columns, rows], -1) + 0.5, view.depth_m[rows, columns]
        rays = np.linalg.inv(view.camera.K) @ np.column_stack([uv, np.ones(len(uv))]).T
        world = view.world_from_cam[:3, :3] @ (rays * z_m) + view.world_from_cam[:3, 3:]
        assert len(z_m) > 500
        assert np.abs(world[2]).max() < 1e-4
