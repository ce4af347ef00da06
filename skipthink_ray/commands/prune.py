"""`skipthink prune`: delete artifacts that no run refers to. Without `--delete` it only lists them."""

from dataclasses import dataclass

from pyarrow import fs
from rich.console import Console

from skipthink_ray.runtime.artifacts import DONE, Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.lock import is_locked
from skipthink_ray.runtime.store import ARTIFACTS, artifact_of, runs_of

GIB = 2**30


@dataclass(frozen=True)
class Unused:
    """An artifact that no run refers to."""

    stage: str
    digest: str
    size: int
    """Bytes of all its files."""
    finished: bool


def prune(storage_path: str, console: Console, delete: bool) -> int:
    """List, and with `delete` remove, the artifacts that neither a run nor an earlier view of one refers to.

    An artifact that a live process writes stays. Returns the exit code.
    """
    storage = Folder.open(storage_path)
    unused = find_unused(storage)
    for one in unused:
        state = "" if one.finished else "  unfinished"
        say(console, f"{one.stage}/{one.digest}  {one.size / GIB:.3f} GiB{state}")
        if delete:
            storage.child(f"{ARTIFACTS}/{one.stage}").delete(one.digest)
    total = sum(one.size for one in unused) / GIB
    if not unused:
        text = f"Every artifact in {storage.uri} belongs to a run."
    elif delete:
        text = f"Deleted {len(unused)} artifacts, {total:.3f} GiB."
    else:
        text = f"{len(unused)} artifacts, {total:.3f} GiB. Nothing was deleted; add --delete to delete them."
    say(console, text)
    return 0


def find_unused(storage: Folder) -> list[Unused]:
    """The artifacts that no run refers to and no live process writes, by stage and digest."""
    used = {
        (stage, digest)
        for view in runs_of(storage).values()
        for one in (view, *view["earlier"])
        for stage, digest in one["artifacts"].items()
    }
    artifacts = storage.child(ARTIFACTS)
    unused = []
    for stage in artifacts.names():
        for digest in artifacts.child(stage).names():
            folder = artifact_of(storage, stage, digest)
            if (stage, digest) not in used and not is_locked(folder):
                unused.append(Unused(stage, digest, _size(folder), folder.exists(DONE)))
    return unused


def _size(folder: Folder) -> int:
    files = folder.filesystem.get_file_info(fs.FileSelector(folder.path, recursive=True))
    return sum(info.size or 0 for info in files)
