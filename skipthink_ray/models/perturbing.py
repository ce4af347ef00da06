"""Copies of a student with noise on their weights: judges that agree with it where its answer does not hang by a thread.

A student from scratch has no dropout, so the noise is on the weights, and every architecture has those.
"""

import copy
from dataclasses import replace

import torch

from skipthink_ray.models.student import Student


@torch.no_grad()
def perturbed(student: Student, noise: float, seed: int) -> Student:
    """A copy whose every weight tensor has Gaussian noise of `noise` times its own standard deviation added.

    The draw depends on the seed and the architecture alone (it is made on the CPU). A constant tensor, such as the gains
    of a norm before training, stays as it is.
    """
    model = copy.deepcopy(student.model)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        draw = torch.randn(parameter.shape, generator=generator).to(parameter)
        if parameter.numel() > 1:
            parameter.add_(draw, alpha=noise * float(parameter.float().std()))
    return replace(student, model=model)
