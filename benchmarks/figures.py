"""Pictures of the tables: agreement by method and set, what it costs, and the number of clusters not given.

    python benchmarks/figures.py

Reads benchmarks/results/clustering.csv and n_clusters.csv; writes docs/_static/benchmark_*.png.
"""

from __future__ import annotations

from pathlib import Path

import clustering
import matplotlib as mpl
import n_clusters
import pandas as pd
import rows

mpl.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parents[1] / "docs" / "_static"
TITLES = "Number of clusters given", "Number not given"
COLORS = {
    "this package": "#0072B2",
    "baselines and other software": "#D55E00",
    "resolution chosen by the labels": "#777777",
}


def kind(method):
    """Whose a row is."""
    if method == "pca_leiden_best":
        return "resolution chosen by the labels"
    return "this package" if rows.settings(method) else "baselines and other software"


def complete(score="ARI"):
    """Mean over seeds of a score, methods x sets with counts, of methods that have run on all of them."""
    table = pd.read_csv(clustering.CSV).drop_duplicates(["method", "dataset", "seed"], keep="last")
    table = table[~table["dataset"].isin(clustering.MEASURED) & ~table["method"].str.endswith("_own")]
    found = table.pivot_table(score, "method", "dataset")
    return found[found.notna().all(axis=1)]


def agreement():
    """A line for each method, a point for each set, a stroke at the mean."""
    ari = complete()
    parts = [ari[[rows.told(m) == given for m in ari.index]] for given in (True, False)]
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 0.32 * max(map(len, parts)) + 1.2), sharex=True, layout="constrained"
    )
    for ax, part, title in zip(axes, parts, TITLES, strict=True):
        order = part.mean(axis=1).sort_values().index
        for y, (method, values) in enumerate(part.loc[order].iterrows()):
            color = COLORS[kind(method)]
            ax.plot(values, [y] * len(values), "o", color=color, alpha=0.35, markersize=4, markeredgewidth=0)
            ax.plot(values.mean(), y, "|", color=color, markersize=13, markeredgewidth=2.5)
            ax.text(1.03, y, f"{values.mean():.2f}", va="center", color=color, fontsize=9)
        ax.set(title=title, xlabel="adjusted Rand index", xlim=(0, 1.02), ylim=(-0.7, len(part) - 0.3))
        ax.set_yticks(range(len(part)), order, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=color, label=name) for name, color in COLORS.items()]
    figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
    return figure


def cost():
    """Mean ARI against mean seconds of the processor, with a line from each point to its name."""
    ari, seconds = complete().mean(axis=1), complete("seconds").mean(axis=1)
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    for ax, given, title in zip(axes, (True, False), TITLES, strict=True):
        height = ari.max()
        for method in sorted((m for m in ari.index if rows.told(m) == given), key=ari.get, reverse=True):
            color, point = COLORS[kind(method)], (seconds[method], ari[method])
            ax.plot(*point, "o", color=color, markersize=5)
            line = {"arrowstyle": "-", "relpos": (0, 0.5), "color": color, "alpha": 0.3, "linewidth": 0.8}
            style = {"fontsize": 8, "va": "center", "color": color, "arrowprops": line, "annotation_clip": False}
            ax.annotate(method, point, (800, height), **style)
            height = min(height, ari[method]) - 0.0135
        ax.set(title=title, xscale="log", xlabel="seconds of one core, mean over sets", xlim=(0.2, 600))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("adjusted Rand index, mean over sets")
    return figure


def number():
    """Where the number is not given: the default and Leiden on each set, told the batches where it has any and not."""
    table = pd.read_csv(n_clusters.CSV)
    ari = table[~table["dataset"].str.startswith("noise")].pivot_table("ARI", "dataset", "method")
    for name in n_clusters.TOLD:
        ari[name] = ari[name].fillna(ari[n_clusters.TOLD[name]])
    shown = {
        "leiden_1": ("Leiden at resolution 1", "o", "baselines and other software"),
        n_clusters.ORACLE: ("Leiden, resolution chosen by the labels", "o", "resolution chosen by the labels"),
        "deepclust": ("deepclust", "o", "this package"),
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, sharex=True, layout="constrained")
    names = ari.index[ari["deepclust"].argsort()]
    for ax, before, title in zip(axes, ("", "batch_"), ("Batches not told", "Batches told"), strict=True):
        for method, (label, marker, whose) in shown.items():
            values = ari.loc[names, before + method]
            ax.plot(values, range(len(names)), marker, color=COLORS[whose], label=label, markersize=7, alpha=0.85)
        ax.set(title=title, xlabel="adjusted Rand index", xlim=(0, 1.02))
        ax.set_yticks(range(len(names)), names, fontsize=9)
        ax.grid(axis="y", color="#dddddd")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    for draw in (agreement, cost, number):
        draw().savefig(OUT / f"benchmark_{draw.__name__}.png", dpi=130)
