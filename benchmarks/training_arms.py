"""The arms of bench_training.py. Each runs in processes of its own, one per worker:

    python -m benchmarks.training_arms FOLDER ARM RANK LAUNCHED

An arm replays the updates of the plan in FOLDER, and each worker writes `ARM-RANK.json` there. The literal
arm and the peers read the finished items. Our arms are the project's own training loop, which makes the
items from the samples while it trains.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from benchmarks.training_clock import Clock
from benchmarks.training_plan import SEED, Plan
from skipthink_ray.config import ClusterConfig
from skipthink_ray.models.batching import IGNORE
from skipthink_ray.models.student import load_student
from skipthink_ray.training.backend import deepspeed_problem, start_engine
from skipthink_ray.training.checkpoint import Progress, save_checkpoint
from skipthink_ray.training.engine import Engine
from skipthink_ray.training.loop import Hooks, Job, train


@dataclass(frozen=True)
class Arm:
    """One trainer with its settings."""

    name: str
    kind: str
    """A key of KINDS."""
    workers: int = 1
    threads: int = 2
    """torch threads of each worker."""
    zero_stage: int | None = None
    """Our arms: the stage of DeepSpeed's ZeRO; None: DistributedDataParallel."""
    tuned: bool = False
    padding_free: bool = False

    def cluster(self, device: str) -> ClusterConfig:
        return ClusterConfig(
            num_workers=self.workers,
            cpus_per_worker=self.threads,
            use_gpu=device == "cuda",
            backend="ddp" if self.zero_stage is None else "deepspeed",
            zero_stage=2 if self.zero_stage is None else self.zero_stage,
        )


def _ours(kind: str, title: str, stages: tuple[int | None, ...]) -> list[Arm]:
    names = {stage: "ddp" if stage is None else f"ZeRO-{stage}" for stage in stages}
    return [
        Arm(f"{title} {names[stage]} {workers}x{threads}", kind, workers, threads, stage)
        for stage in stages
        for workers, threads in ((1, 2), (2, 1))
    ]


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("literal 1x2", "literal"),
        *_ours("ours", "ours", (None, 0, 1, 2)),
        *_ours("ray", "Ray", (None, 2)),
        Arm("HF 1x2", "hf"),
        Arm("HF tuned 1x2", "hf", tuned=True),
        Arm("TRL 1x2", "trl"),
        Arm("TRL tuned 1x2", "trl", tuned=True),
        Arm("TRL padding-free 1x2", "trl", tuned=True, padding_free=True),
    )
}
"""By name, such as `ours ddp 2x1`: two workers with one thread each."""
LITERAL = "literal 1x2"


def unavailable(arm: Arm, device: str, precision: str) -> str | None:
    """Why an arm cannot run here; None if it can."""
    if arm.zero_stage == 0 and precision == "bf16":
        return "in bf16, DeepSpeed's ZeRO-0 keeps no fp32 weights"
    if arm.kind == "trl" and importlib.util.find_spec("trl") is None:
        return "TRL is not installed"
    if device == "cuda" and arm.kind == "ray":
        return "the arms in Ray are for CPUs"
    if device == "cuda" and arm.workers > torch.cuda.device_count():
        return f"it needs {arm.workers} GPU(s)"
    problem = None if arm.zero_stage is None else deepspeed_problem(device == "cuda")
    return f"DeepSpeed: {problem}" if problem else None


