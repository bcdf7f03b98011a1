"""Pack a data set with Ray Data, on all machines of a cluster: each shard is one step of a map.

python book/record/pack_ray.py READER ROOT OUT [--focal-px 1000] [--per-shard 1000] [--workers 2]

READER: as in `vlm3.sources.reading.named`; ROOT: its folder, which all machines see, or a
dictionary of its arguments in json; OUT: a folder that all machines see, or s3://...
"""

import argparse
import json

from vlm3.sources.curation.packing import Packing, begin, finish, pack_shard, shards_of
from vlm3.sources.reading import Reader, named


class Pack:
    """What a worker holds: the list of frames is read once."""

    def __init__(self, reader: str, root: str, out: str, how: Packing):
        self.items, self.out, self.how = read(reader, root), out, how

    def __call__(self, row: dict) -> dict:
        entry = pack_shard(self.items, row["id"], self.out, self.how)
        return {"file": entry["file"], "items": entry["items"]}


def arguments(root: str) -> dict:
    return json.loads(root) if root.startswith("{") else {"root": root}


def read(reader: str, root: str) -> Reader:
    return named(reader)(**arguments(root))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("reader", "root", "out"):
        asked.add_argument(name)
    asked.add_argument("--focal-px", type=float, default=1000.0)
    asked.add_argument("--per-shard", type=int, default=1000)
    asked.add_argument("--workers", type=int, default=2)
    given = asked.parse_args()
    import ray  # here, so that --help needs no cluster

    origin = {"from": given.reader, "arguments": arguments(given.root)}
    how = Packing(given.focal_px, per_shard=given.per_shard, origin=origin)
    items = read(given.reader, given.root)
    begin(items, given.out, how)
    count = shards_of(len(items), how.per_shard)
    held = (given.reader, given.root, given.out, how)
    shards = ray.data.range(count, override_num_blocks=count)
    packed = shards.map(Pack, fn_constructor_args=held, concurrency=given.workers).take_all()
    print(f"{sum(row['items'] for row in packed)} items in {len(packed)} shards")
    print(f"{finish(given.out)['packed']} items in {given.out}/manifest.json")


if __name__ == "__main__":
    main()
