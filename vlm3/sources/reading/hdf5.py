"""Files of HDF5."""

from pathlib import Path

import numpy as np

from vlm3.sources.reading import files
from vlm3.sources.reading.extras import need


def array(path: Path, name: str, way_out: str) -> np.ndarray:
    """One array of a file, whole; FileNotFoundError or ValueError, naming both, that says what to
    do."""
    h5py = need("h5py")
    try:
        with h5py.File(files.there(path, way_out)) as file:
            return file[name][:]
    except FileNotFoundError:
        raise
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: no {name} can be read in it ({error}); {way_out}") from None
