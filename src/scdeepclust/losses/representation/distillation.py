"""Self-distillation: a student tells of one view what a teacher, its own slow average, says of another.

Source: Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, arXiv 2104.14294.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def self_distillation(student: Sequence[Tensor], teacher: Sequence[Tensor], *, temperature: float = 0.1) -> Tensor:
    """Cross entropy of the student's prototypes against the teacher's, mean over pairs of different views.

    Parameters
    ----------
    student
        Logits of prototypes for each view, cells x prototypes; the first views are those that the teacher saw.
    teacher
        Probabilities of prototypes for each of its views.
    temperature
        Of the student; 0.1 in the paper.
    """
    pairs = [
        -(target * (logits / temperature).log_softmax(1)).sum(1).mean()
        for t, target in enumerate(teacher)
        for s, logits in enumerate(student)
        if s != t
    ]
    return torch.stack(pairs).mean()


def centred(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's probabilities: centred, so that no prototype takes all, and sharpened, so that not all are equal.

    Parameters
    ----------
    logits
        Cells x prototypes.
    centre
        Running mean of the logits.
    temperature
        0.04 in the paper.
    """
    return ((logits - centre) / temperature).softmax(1)
