"""How far apart the markers of a trained student are, relative to distances between tokens (method §1).

A pretrained student's markers start close together. If they stay close, the student cannot distinguish
`[answer]` from `[M]`. Shape suffixes: P pairs, K markers, D width.
"""

import torch

from skipthink_ray.method.modes import UNMARKED
from skipthink_ray.models.student import Student

PAIRS, SEED = 4096, 0
"""Number of random pairs of ordinary tokens, and the seed that draws them."""


@torch.no_grad()
def marker_separation(student: Student, stage: str) -> dict[str, float]:
    """{"marker_separation": smallest distance between two markers / median distance between two tokens}.

    The markers are those in the stage's items: for cwt `[1]`..`[M]` and `[answer]`, for stt also `[skip]` and
    `[thought]`. Returns {} for fewer than two: base and icot have none, cwt may have only `[1]`.
    Distances are Euclidean, between input embeddings.
    """
    if stage in UNMARKED:
        return {}
    ids = student.ids
    cwt = dict.fromkeys((*ids.stages, ids.answer))
    markers = [*cwt, *([ids.skip, ids.thought] if stage == "stt" else [])]
    if len(markers) < 2:
        return {}
    weight_VD = student.model.get_input_embeddings().weight.float()
    added = set(student.tokenizer.get_added_vocab().values())
    ordinary = torch.tensor([token for token in range(len(student.tokenizer)) if token not in added])
    drawn_P2 = torch.randint(len(ordinary), (PAIRS, 2), generator=torch.Generator().manual_seed(SEED))
    first_P, second_P = ordinary[drawn_P2[drawn_P2[:, 0] != drawn_P2[:, 1]]].T
    usual = (weight_VD[first_P] - weight_VD[second_P]).norm(dim=1).median()
    closest = torch.pdist(weight_VD[markers]).min()
    return {"marker_separation": float(closest / usual)}
