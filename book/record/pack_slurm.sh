#!/bin/bash
# Pack a data set as an array of Slurm jobs: of N tasks, task i packs the shards k with k % N == i.
#
#   sbatch --array=0-99 book/record/pack_slurm.sh 100 READER ROOT OUT        the shards
#   sbatch --dependency=afterok:JOB book/record/pack_slurm.sh 100 READER ROOT OUT   the manifest
#
# N is told, not taken from Slurm, so that tasks that failed can be sent again by themselves
# (--array=3,17); they go on where they were. READER: as in vlm3.sources.reading.named.
#SBATCH --job-name=pack
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
set -eu
exec "${PYTHON:-python}" - "$@" <<'END'
import os
import sys

from vlm3.sources.curation.packing import Packing, finish, pack
from vlm3.sources.reading import named

parts, reader, root, out = sys.argv[1:]
how = Packing(
    focal_px=float(os.environ.get("FOCAL_PX", 1000)),
    per_shard=int(os.environ.get("PER_SHARD", 1000)),
    origin={"from": reader, "arguments": {"root": root}},
)
if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
    pack(named(reader)(root), out, how, part=(int(task), int(parts)))
    print(f"task {task} of {parts} is done")
else:
    print(f"{finish(out)['packed']} items in {out}/manifest.json")
END
