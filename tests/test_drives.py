"""What readers of drives share."""

import numpy as np
import pytest

from tests.drives import Pose, looking
from vlm3.geometry import Camera
from vlm3.sources.reading import drives, quaternions, solids

CAMERA = Camera(50.0, 52.0, 31.5, 23.75, 64, 48)


def test_quaternions_become_the_rotations_that_they_stand_for():
    made = [Pose((0.3, -0.2, 1.1), (1, 2, 3)), Pose((0, 0, 3.1), (4, 5, 6)), looking(110)]
    found = quaternions.poses([p.quaternion for p in made], [p.move for p in made])
    assert found == pytest.approx(np.array([p.matrix for p in made]))
    assert quaternions.poses(
        np.multiply(made[0].quaternion, -1.001), made[0].move
    ) == pytest.approx(made[0].matrix)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (1, 1, 0, 0), (float("nan"), 0, 0, 1)])
def test_what_is_no_rotation_is_refused(quaternion):
    with pytest.raises(ValueError, match="not a rotation: quaternion"):
        quaternions.poses([(1, 0, 0, 0), quaternion], np.zeros((2, 3)))


def test_boxes_are_those_that_each_alone_would_be():
    rng = np.random.default_rng(0)
    turns, places = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) * [4, 1, 8]
    cam_from_box = np.array([Pose(*pose).matrix for pose in zip(turns, places, strict=True)])
    sizes = rng.uniform(1, 12, (200, 3))
    alone = [
        solids.on_image(*box, 2, "lorry", CAMERA) for box in zip(cam_from_box, sizes, strict=True)
    ]
    wanted = tuple(box for box in alone if box is not None)
    assert len(wanted) > 10
    assert drives.boxes(cam_from_box, sizes, ["lorry"] * 200, CAMERA) == wanted
    assert drives.boxes(cam_from_box[:0], sizes[:0], [], CAMERA) == ()


def test_a_long_box_across_the_road_is_kept():
    across = np.eye(4)[None]
    across[0, 2, 3] = 5
    (pole,) = drives.boxes(across, np.array([(12, 0.3, 0.3)]), ["pole"], CAMERA)
    assert (pole.xmin, pole.xmax) == (0, 64)
