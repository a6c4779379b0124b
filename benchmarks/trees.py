"""Trees of clusters that `tl.lineage` finds, against known descent: how many clusters have no ancestor that theirs is not.

    python benchmarks/trees.py            everything, as in docs/benchmarks.md
    python benchmarks/trees.py --runs 1   one run of each row instead of five

paul15      Clusters of several methods, with their number chosen or given, from the progenitors of megakaryocytes and erythrocytes
            on. Known is what is in every textbook: the ends (erythrocytes, megakaryocytes, basophils, eosinophils, neutrophils,
            monocytes, dendritic cells, lymphocytes) do not come of each other.
krumsiek11  Four ends that come of one progenitor, simulated; clusters of the default method.
simulated   `simulate_lineage`, its true segments on principal components, whose sizes are alike or differ tenfold.

A cluster is what most of its cells are. `right` is the share of clusters all of whose ancestors are of theirs, `PAGA` the same for
the tree in which each follows the earlier cluster of the highest confidence, `reached` the share of cells that a tree reaches. Links
are wrong whose parent is no ancestor of the child's kind, and unsure where `tl.lineage` tells a second origin.
Labels are used to score alone. Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402

CSV = HERE / "results" / "trees.csv"
LINKS = ["n_right", "n_right_unsure", "n_wrong", "n_wrong_unsure"]
COLUMNS = ["data", "clusters", "seed", "n_clusters", "right", "right_paga", "reached", *LINKS]
CUTS = [
    ("idec", None), ("idec", 8), ("idec", 12), ("idec", 19), ("dec", None), ("dec", 10), ("vade", None), ("vade", 10),
    ("contrastive", None), ("deepwak", None), ("deepwak", 10), ("none", None), ("none", 12),
]  # fmt: skip
FOUR = [("idec", None), ("idec", 6), ("idec", 8), ("idec", 11)]
TREES = [(2, 600), (3, 900), (4, 1500), (6, 2000), (8, 2500)]  # branches, cells
ENDS = ("Ery", "Mk", "DC", "Baso", "Mo", "Neu", "Eos", "Lymph")


def of_blood(name):
    """Kind of a cluster of Paul et al., from its name: what it ends in."""
    return name.lstrip("0123456789")


def cells_of(data, clusters, seed):
    """Cells with clusters in `obs["clusters"]` and what they are in `obs["kind"]`, their root, embedding and parents."""
    import numpy as np
    import scanpy as sc

    import scdeepclust as sdc

    if data.startswith("simulated"):
        n_branches, n_obs, imbalance = map(int, clusters.split()[::2])
        adata = sdc.datasets.simulate_lineage(n_obs, 500, n_branches=n_branches, imbalance=imbalance, random_state=seed)
        logged = sc.pp.log1p(sc.pp.normalize_total(adata, copy=True), copy=True)
        sc.pp.pca(logged, n_comps=20)
        adata.obsm["X_pca"] = logged.obsm["X_pca"]
        adata.obs["clusters"] = adata.obs["kind"] = adata.obs["cell_type"]
        parents = {child: parent for parent, child in adata.uns["lineage_edges"]}
        return adata, int(adata.uns["iroot"]), "X_pca", parents
    method, n_clusters = clusters.split(", ")
    options = {"random_state": seed, "progress": False, "key_added": "clusters"}
    options |= {} if n_clusters == "chosen" else {"n_clusters": int(n_clusters)}
    if data == "krumsiek11":
        adata = sdc.datasets.krumsiek11()
        adata.obsm["values"] = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
        adata.obs["kind"] = adata.obs["cell_type"]
        sdc.tl.deepclust(adata, method, use_rep="values", **options)
        return adata, 0, None, dict.fromkeys(("Ery", "Mk", "Mo", "Neu"), "progenitor")
    adata = sdc.datasets.paul15()
    adata.obs["kind"] = adata.obs["cell_type"].astype(str).map(of_blood)
    sdc.tl.deepclust(adata, method, **options)
    return adata, {"cell_type": "7MEP"}, None, dict.fromkeys(ENDS, "GMP") | {"Ery": "MEP", "Mk": "MEP", "GMP": "MEP"}


def line(name, above):
    """A name and all that it comes of."""
    found = [name]
    while found[-1] in above:
        found.append(above[found[-1]])
    return found


def right(parent_of, kinds, parents):
    """Share of the clusters with a parent whose ancestors are all of theirs."""
    import numpy as np

    return float(
        np.mean([{kinds[a] for a in line(child, parent_of)} <= set(line(kinds[child], parents)) for child in parent_of])
    )


def by_confidence(record):
    """The tree in which each cluster follows the earlier one that PAGA links it to best."""
    import numpy as np

    there = record["clusters"]["reachable"].to_numpy(dtype=bool)
    table, links = record["clusters"][there], record["connectivities"][np.ix_(there, there)]
    links = np.maximum(links, links.T)
    time = table["pseudotime"].where(table.index != record["root"]["cluster"], -1.0).to_numpy()
    names = list(table.index)
    found = {}
    for i in np.argsort(time, kind="stable")[1:]:
        earlier = np.flatnonzero(time < time[i])
        found[names[i]] = names[earlier[links[earlier, i].argmax()]]
    return found


def links(tree, kinds, parents):
    """Numbers of right and wrong links, and of those among them that are unsure."""
    import numpy as np

    from scdeepclust.tl._tree import NEARLY

    ends = tree[["parent", "child"]].itertuples(index=False)
    is_right = np.array([kinds[parent] in line(kinds[child], parents) for parent, child in ends], dtype=bool)
    unsure = tree["other_share"].to_numpy() >= NEARLY
    counts = (is_right, is_right & unsure, ~is_right, ~is_right & unsure)
    return {name: int(count.sum()) for name, count in zip(LINKS, counts, strict=True)}


def work(data, clusters, seed):
    """One row."""
    import scdeepclust as sdc

    warnings.simplefilter("ignore")
    adata, root, rep, parents = cells_of(data, clusters, seed)
    sdc.tl.lineage(adata, "clusters", root=root, use_rep=rep, fates=None)
    record = adata.uns["lineage"]
    kinds = (
        adata.obs.groupby("clusters", observed=True)["kind"].agg(lambda kind: kind.value_counts().idxmax()).to_dict()
    )
    tree = dict(zip(record["tree"]["child"], record["tree"]["parent"], strict=True))
    return {
        "data": data,
        "clusters": clusters,
        "seed": seed,
        "n_clusters": len(record["clusters"]),
        "right": right(tree, kinds, parents),
        "right_paga": right(by_confidence(record), kinds, parents),
        "reached": 1 - record["n_unreachable"] / adata.n_obs,
    } | links(record["tree"], kinds, parents)


def tables():
    """What the rows come to."""
    import pandas as pd

    rows = pd.read_csv(CSV)
    groups = rows.groupby(["data", "clusters"], sort=False)
    table = pd.DataFrame(
        {
            "clusters found": groups["n_clusters"].mean().map("{:.1f}".format),
            "right": harness.spelled(groups["right"].mean(), groups["right"].std(), 2),
            "PAGA": harness.spelled(groups["right_paga"].mean(), groups["right_paga"].std(), 2),
            "reached": groups["reached"].mean().map("{:.3f}".format),
        }
    )
    table.index = table.index.map(", ".join).str.replace(r", \d+ fold$", "", regex=True)
    by_data = rows.groupby("data", sort=False)
    means = by_data[["right", "right_paga", "reached"]].mean().round(2)
    counts = by_data[LINKS].sum()
    named = {
        "n_right": "right links",
        "n_right_unsure": "of these unsure",
        "n_wrong": "wrong links",
        "n_wrong_unsure": "of those unsure",
    }
    parts = (means.rename(columns={"right_paga": "PAGA"}), counts.rename(columns=named), table)
    return [harness.markdown(part) for part in parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    cuts = [("paul15", CUTS), ("krumsiek11", FOUR)]
    jobs = [(data, f"{method}, {n or 'chosen'}") for data, kinds in cuts for method, n in kinds]
    jobs += [
        (f"simulated, {'alike' if imbalance == 1 else 'tenfold'}", f"{n} branches, {n_obs} cells, {imbalance} fold")
        for imbalance, (n, n_obs) in product((1, 10), TREES)
    ]
    done = {tuple(row) for row in harness.done(CSV, COLUMNS[:3])}
    for (data, clusters), seed in product(jobs, range(options.runs)):
        if (data, clusters, seed) not in done:
            harness.append(work(data, clusters, seed), CSV, columns=COLUMNS)
    harness.publish(CSV, "\n\n".join(tables()))


if __name__ == "__main__":
    main()
