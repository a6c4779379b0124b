"""`make demo`: the command `scdeepclust demo`, with its results in demo/ of the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from scdeepclust.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", str(Path(__file__).parent.parent / "demo"), *sys.argv[1:]]))
