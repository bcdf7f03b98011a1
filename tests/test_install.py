"""Installing vlm3 is gentle to what is there, and the pins are complete."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(
    re.findall(
        r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
)
EXTRAS = PROJECT["optional-dependencies"]


def test_importing_vlm3_loads_neither_torch_nor_matplotlib():
    heavy = {"torch", "transformers", "matplotlib", "cv2"}
    code = f"import sys, vlm3; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "there"),
    [("numpy", "2.0.2"), ("torch", "2.6.0+cu124"), ("torch", "2.9.0+cu126"), ("pillow", "11.3.0")],
)
def test_an_ordinary_version_on_colab_satisfies_the_base_and_so_is_left_alone(package, there):
    wanted = next(r for r in map(Requirement, PROJECT["dependencies"]) if r.name == package)
    assert wanted.specifier.contains(there)


def test_the_base_sets_no_upper_bounds():
    assert not [r for r in PROJECT["dependencies"] if re.search(r"[<~]|==", r)]


@pytest.mark.parametrize("requirement", PROJECT["dependencies"] + EXTRAS["book"] + EXTRAS["test"])
def test_the_lock_pins_what_the_project_asks_for(requirement):
    wanted = Requirement(requirement)
    pins = {name.lower().replace("_", "-"): version for name, version in LOCK.items()}
    assert wanted.specifier.contains(pins[wanted.name.lower()])


def test_the_lock_holds_pins_and_comments_only():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    odd = [
        line
        for line in lines
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*|\s*#.*|", line)
    ]
    assert not odd


def test_conda_uses_the_same_pins():
    assert "-r requirements.lock" in (ROOT / "environment.yml").read_text()