def literal(plan: Plan, arm: Arm, clock: Clock) -> None:
    """A training loop as in a tutorial: padded batches, masks, logits of all positions, plain AdamW."""
    model: Any = load_student(plan.folder / "student").model.to(plan.device).train()
    optim = plan.config.optim
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, optim.beta2), weight_decay=optim.weight_decay
    )
    clock.attach(model, optimizer)
    bf16 = plan.setting.precision == "bf16"
    for number, lr in enumerate(plan.lr_U):
        items = plan.update(number)
        width = max(len(item.prompt) + len(item.target) for item in items)
        ids_BT = torch.full((len(items), width), plan.pad_id)
        mask_BT, labels_BT = torch.zeros_like(ids_BT), torch.full_like(ids_BT, IGNORE)
        for row, item in enumerate(items):
            start, end = len(item.prompt), len(item.prompt) + len(item.target)
            ids_BT[row, :end] = torch.tensor([*item.prompt, *item.target])
            mask_BT[row, :end] = 1
            labels_BT[row, start:end] = torch.tensor(item.target)
        ids_BT, mask_BT, labels_BT = (one.to(plan.device) for one in (ids_BT, mask_BT, labels_BT))
        with torch.autocast(plan.setting.device, torch.bfloat16, enabled=bf16):
            logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        flat, targets = logits_BTV[:, :-1].float().flatten(0, 1), labels_BT[:, 1:].flatten()
        loss = cross_entropy(flat, targets, ignore_index=IGNORE)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
        clock.losses.append(loss.detach())
        clock.tick()


def ours(plan: Plan, arm: Arm, clock: Clock, make_hooks: Callable[..., Hooks] | None = None) -> None:
    """The project's training loop. make_hooks: (job, engine, cluster) -> hooks; None: the clock's only."""
    student = load_student(plan.folder / "student")
    student.model.to(plan.device)
    cluster = arm.cluster(plan.setting.device)
    backend = "ddp" if arm.zero_stage is None else "deepspeed"
    engine = start_engine(student.model, plan.config, cluster, backend)
    clock.attach(engine.model, engine.optimizer)
    job = Job(plan.setting.stage, plan.config, len(plan.lr_U), SEED)
    calls = make_hooks(job, engine, cluster) if make_hooks else _bare_hooks(engine)
    train(job, plan.samples(), student, engine, Progress(), _timed(calls, clock))


def _bare_hooks(engine: Engine) -> Hooks:
    """Saves one checkpoint, at the end."""

    def on_epoch(progress: Progress, samples: Any) -> None:
        with TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), engine, progress, samples)

    return Hooks(lambda *_: None, on_epoch)


def _timed(calls: Hooks, clock: Clock) -> Hooks:
    """The same hooks, and the clock's."""

    def on_update(progress: Progress) -> None:
        calls.on_update(progress)
        clock.tick()

    def on_updates(progress: Progress, rows: list[dict[str, Any]]) -> None:
        clock.losses += [row["loss_nats"] for row in rows]
        calls.on_updates(progress, rows)

    def on_epoch(progress: Progress, samples: Any) -> None:
        started = time.perf_counter()
        calls.on_epoch(progress, samples)
        clock.checkpoint_s = time.perf_counter() - started

    return replace(calls, on_update=on_update, on_updates=on_updates, on_epoch=on_epoch)


def run_worker(plan: Plan, arm: Arm, rank: int, launched: float) -> None:
    """Run an arm in this process, as one of its workers."""
    torch.set_num_threads(arm.threads)
    if arm.kind == "ray":
        from benchmarks.training_ray import in_ray

        return in_ray(plan, arm, launched)
    clock = Clock(plan.setting, launched)
    if arm.workers > 1 or arm.zero_stage is not None:
        backend = "nccl" if plan.setting.device == "cuda" else "gloo"
        rendezvous = f"file://{plan.folder}/{arm.name.replace(' ', '-')}.rendezvous"
        dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=arm.workers)
    if arm.kind == "literal":
        literal(plan, arm, clock)
    elif arm.kind == "ours":
        ours(plan, arm, clock)
    else:
        from benchmarks.training_peers import hf, trl

        (hf if arm.kind == "hf" else trl)(plan, arm, clock)
    clock.write(plan.folder / f"{arm.name}-{rank}.json")
    if dist.is_initialized():
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("arm", choices=list(ARMS))
    parser.add_argument("rank", type=int)
    parser.add_argument("launched", type=float)
    options = parser.parse_args()
    run_worker(Plan.read(options.folder), ARMS[options.arm], options.rank, options.launched)


if __name__ == "__main__":
    main()
