"""The picture of the landing page: clusters of mouse bone marrow progenitors, how many there are, and how they branch.

python docs/landing.py          writes docs/_static/landing.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

import scdeepclust as sdc


def main() -> None:
    adata = sdc.datasets.paul15()
    sdc.tl.deepclust(adata)
    sdc.tl.lineage(adata, fates=None)  # from uns["iroot"], which comes with these cells: an early progenitor
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7.6), layout="constrained")
    sdc.pl.n_clusters(adata, axes=axes[0, 1], show=False)
    sdc.pl.lineage(adata, axes=[axes[0, 0], *axes[1]], show=False)
    figure.savefig(Path(__file__).parent / "_static" / "landing.png", dpi=140, bbox_inches="tight")


if __name__ == "__main__":
    main()
