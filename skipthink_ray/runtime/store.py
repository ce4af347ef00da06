"""The store: artifacts that the runs of a storage path share, and runs as views of it.

Layout of a storage path:

    artifacts/<stage>/<digest>/   an artifact, addressed by a digest of all it depends on
    <run>/run.json                the artifact of each stage, the command, the configuration
    <run>/<stage>                 a link to that artifact (on a local disk)
    <run>/report/                 the report, which is the run's own
    sweeps/<name>/                the records of a sweep's trials (tuning/sweep.py); each trial is a run
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skipthink_ray.runtime.artifacts import CONFIG, DONE, Folder, begin, digest, finish, is_finished
from skipthink_ray.runtime.lock import Lease, wait_or_lock

if TYPE_CHECKING:
    import pyarrow as pa

ARTIFACTS, SWEEPS, VIEW, REPORT = "artifacts", "sweeps", "run.json", "report"
RESERVED = (ARTIFACTS, SWEEPS, "mlartifacts")
"""Names in a storage path that no run may have."""
VIEW_KEYS = {"command", "config", "artifacts", "started_at", "earlier"}
DAMAGED = "delete the run's folder (the shared artifacts stay), or choose another --name"


@dataclass(frozen=True)
class Run:
    """A run's folder and the artifacts of its stages."""

    storage: Folder
    name: str
    identities: dict[str, dict[str, Any]]
    """What the artifact of each stage depends on."""

    @property
    def folder(self) -> Folder:
        return self.storage.child(self.name)

    def artifact(self, stage: str) -> Folder:
        if stage == REPORT:
            return self.folder.child(REPORT)
        return artifact_of(self.storage, stage, digest(self.identities[stage]))

    def is_done(self, stage: str) -> bool:
        return is_finished(self.artifact(stage), self.identities[stage])

    @contextmanager
    def making(
        self, stage: str, say: Callable[[str], None], pause: Callable[[float], None] = time.sleep
    ) -> Iterator[Lease | None]:
        """Yield a lease to make the stage's artifact, or None if another process has made it meanwhile.

        Waits while another live process makes it, and takes over if that process dies. `say` and `pause` as
        in `wait_or_lock`.
        """
        artifact = self.artifact(stage)
        with wait_or_lock(artifact, lambda: self.is_done(stage), self.name, say, pause) as lease:
            yield lease

    def is_recorded(self) -> bool:
        """Whether run.json names these artifacts."""
        return (read_view(self.folder) or {}).get("artifacts") == self._digests()

    def _digests(self) -> dict[str, str]:
        return {stage: digest(identity) for stage, identity in self.identities.items()}

    def record(self, command: str, config: dict[str, Any]) -> None:
        """Write run.json and drop links to other artifacts. An earlier view stays listed under `earlier`."""
        digests = self._digests()
        view = {"command": command, "config": config, "artifacts": digests, "started_at": _now()}
        known = read_view(self.folder) or {}
        earlier = known.pop("earlier", [])
        if known:
            earlier = [one for one in [*earlier, known] if one["artifacts"] != digests]
        for stage, made in known.get("artifacts", {}).items():
            if digests.get(stage) != made:
                self._unlink(stage)
        self.folder.write_json(VIEW, {**view, "earlier": earlier})

    def link(self, stage: str) -> None:
        """Link an artifact into the run's folder. Remote storage has no links; run.json is enough."""
        if not self.storage.is_local or stage == REPORT:
            return
        link = Path(self.folder.path) / stage
        target = os.path.relpath(self.artifact(stage).path, link.parent)
        if link.is_symlink() and os.readlink(link) == target:
            return
        self._unlink(stage)
        link.symlink_to(target, target_is_directory=True)

    def _unlink(self, stage: str) -> None:
        link = Path(self.folder.path) / stage
        if self.storage.is_local and link.is_symlink():
            link.unlink()

    def refuse_other_folders(self) -> None:
        """Raises ValueError if the run's folder was written by something else, or its name is reserved."""
        if self.name in RESERVED:
            raise ValueError(f"--name {self.name}: this folder is not for runs; choose another name")
        if self.folder.exists(VIEW):
            return
        for stage in self.identities:
            if self.folder.exists(f"{stage}/{CONFIG}"):
                raise ValueError(
                    f"{self.folder.uri} was written by an older skipthink_ray, which did not share "
                    "artifacts. Choose another --name, or delete that folder"
                )
            if self.folder.exists(stage):
                raise ValueError(
                    f"{self.folder.uri} is not a run, but holds '{stage}'. Nothing was touched; "
                    "choose another --name"
                )


@dataclass(frozen=True)
class SharedTable:
    """A table that a stage makes besides its own artifact, in an artifact that other runs use too."""

    run: Run
    name: str
    """Of the artifact, and of the table in it."""
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep

    @contextmanager
    def making(self) -> Iterator[Lease | None]:
        """Yield a lease to make the table, or None if it is made. As `Run.making`.

        A process that makes several tables enters them in the same order as every other process.
        """
        with self.run.making(self.name, lambda text: self.say(f"{self.name}: {text}"), self.pause) as lease:
            yield lease

    def read(self) -> "pa.Table":
        return self.run.artifact(self.name).table(self.name).to_table()

    def write(self, table: "pa.Table", lease: Lease) -> None:
        folder = self.run.artifact(self.name)
        begin(folder, self.run.identities[self.name])
        folder.write_table(self.name, table)
        lease.check()
        finish(folder, {"rows": table.num_rows})


def artifact_of(storage: Folder, stage: str, key: str) -> Folder:
    """The folder of a shared artifact; `key` is the digest of its identity."""
    return storage.child(f"{ARTIFACTS}/{stage}/{key}")


def is_made(storage: Folder, run: str, stage: str, key: str) -> bool:
    """Whether the artifact that a view names is finished. A run's folder has one report, the newest."""
    if stage != REPORT:
        return artifact_of(storage, stage, key).exists(DONE)
    report = storage.child(run).child(REPORT)
    return report.exists(DONE) and digest(report.read_json(CONFIG)) == key


def runs_of(storage: Folder) -> dict[str, dict[str, Any]]:
    """The content of run.json of every run in a storage path, by the run's name."""
    views = {name: read_view(storage.child(name)) for name in storage.names() if name not in RESERVED}
    return {name: view for name, view in views.items() if view}


def read_view(run: Folder) -> dict[str, Any] | None:
    """The content of run.json, or None if the folder is not a run."""
    if not run.exists(VIEW):
        return None
    try:
        view = run.read_json(VIEW)
    except ValueError as error:
        raise ValueError(f"{run.child(VIEW).uri} is not JSON ({error}); {DAMAGED}") from error
    if not (isinstance(view, dict) and view.keys() >= VIEW_KEYS):
        raise ValueError(f"{run.child(VIEW).uri} was not written by skipthink; {DAMAGED}")
    return view


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
