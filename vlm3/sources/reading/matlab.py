"""Files of MATLAB before 7.3; those of 7.3 are HDF5."""

from pathlib import Path

import numpy as np

from vlm3.sources.reading import files
from vlm3.sources.reading.extras import need


def variable(path: Path, name: str, way_out: str) -> np.ndarray:
    """One variable of a file; FileNotFoundError or ValueError, naming both, that says what to do.

    All arrays have two dimensions or more, and a struct is an array of one, with named fields.
    """
    files.there(path, way_out)
    loadmat = need("scipy.io").loadmat
    try:
        return loadmat(path, variable_names=[name])[name]
    except Exception as error:  # on broken files SciPy raises nearly anything
        raise ValueError(f"{path}: no {name} can be read in it ({error!r}); {way_out}") from None
