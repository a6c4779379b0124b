"""What scikit-learn's k-means is told where cells may be too alike for it."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def fewer_allowed() -> Iterator[None]:
    """Let k-means find fewer clusters than asked for, where fewer cells differ."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
