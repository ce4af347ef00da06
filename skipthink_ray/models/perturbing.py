"""Noisy copies of a student, to test whether an answer is robust.

The noise is on the weights, because a student from scratch has no dropout.
"""

import copy
from dataclasses import replace

import torch

from skipthink_ray.models.student import Student


@torch.no_grad()
def perturbed(student: Student, noise: float, seed: int) -> Student:
    """A copy with Gaussian noise on every weight tensor, of `noise` times its standard deviation.

    The noise is drawn on the CPU and depends only on the seed and the architecture. Constant tensors, such as
    the gains of a norm before training, do not change.
    """
    model = copy.deepcopy(student.model)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        draw = torch.randn(parameter.shape, generator=generator).to(parameter)
        if parameter.numel() > 1:
            parameter.add_(draw, alpha=noise * float(parameter.float().std()))
    return replace(student, model=model)
