"""What several tests share: a small random model, two small images."""

import numpy as np
import pytest

from vlm3 import model

QUESTION = "What is the depth of the surface seen at pixel (812, 1033), in metres along the optical axis?"
SMALL = dict(text={"num_hidden_layers": 4}, vision={"depth": 3})


@pytest.fixture(scope="session")
def vlm():
    return model.new(model.config("tiny", **SMALL), seed=1)


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((64, 96, 3), (96, 32, 3))]


def image_settings() -> dict:
    """What transformers' image processor needs to do what `model.patches` does."""
    return {key: value for key, value in model.PREPROCESSING.items() if not key.endswith(("_type", "_class"))}
