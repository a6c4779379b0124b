"""Progress bars: quick where somebody watches, sparse where they land in a file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

WATCHED, LOGGED = 0.1, 30.0  # seconds between two updates


def bar(*arguments: Any, **options: Any) -> tqdm:
    """A progress bar on standard error; in the log of a cluster or of Galaxy it is written twice a minute, at most."""
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    seconds = WATCHED if watched else LOGGED
    return tqdm(*arguments, mininterval=seconds, maxinterval=max(seconds, 10.0), **options)
