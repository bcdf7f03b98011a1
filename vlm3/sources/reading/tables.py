"""Tables of json that are larger than memory should hold."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from vlm3.sources.reading.files import there

BLOCK = 1 << 24  # bytes read at a time


def rows(
    path: Path, way_out: str, wanted: Callable[[bytes], object] | None = None
) -> Iterator[dict]:
    """The records of a json list of flat ones, a part of the file at a time.

    wanted: given the bytes of a record, whether it is worth parsing, which takes most of the time.
    FileNotFoundError or ValueError, naming the file, for one that is missing, cut short, or holds
    something else.
    """
    rest = b""
    with open(there(path, way_out), "rb") as file:
        while block := file.read(BLOCK):
            *found, rest = (rest + block).split(b"}")
            bodies = (record.partition(b"{")[2] for record in found if not wanted or wanted(record))
            yield from _parsed(b"},{".join(bodies), path, way_out)
    if b"".join(rest.split()) not in (b"]", b"[]"):
        raise ValueError(f"{path}: cut short; {way_out}")


def _parsed(bodies: bytes, path: Path, way_out: str) -> list[dict]:
    if not bodies:
        return []
    try:
        return json.loads(b"[{%b}]" % bodies)
    except ValueError as error:
        raise ValueError(f"{path}: not whole as json ({error}); {way_out}") from None
