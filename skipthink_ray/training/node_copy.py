"""One local copy of a remote folder for all ranks of a node."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.engine import world


@contextmanager
def node_copy(folder: Folder, name: str) -> Iterator[Path]:
    """Like `folder.local(name)`, but the first rank of each node downloads, and the others use its copy.

    All ranks must call it. If one fails, Ray Train ends the others. Several processes need torch.distributed,
    and LOCAL_RANK and NODE_RANK in the environment, which Ray Train sets.
    """
    if folder.is_local or world() == 1:
        with folder.local(name) as path:
            yield path
        return
    node, is_first = os.environ["NODE_RANK"], os.environ["LOCAL_RANK"] == "0"
    with ExitStack() as stack:
        mine = (node, stack.enter_context(folder.local(name))) if is_first else None
        copies: list[Any] = [None] * world()
        dist.all_gather_object(copies, mine)
        yield dict(copy for copy in copies if copy)[node]
        dist.barrier()  # a copy must last until all ranks of its node have read it
