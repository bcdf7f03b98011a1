"""The tables of nuScenes, read once: what each sensor took, and what is annotated.

Those of all 850 scenes have 3 GB, so the large ones are read a part at a time.
"""

import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.reading import quaternions
from vlm3.sources.reading.files import json_of
from vlm3.sources.reading.tables import rows

AGAIN = "download the data set's tables (metadata) again"
HIDDEN = "1"  # the visibility of objects of which less than 40 % is to be seen
CALLED = {  # the second part of a category says what a thing is, but for these
    "construction": "construction vehicle",
    "emergency": "emergency vehicle",
    "trafficcone": "traffic cone",
}
_KEY_FRAME = re.compile(rb'"is_key_frame"\s*:\s*true').search
_TOKEN = re.compile(rb'"token"\s*:\s*"([^"]*)"').search


class Shot(NamedTuple):
    """What one sensor took at one time: a file below root, and from where."""

    path: str
    world_from_ego: np.ndarray
    ego_from_sensor: np.ndarray
    camera: Camera | None


def shots(tables: Path, channels: Sequence[str]) -> dict[str, dict[str, Shot]]:
    """By the sample's token and the channel: key frames of these channels."""
    rigs = _rigs(tables, channels)
    taken = []
    for row in rows(tables / "sample_data.json", AGAIN, _KEY_FRAME):
        if (rig := row["calibrated_sensor_token"]) in rigs:
            size = row["width"], row["height"]
            taken.append((row["sample_token"], row["ego_pose_token"], row["filename"], rig, size))
    world_from_ego = _world_from_ego(tables / "ego_pose.json", {ego for _, ego, *_ in taken})
    found: dict[str, dict[str, Shot]] = {}
    cameras: dict[tuple, Camera | None] = {}
    for sample, ego, path, rig, size in taken:
        channel, pose, matrix = rigs[rig]
        if (rig, size) not in cameras:
            cameras[rig, size] = Camera.from_opencv(matrix, *size) if matrix else None
        shot = Shot(path, world_from_ego[ego], pose, cameras[rig, size])
        found.setdefault(sample, {})[channel] = shot
    return found


def _rigs(tables: Path, channels: Sequence[str]) -> dict[str, tuple[str, np.ndarray, list]]:
    """Sensors as calibrated, by token: channel, ego_from_sensor, and a 3x3 matrix of cameras."""
    sensors = {r["token"]: r["channel"] for r in json_of(tables / "sensor.json", AGAIN)}
    if unknown := sorted(set(channels) - set(sensors.values())):
        there = ", ".join(sorted(sensors.values()))
        raise ValueError(f"{tables}: no sensor {', '.join(unknown)}; there are {there}")
    return {
        row["token"]: (
            sensors[row["sensor_token"]],
            quaternions.poses(row["rotation"], row["translation"]),
            row["camera_intrinsic"],
        )
        for row in json_of(tables / "calibrated_sensor.json", AGAIN)
        if sensors[row["sensor_token"]] in channels
    }


def _world_from_ego(path: Path, tokens: set[str]) -> dict[str, np.ndarray]:
    """4x4 by token, of these tokens."""
    wanted, numbers, order = {token.encode() for token in tokens}, array("d"), []
    for row in rows(path, AGAIN, lambda text: (token := _TOKEN(text)) and token[1] in wanted):
        numbers.extend((*row["rotation"], *row["translation"]))
        order.append(row["token"])
    table = np.array(numbers).reshape(-1, 7)
    poses = quaternions.poses(table[:, :4], table[:, 4:])
    # copies, since a part of an array keeps all of it in memory
    return {token: pose.copy() for token, pose in zip(order, poses, strict=True)}


def boxes(tables: Path) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """By the sample's token: (N, 10) float32, which is a tenth of a millimetre, and N names."""
    names = {r["token"]: _called(r["name"]) for r in json_of(tables / "category.json", AGAIN)}
    kinds = {
        row["token"]: names[row["category_token"]]
        for row in json_of(tables / "instance.json", AGAIN)
    }
    found: dict[str, tuple[array, list[str]]] = {}
    for row in rows(tables / "sample_annotation.json", AGAIN):
        if row["visibility_token"] != HIDDEN and row["num_lidar_pts"]:
            numbers, called = found.setdefault(row["sample_token"], (array("f"), []))
            numbers.extend((*row["translation"], *row["size"], *row["rotation"]))
            called.append(kinds[row["instance_token"]])
    return {
        token: (np.array(numbers, np.float32).reshape(-1, 10), tuple(called))
        for token, (numbers, called) in found.items()
    }


def _called(category: str) -> str:
    """What people call it: "human.pedestrian.adult" is a pedestrian, "animal" an animal."""
    part = (category.split(".") * 2)[1]
    return CALLED.get(part, part.replace("_", " "))
