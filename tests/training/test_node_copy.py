"""The ranks of a node share one download."""

import os
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp
from pyarrow import fs

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.node_copy import node_copy

NODES = ("0", "0", "1")
"""The node of each rank."""


class Remote(Folder):
    """A folder that is not on a local disk, and notes its downloads."""

    @contextmanager
    def local(self, name=""):
        (Path(os.environ["NOTES"]) / f"download by {dist.get_rank()}").touch()
        with super().local(name) as path:
            yield path


def _rank(rank: int, notes: str) -> None:
    os.environ |= {
        "NOTES": notes,
        "NODE_RANK": NODES[rank],
        "LOCAL_RANK": str(NODES[:rank].count(NODES[rank])),
    }
    dist.init_process_group("gloo", init_method=f"file://{notes}/rendezvous", rank=rank, world_size=3)
    storage = fs.SubTreeFileSystem(f"{notes}/bucket", fs.LocalFileSystem())
    with node_copy(Remote(storage, "cwt", "s3://bucket/cwt"), "student") as path:
        assert (path / "weights").read_text() == "all of them"
        (Path(notes) / f"read by {rank}").write_text(str(path))
    dist.destroy_process_group()


def test_the_first_rank_of_each_node_downloads_for_the_others(tmp_path: Path):
    weights = tmp_path / "bucket" / "cwt" / "student" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("all of them")
    mp.start_processes(_rank, (str(tmp_path),), nprocs=3, start_method="spawn")
    assert sorted(file.name for file in tmp_path.glob("download*")) == ["download by 0", "download by 2"]
    read = [(tmp_path / f"read by {rank}").read_text() for rank in range(3)]
    assert read[0] == read[1] != read[2]
    assert not any(Path(copy).exists() for copy in read)
