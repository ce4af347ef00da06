"""The estimate of a training run's memory, and workers that would be idle."""

from dataclasses import replace
from pathlib import Path

import pytest

from skipthink_ray.config import ClusterConfig, PipelineConfig, StudentConfig, TrainConfig
from skipthink_ray.models.student import save_student
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.nodes import Node, Seen
from skipthink_ray.training.memory import check_idle_ranks, check_memory, needed, parameters_of
from tests.toys import make_student, toy_rows

GIB = 1 << 30
PLENTY = 1 << 60


def _node(name: str, gib: float, cpus: int = 8, gpus: tuple[int, ...] = ()) -> Node:
    resources = {"CPU": float(cpus), "GPU": float(len(gpus)), "memory": gib * GIB}
    return Node(name, name, resources, Seen((), {}, PLENTY, gpus))


def test_the_size_of_a_student_is_known_before_it_is_loaded(tmp_path: Path):
    student = make_student(toy_rows("multiarith", 60), num_chunks=None)
    vocabulary = student.model.get_input_embeddings().weight.shape[0]
    shape = StudentConfig(layers=2, width=32, heads=2, vocabulary=vocabulary)
    exact = student.model.num_parameters()
    assert parameters_of(shape) == exact
    save_student(student, tmp_path)
    assert parameters_of(StudentConfig(pretrained=str(tmp_path))) == exact


def test_zero_shards_what_its_stage_says():
    size, train = 20_000_000, TrainConfig()

    def total(zero: int, workers: int = 4, use_gpu: bool = False, **train_values: object) -> float:
        values = {"zero_stage": zero, "num_workers": workers, "use_gpu": use_gpu}
        parts = needed(size, train.model_copy(update=train_values), ClusterConfig.model_validate(values))
        return sum(parts.values()) / size

    # bytes per parameter: weights 4, gradients 4, AdamW 8, ZeRO's weights in fp32 4, its flat gradients 4
    assert [total(zero) for zero in range(4)] == [16, 12, 9, 5.4]
    assert total(2, precision="bf16") == 7
    assert total(3, workers=1) == 20
    assert total(3, workers=8) == 4, "on CPUs, rank 0 collects the student for a checkpoint"
    assert total(3, workers=8, use_gpu=True) == 2.9
    ddp = ClusterConfig(backend="ddp", num_workers=4)
    assert sum(needed(size, train, ddp).values()) == 16 * size
    assert needed(size, train, ClusterConfig(num_workers=1)) == needed(size, train, ddp), (
        "ZeRO shards nothing"
    )
    assert needed(size, train, ClusterConfig(num_workers=4)) == needed(
        size, train, ClusterConfig(zero_stage=2, num_workers=4)
    )


def test_a_student_that_does_not_fit_is_refused_with_numbers(tmp_path: Path):
    config = PipelineConfig.model_validate(
        {"student": {"width": 4096, "layers": 32, "heads": 32}, "cluster": {"zero_stage": 0}}
    )
    storage = Folder.open(str(tmp_path))
    nodes = [_node("a", 200), _node("b", 50)]
    with pytest.raises(ValueError, match=r"needs .* MiB"):
        check_memory(config, [replace(nodes[0], seen=Seen((), {}, 1 << 30, ()))], storage)
    small = config.model_copy(update={"student": StudentConfig()})
    check_memory(small, nodes, storage)
    with pytest.raises(
        ValueError,
        match=r"base: a worker needs 5 MiB of memory \(weights 1, gradients 1, AdamW 3\) .* hold 0 of .*: "
        r"node a 1 MiB",
    ):
        check_memory(small, [_node("a", 1 / 1024)], storage)
    on_gpus = small.model_copy(update={"cluster": ClusterConfig(use_gpu=True)})
    check_memory(on_gpus, [_node("a", 1, gpus=(GIB, GIB))], storage)
    with pytest.raises(ValueError, match=r"GPU memory .* can hold 1 of"):
        check_memory(on_gpus, [_node("a", 1, gpus=(GIB, 1))], storage)


def test_nodes_of_one_name_hold_what_they_hold_together(tmp_path: Path):
    """Two nodes on one machine have the same name. The second has no room for a worker."""
    config = PipelineConfig.model_validate({"cluster": {"num_workers": 2}})
    nodes = [_node("a", 200), _node("a", 1 / 1024)]
    check_memory(config, nodes, Folder.open(str(tmp_path)))


def test_idle_ranks_are_counted():
    config = PipelineConfig.model_validate({"cluster": {"num_workers": 32}})
    with pytest.raises(
        ValueError, match=r"base\.batch_size: 8 items .*: 24 ranks would compute a dummy row; .*workers 8"
    ):
        check_idle_ranks(config)
    check_idle_ranks(PipelineConfig.model_validate({"cluster": {"num_workers": 8}}))
