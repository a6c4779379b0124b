"""`make demo`: cluster real cells, look at them, and say in a short table what came out.

Without arguments: the 700 blood cells that ship inside scanpy (`pbmc68k_reduced`), whose log-normalised values in `raw`
are taken, because their counts are not shipped. With --data, cells of your own (h5ad); with --labels, a column of `obs`
to compare with, after the clusters have been found without it.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import scanpy as sc

import scdeepclust as sdc

if TYPE_CHECKING:
    from anndata import AnnData

mpl.use("Agg")
OUT = Path(__file__).parent.parent / "demo"


def figures(adata: AnnData, name: str, labels: str | None) -> list[Path]:
    """UMAP of the learned embedding by cluster, confidence and label; training history."""
    import matplotlib.pyplot as plt
    from sklearn.neighbors import KNeighborsTransformer

    search = KNeighborsTransformer(n_neighbors=15) if adata.n_obs < 20_000 else None
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X_deepclust", transformer=search, random_state=0)
    sc.tl.umap(adata, random_state=0)
    adata.obs["confidence"] = adata.obsm["deepclust_proba"].max(axis=1)
    color = ["deepclust", *([labels] if labels else []), "confidence"]
    with mpl.rc_context({"figure.dpi": 150, "savefig.bbox": "tight"}):
        figure = sc.pl.umap(adata, color=color, show=False, return_fig=True, frameon=False, wspace=0.4, ncols=2)
        umap = OUT / f"{name}_umap.png"
        figure.savefig(umap)
        history = adata.uns["deepclust"]["history"]
        terms = [c for c in history.columns if c not in {"phase", "epoch"} and history[c].notna().any()]
        grid, axes = plt.subplots(1, len(terms), figsize=(3.2 * len(terms), 2.6), squeeze=False)
        for axis, term in zip(axes[0], terms, strict=True):
            for phase, rows in history.groupby("phase", sort=False):
                shown = rows[term].dropna()
                if len(shown):
                    axis.plot(shown.index, shown, marker="." if len(shown) < 15 else None, label=phase)
            axis.set(title=term.replace("_", " "), xlabel="epoch")
            axis.legend(frameon=False)
        grid.tight_layout()
        curves = OUT / f"{name}_history.png"
        grid.savefig(curves)
    return [umap, curves]


def table(adata: AnnData, labels: str | None) -> str:
    """Size, mean membership and, with labels, the commonest label of each cluster."""
    lines = [f"{'cluster':>8}{'cells':>8}{'membership':>12}" + (f"  commonest {labels}" if labels else "")]
    confidence = adata.obsm["deepclust_proba"].max(axis=1)
    for cluster in adata.obs["deepclust"].cat.categories:
        rows = (adata.obs["deepclust"] == cluster).to_numpy()
        line = f"{cluster:>8}{rows.sum():>8}{confidence[rows].mean():>12.2f}"
        if labels and rows.any():
            share = adata.obs.loc[rows, labels].value_counts(normalize=True)
            line += f"  {share.index[0]} ({share.iloc[0]:.0%})" if len(share) else ""
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run the main job and leave its results in demo/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="h5ad with counts or log-normalised values")
    parser.add_argument("--labels", default="", help="column of obs to compare with")
    parser.add_argument("--n-clusters", type=int, default=None, help="chosen by the data if not given")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    labels = options.labels or None
    if options.data:
        adata, name = sc.read(options.data), Path(options.data).stem
        if labels and labels not in adata.obs:
            parser.error(f"--labels {labels!r} is not in obs; there are: {', '.join(adata.obs.columns)}")
    else:
        adata, name, labels = sdc.datasets.pbmc68k(), "pbmc68k", labels or "cell_type"
        print("700 peripheral blood cells from scanpy's wheel; X is their log-normalised `raw`.")
    OUT.mkdir(exist_ok=True)
    sdc.tl.deepclust(adata, n_clusters=options.n_clusters)
    paths = figures(adata, name, labels)
    print("\n" + table(adata, labels))
    if labels:
        known = adata.obs[labels].notna()
        scores = sdc.metrics.scores(adata.obs.loc[known, labels], adata.obs.loc[known, "deepclust"])
        print(f"\nagreement with obs[{labels!r}]: " + ", ".join(f"{k} {v:.2f}" for k, v in scores.items()))
    path = OUT / f"{name}.h5ad"
    adata.write_h5ad(path)
    print("\nwritten: " + ", ".join(str(p.relative_to(OUT.parent)) for p in [path, *paths]))


if __name__ == "__main__":
    main()
