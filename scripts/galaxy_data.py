"""`python scripts/galaxy_data.py`: the small files with which the Galaxy wrappers are tested."""

from __future__ import annotations

from pathlib import Path

import scdeepclust as sdc

FOLDER = Path(__file__).parent.parent / "galaxy" / "test-data"

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    cells = sdc.datasets.simulate_lineage(n_obs=120, n_vars=40, n_branches=2)
    cells.write_h5ad(FOLDER / "cells.h5ad", compression="gzip")
    sdc.tl.n_clusters(cells)
    few = {"n_clusters": 4, "pretrain_steps": 20, "cluster_steps": 20}
    sdc.tl.deepclust(cells, "deepwak", n_heads=2, **few, progress=False)
    sdc.tl.enrichment(cells, annotations="cell_type")
    sdc.pp.denoise(cells, progress=False)
    sdc.tl.lineage(cells, root={"cell_type": "S0"}, fates=None)
    cells.write_h5ad(FOLDER / "results.h5ad", compression="gzip")
