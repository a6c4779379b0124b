"""Plots of lineages: the tree that was recorded, on the cells and from left to right, and genes along its branches."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.legend import Legend
from scipy import sparse

from scdeepclust import datasets, pl, tl
from scdeepclust.pl._trends import smooth
from scdeepclust.tl._tree import EDGE

mpl.use("Agg")

import matplotlib.pyplot as plt

PARENTS = {"a": "", "b": "a", "c": "b", "d": "c", "e": "c", "f": "b"}
LOST = "x"
N = 40  # cells of a cluster


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def grown(parents=PARENTS, lost=LOST, seed=0, key="lineage"):
    """Cells as `tl.lineage` leaves them: clusters on a plane, one unit of time from each to the next."""
    rng = np.random.default_rng(seed)
    names = [*parents, *([lost] if lost else [])]
    depth, at = {"": -1}, {"": np.zeros(2)}
    for i, name in enumerate(names):
        parent = parents.get(name, "")
        depth[name] = depth[parent] + 1
        angle = 2.4 * i
        at[name] = at[parent] + 6 * np.array([np.cos(angle), np.sin(angle)]) * (i > 0)
    labels = np.repeat(names, N)
    time = np.array([depth[name] for name in labels]) + rng.uniform(0, 1, len(labels))
    time = (time - time.min()) / np.ptp(time)
    time[labels == lost] = np.nan
    x = rng.poisson(3, (len(labels), 5)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(x))
    adata.var_names = ["Gata1", "Klf1", "Mpo", "Elane", "Flat"]
    adata.obs["cluster"] = pd.Categorical(labels, names)
    adata.obs["type"] = pd.Categorical(np.where(time < 0.5, "early", "late"))
    adata.obs[f"{key}_pseudotime"] = time
    adata.obsm[f"X_{key}"] = np.array([at[name] for name in labels]) + rng.normal(0, 0.7, (len(labels), 2))
    tree = [(parent, child, 1 / (1 + i), 1.0, "", 0.0) for i, (child, parent) in enumerate(parents.items()) if parent]
    tips = [name for name in parents if name not in parents.values()]
    branches, columns = {}, {}
    for tip in tips:
        path = [tip]
        while parents[path[-1]]:
            path.append(parents[path[-1]])
        branches[tip] = np.array(path[::-1], dtype=object)
        along = np.where(np.isin(labels, path), time, np.nan)
        columns[tip] = (along - np.nanmin(along)) / (np.nanmax(along) - np.nanmin(along))
    adata.obsm[f"{key}_branches"] = pd.DataFrame(columns, index=adata.obs_names)
    by_cluster = adata.obs.groupby("cluster", observed=False)[f"{key}_pseudotime"].median()
    clusters = pd.DataFrame(
        {
            "n_cells": N,
            "pseudotime": by_cluster.to_numpy(),
            "parent": [parents.get(name, "") for name in names],
            "reachable": [name != lost for name in names],
        },
        index=pd.Index(names, name="cluster"),
    )
    first = names[0]
    adata.uns[key] = {
        "root": {"cell": adata.obs_names[int(np.nanargmin(time))], "cluster": first, "found_by": "gene Cd34"},
        "tree": pd.DataFrame(tree, columns=EDGE),
        "clusters": clusters,
        "branches": branches,
        "n_unreachable": N if lost else 0,
        "params": {"key": "cluster"},
    }
    return adata


def crowded(n=30, seed=0):
    rng = np.random.default_rng(seed)
    parents = {"0": ""} | {str(i): str(rng.integers(max(0, i - 6), i)) for i in range(1, n)}
    adata = grown(parents, lost=None)
    at = rng.uniform(0, 10, (n, 2))
    adata.obsm["X_lineage"] = np.repeat(at, N, axis=0) + rng.normal(0, 0.4, (n * N, 2))
    return adata


@pytest.fixture
def adata():
    return grown()


def edges(ax):
    return {patch.get_gid().removeprefix("edge "): patch for patch in ax.patches if patch.get_gid()}


def marked(ax, label):
    (found,) = [c for c in ax.collections if c.get_label() == label]
    return found


def nodes(ax, names):
    """Where the node of each cluster is."""
    return dict(zip(names, np.asarray(marked(ax, "_nodes").get_offsets()), strict=True))


def names(ax):
    return [text for text in ax.texts if text.get_text() and text.get_gid() != "halo"]


def key(ax):
    """Words of the key below a panel."""
    legends = [artist for artist in ax.artists if isinstance(artist, mpl.legend.Legend)]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def overlaps(boxes):
    return [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)]


PLOTS = {
    "lineage": pl.lineage,
    "trends": lambda adata, **kw: pl.trends(adata, ["Gata1", "Mpo", "Flat"], **kw),
    "heatmap": lambda adata, **kw: pl.trends(adata, ["Gata1", "Mpo", "Flat"], heatmap=True, **kw),
}


@pytest.fixture(params=PLOTS)
def plot(request, adata):
    return request.param, lambda **kw: PLOTS[request.param](adata, **kw)


# What all have in common


def test_the_data_stay_as_they_are(plot, adata, same):
    before = adata.copy()
    plot[1](show=False)
    same(adata, before)


def test_axes_are_returned_unless_shown(plot, monkeypatch):
    _, draw = plot
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    axes = draw(show=False)
    assert axes.shape == (3,)
    assert all(isinstance(ax, mpl.axes.Axes) for ax in axes)
    assert not shown
    assert draw() is None, "scanpy's settings show by default"
    assert len(shown) == 1


@pytest.mark.parametrize("extension", ["pdf", "png", "svg"])
def test_figures_are_saved(plot, tmp_path, extension):
    from scanpy import settings

    name, draw = plot
    before, settings.figdir = settings.figdir, tmp_path
    try:
        draw(show=False, save=f"_x.{extension}")
    finally:
        settings.figdir = before
    assert [path.name for path in tmp_path.iterdir()] == [f"{name.replace('heatmap', 'trends')}_x.{extension}"]
    assert not plt.get_fignums(), "a saved figure is closed"


def test_text_can_be_edited_and_cells_are_one_image(adata, tmp_path):
    pl.lineage(adata, show=False, save=tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert all(f">{name}</text>" in text for name in PARENTS)
    assert text.count("<image") == 2 + 1, "cells of two panels, and the bar of pseudotime"
    assert 'id="edge a &gt; b"' in text


def test_the_axes_of_the_user_are_drawn_in(plot):
    _, draw = plot
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    given = axes.tolist()
    assert draw(axes=axes, show=False).tolist() == given
    assert all(ax.has_data() for ax in given)
    with pytest.raises(ValueError, match="axes holds 2, but 3 are needed"):
        draw(axes=given[:2], show=False)
    assert plt.fignum_exists(figure.number)


def test_random_state_and_style_are_left_alone(plot):
    np.random.seed(0)  # noqa: NPY002
    before, style = np.random.get_state()[1].copy(), dict(mpl.rcParams)  # noqa: NPY002
    plot[1](show=False)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert dict(mpl.rcParams) == style


def test_a_lineage_by_another_name_is_found():
    adata = grown(key="paths")
    assert len(pl.lineage(adata, key="paths", show=False)) == 3
    assert len(pl.trends(adata, "Mpo", key="paths", show=False)) == 1


def test_what_was_written_to_disk_is_drawn(plot, adata, tmp_path):
    name, draw = plot
    adata.write_h5ad(tmp_path / "a.h5ad")
    for one, other in zip(draw(show=False), PLOTS[name](ad.read_h5ad(tmp_path / "a.h5ad"), show=False), strict=True):
        assert one.get_title("left") == other.get_title("left")
        assert list(edges(one)) == list(edges(other))
        for a, b in zip(one.lines, other.lines, strict=True):
            np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())


@pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS)
def test_an_absent_lineage_is_said(adata, draw):
    adata.uns["neighbors"] = {"params": {}}
    with pytest.raises(KeyError, match=r"key='absent' is not in adata.uns; there are: 'lineage', 'neighbors'"):
        draw(adata, key="absent", show=False)
    with pytest.raises(ValueError, match=r"adata.uns\['neighbors'\] holds no lineage; run sdc.tl.lineage\(adata, "):
        draw(adata, key="neighbors", show=False)
    adata.uns["old"] = adata.uns["lineage"] | {"tree": adata.uns["lineage"]["tree"][["parent", "child", "confidence"]]}
    with pytest.raises(ValueError, match=r"adata.uns\['old'\] holds no lineage"):
        draw(adata, key="old", show=False)
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        draw(np.ones(3), show=False)
    assert not plt.get_fignums(), "nothing is left half drawn"


@pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS)
def test_clusters_that_have_changed_are_refused(adata, draw):
    changed = adata[adata.obs["cluster"] != "f"].copy()
    with pytest.raises(
        ValueError, match=r"Clusters 'f' of the lineage have no cells here; run sdc.tl.lineage\(adata\) again"
    ):
        draw(changed, show=False)
    changed = adata.copy()
    changed.obs["cluster"] = adata.obs["cluster"].astype(str).replace("f", "new")
    with pytest.raises(
        ValueError,
        match=r"adata.obs\['cluster'\] has changed .*renamed \(new are 'new', gone 'f'\); run sdc.tl.lineage again",
    ):
        draw(changed, show=False)
    changed = adata.copy()
    changed.obs.loc[changed.obs["cluster"] == "f", "cluster"] = ["a"] + ["f"] * (N - 1)
    with pytest.raises(ValueError, match="has changed since the lineage was found: there are other cells"):
        draw(changed, show=False)
    del adata.obs["cluster"]
    with pytest.raises(KeyError, match=r"'cluster' is not in adata.obs"):
        draw(adata, show=False)


def test_importing_the_plots_loads_no_plotting_library():
    code = "import sys; from scdeepclust import pl; pl.lineage, pl.trends; print(*[m for m in ('matplotlib', 'scanpy', 'pandas', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# lineage


@pytest.mark.parametrize("panel", ["clusters", "tree"])
def test_edges_are_the_rows_of_the_tree_from_parent_to_child(adata, panel):
    (ax,) = pl.lineage(adata, panels=panel, show=False)
    tree, known = adata.uns["lineage"]["tree"], [*PARENTS, LOST] if panel == "clusters" else [*PARENTS]
    drawn, at = edges(ax), nodes(ax, known)
    assert set(drawn) == {f"{row.parent} > {row.child}" for row in tree.itertuples()}
    widths = [drawn[f"{row.parent} > {row.child}"].get_linewidth() for row in tree.itertuples()]
    assert widths == sorted(widths, reverse=True), "as the confidences are"
    assert len(set(widths)) == len(widths)
    ax.figure.draw_without_rendering()
    for row in tree.itertuples():
        arrow = drawn[f"{row.parent} > {row.child}"]
        assert arrow.get_arrowstyle().arrow == "-|>"
        path = arrow.get_path().vertices
        start, head = ax.transData.transform(path[[0, -2]])
        parent, child = ax.transData.transform([at[row.parent], at[row.child]])
        assert np.linalg.norm(start - parent) < np.linalg.norm(start - child)
        assert np.linalg.norm(head - child) < np.linalg.norm(head - parent)


def test_nodes_are_at_cells_in_the_middle_whatever_the_outliers(adata):
    adata.obsm["X_lineage"][0] = 1000
    ax = pl.lineage(adata, show=False)[0]
    for name, at in nodes(ax, [*PARENTS, LOST]).items():
        cells = (adata.obs["cluster"] == name).to_numpy()
        xy = adata.obsm["X_lineage"][cells]
        away = np.linalg.norm(xy - np.median(xy, axis=0), axis=1)
        np.testing.assert_allclose(at, xy[away.argmin()])


def test_the_root_is_marked_and_said(adata):
    on_cells, time, tree = pl.lineage(adata, show=False)
    for ax, known in ((on_cells, [*PARENTS, LOST]), (tree, [*PARENTS])):
        np.testing.assert_allclose(marked(ax, "_root").get_offsets()[0], nodes(ax, known)["a"])
        assert marked(ax, "_root").get_sizes() > marked(ax, "_nodes").get_sizes().max()
    assert "root: a (gene Cd34)" in key(on_cells)
    root = adata.uns["lineage"]["root"]["cell"]
    (star,) = [line for line in time.lines if line.get_gid() == "root cell"]
    np.testing.assert_allclose(star.get_xydata()[0], adata.obsm["X_lineage"][adata.obs_names.get_loc(root)])
    assert f"root: {root}" in key(time)


def test_a_root_that_is_its_cluster_is_said_once(adata):
    adata.uns["lineage"]["root"]["found_by"] = "cluster a"
    assert "root: a" in key(pl.lineage(adata, panels="tree", show=False)[0])


def test_widths_are_explained_once(adata):
    on_cells, _, tree = pl.lineage(adata, show=False)
    assert {"confidence 0.1", "0.5", "1"} <= set(key(on_cells))
    assert key(tree) == ["4 cells", "20 cells"]
    assert "confidence 0.1" in key(pl.lineage(adata, panels="tree", show=False)[0])


def test_a_second_origin_is_drawn_where_it_hands_on_a_third(adata):
    tree = adata.uns["lineage"]["tree"].set_index("child")
    tree.loc[["d", "e"], ["other", "other_share"]] = [["f", 0.34], ["f", 0.3]]
    assert not any("other origin" in text for text in key(pl.lineage(adata, show=False)[0]))
    adata.uns["lineage"]["tree"] = tree.reset_index()
    axes = pl.lineage(adata, show=False)
    assert any("other origin" in text for text in key(axes[0]))
    for ax in axes[[0, 2]]:
        assert {name for name in edges(ax) if "maybe" in name} == {"maybe f > d"}
        maybe = edges(ax)["maybe f > d"]
        assert maybe.get_linestyle() != "-"
        ends = nodes(ax, [*PARENTS, LOST] if ax is axes[0] else list(PARENTS))
        ax.figure.draw_without_rendering()
        first, last = ax.transData.transform(maybe.get_path().vertices[[0, -2]])
        at = {name: ax.transData.transform(place) for name, place in ends.items()}
        assert min(at, key=lambda name: np.linalg.norm(at[name] - first)) == "f"
        assert min(at, key=lambda name: np.linalg.norm(at[name] - last)) == "d"


def test_what_cannot_be_reached_is_hollow_and_said(adata):
    on_cells, time, tree = pl.lineage(adata, show=False)
    faces = dict(zip([*PARENTS, LOST], marked(on_cells, "_nodes").get_facecolors(), strict=True))
    assert [name for name, face in faces.items() if face[-1] == 0] == [LOST]  # its cells are seen through it
    assert f"not reached from the root: {LOST} ({N} cells)" in key(on_cells)
    assert f"not reached from the root ({N} cells)" in key(time)
    assert {text.get_text() for text in names(tree)} == set(PARENTS)
    whole = pl.lineage(grown(lost=None), show=False)
    assert not any("not reached" in words for ax in whole for words in key(ax))


def test_cells_without_a_time_are_grey(adata):
    cells = pl.lineage(adata, show=False)[1].collections[0]
    colors = [to_hex(color) for color in cells.to_rgba(cells.get_array())]
    grey = np.ma.getmaskarray(cells.get_array()) | ~np.isfinite(np.ma.getdata(cells.get_array()))
    assert grey.sum() == N == colors.count("#d0d0d0")
    assert grey[:N].all(), "under the others"
    assert cells.get_rasterized()
    assert cells.get_cmap().name == "viridis"


def test_cells_without_a_cluster_are_left_out(adata):
    adata.obs.loc[adata.obs_names[:3], "cluster"] = np.nan
    adata.obs.loc[adata.obs_names[:3], "lineage_pseudotime"] = np.nan
    adata.obsm["X_lineage"][:3] = np.nan
    on_cells, time, _ = pl.lineage(adata, show=False)
    assert len(on_cells.collections[0].get_offsets()) == adata.n_obs - 3
    assert f"not reached from the root ({N} cells)" in key(time), "those that are not drawn are not counted"


def test_a_cluster_has_one_colour_in_all_panels(adata):
    adata.uns["cluster_colors"] = [f"#{i}{i}{i}{i}ff" for i in range(1, 8)]
    wanted = dict(zip([*PARENTS, LOST], adata.uns["cluster_colors"], strict=True))
    on_cells, _, tree = pl.lineage(adata, show=False)
    faces = [*map(to_hex, marked(on_cells, "_nodes").get_facecolors())]
    assert faces[:-1] == [wanted[name] for name in PARENTS]
    assert [*map(to_hex, marked(tree, "_nodes").get_facecolors())] == faces[:-1]
    cells = on_cells.collections[0]
    at = {tuple(xy): to_hex(c) for xy, c in zip(cells.get_offsets(), cells.get_facecolors(), strict=True)}
    for xy, name in zip(adata.obsm["X_lineage"], adata.obs["cluster"], strict=True):
        assert at[tuple(xy)] == wanted[name]
    for ax in pl.trends(adata, ["Mpo", "Gata1"], show=False):
        lines = {line.get_label(): to_hex(line.get_color()) for line in ax.lines if line.get_label() in wanted}
        assert lines == {name: wanted[name] for name in "def"}


def test_cells_by_another_column(adata):
    on_cells, _, tree = pl.lineage(adata, color="type", show=False)
    assert [text.get_text() for text in on_cells.get_legend().get_texts()] == ["early", "late"]
    early, late = (to_hex(handle.get_color()) for handle in on_cells.get_legend().legend_handles)
    faces = dict(zip(PARENTS, map(to_hex, marked(tree, "_nodes").get_facecolors()), strict=True))
    assert (faces["a"], faces["d"]) == (early, late), "of most of their cells"
    assert on_cells.get_title("left") == "type"
    assert pl.lineage(adata, color="cluster", show=False)[0].get_legend() is None, "the names tell"


def test_cells_by_a_number(adata):
    adata.obs["depth"] = np.asarray(adata.X.sum(1)).ravel()
    on_cells = pl.lineage(adata, color="depth", show=False)[0]
    cells, face = on_cells.collections[0], marked(on_cells, "_nodes").get_facecolors()[0]
    middle = np.median(adata.obs.loc[adata.obs["cluster"] == "a", "depth"])
    np.testing.assert_allclose(face, cells.to_rgba([middle])[0], atol=0.01)


def test_cells_by_a_gene(adata):
    x = adata.X.toarray()
    logged = np.log1p(x / x.sum(1, keepdims=True) * np.median(x.sum(1)))[:, 0]
    on_cells = pl.lineage(adata, color="Gata1", show=False)[0]
    cells, face = on_cells.collections[0], marked(on_cells, "_nodes").get_facecolors()[0]
    assert on_cells.get_title("left") == "Gata1"
    np.testing.assert_allclose(np.sort(cells.get_array()), np.sort(logged), rtol=1e-5)
    middle = logged[adata.obs["cluster"] == "a"].mean()
    np.testing.assert_allclose(face, cells.to_rgba([middle])[0], atol=0.01)


def test_clusters_that_are_numbers_are_categories(adata):
    numbers = {name: str(i) for i, name in enumerate([*PARENTS, LOST])}
    parents = {numbers[name]: numbers.get(parent, "") for name, parent in PARENTS.items()}
    other = grown(parents, lost=numbers[LOST])
    other.obs["cluster"] = other.obs["cluster"].astype(int)
    ax = pl.lineage(other, show=False)[0]
    assert {text.get_text() for text in names(ax)} == set(numbers.values())
    assert len(np.unique(ax.collections[0].get_facecolors(), axis=0)) == len(numbers)


def test_from_left_to_right_is_time(adata):
    ax = pl.lineage(adata, panels="tree", show=False)[0]
    at = nodes(ax, [*PARENTS])
    for name, (x, _) in at.items():
        assert x == pytest.approx(adata.uns["lineage"]["clusters"].loc[name, "pseudotime"])
    rows = {name: y for name, (_, y) in at.items()}
    assert len({round(rows[name], 3) for name in "def"}) == 3, "each tip has its row"
    assert min(rows["d"], rows["e"]) < rows["c"] < max(rows["d"], rows["e"]), "a fork is in between"


def test_areas_are_numbers_of_cells(adata):
    """Of those that are there."""
    kept = dict(zip([*PARENTS, LOST], [10, 40, 20, 30, 10, 5, 4], strict=True))
    few = adata[adata.obs.groupby("cluster", observed=True).cumcount() < adata.obs["cluster"].map(kept).astype(int)]
    sizes = marked(pl.lineage(few.copy(), panels="tree", show=False)[0], "_nodes").get_sizes()
    np.testing.assert_allclose(sizes / sizes[1], np.array([10, 40, 20, 30, 10, 5]) / 40, rtol=1e-6)


def test_what_was_not_reached_may_be_left_out(adata):
    left = adata[adata.obs["cluster"] != LOST].copy()
    on_cells = pl.lineage(left, show=False)[0]
    assert set(nodes(on_cells, [*PARENTS])) == set(PARENTS)
    said = [text.get_text() for legend in on_cells.findobj(Legend) for text in legend.get_texts()]
    assert not any("not reached" in text for text in said)


def test_a_branch_is_drawn_where_all_of_its_cells_are(adata):
    branch = adata.uns["lineage"]["branches"]["d"]
    left = adata[adata.obs["cluster"].isin(branch)].copy()
    (ax,) = pl.trends(left, "Gata1", branches="d", show=False)
    assert len(ax.lines) == 1
    with pytest.raises(ValueError, match="of the lineage have no cells here"):
        pl.trends(left, "Gata1", show=False)


def test_colours_of_a_tree_alone_are_explained(adata):
    ax, *others = pl.lineage(adata, panels=["tree", "pseudotime"], color="Mpo", show=False)
    assert ax.get_title("left") == "tree, by Mpo"
    labels = [other.get_ylabel() for other in ax.figure.axes if other not in {ax, *others}]
    assert "Mpo\nlog-normalised counts" in labels + [child.get_ylabel() for child in ax.child_axes]
    (ax,) = pl.lineage(adata, panels="tree", color="type", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["early", "late"]


def test_a_cell_that_is_not_drawn_needs_no_denoised_value(adata):
    adata.layers["denoised"] = adata.X.toarray()
    adata.layers["denoised"][3] = np.nan
    adata.obsm["X_lineage"][3] = np.nan
    ax = pl.lineage(adata, color="Gata1", panels="clusters", show=False)[0]
    assert [child.get_ylabel() for child in ax.child_axes] == ["Gata1\ndenoised"]


def test_the_layer_of_a_gene(adata):
    adata.layers["twice"] = adata.X.toarray() * 2.5
    ax = pl.lineage(adata, color="Mpo", layer="twice", panels="clusters", show=False)[0]
    np.testing.assert_allclose(np.sort(ax.collections[0].get_array()), np.sort(adata.layers["twice"][:, 2]))
    with pytest.raises(KeyError, match=r"layer='none' is not in adata.layers"):
        pl.lineage(adata, color="Mpo", layer="none", show=False)


def mixed(colors):
    """The first as a word, the others as numbers."""
    return [to_hex(colors[0]), *colors[1:]]


@pytest.mark.parametrize("given", [dict, np.asarray, mixed], ids=["by name", "array", "mixed"])
def test_colours_of_the_user(adata, given):
    names = [*PARENTS, LOST]
    colors = {name: to_rgb(f"C{i}") for i, name in enumerate(names)}
    adata.uns["cluster_colors"] = colors if given is dict else given(list(colors.values()))
    faces = dict(zip(names, marked(pl.lineage(adata, show=False)[0], "_nodes").get_facecolors(), strict=True))
    for name in PARENTS:
        np.testing.assert_allclose(faces[name][:3], colors[name], atol=1e-2)


def test_what_is_no_colour_is_said_and_others_are_drawn(adata):
    usual = marked(pl.lineage(adata, show=False)[0], "_nodes").get_facecolors()
    adata.uns["cluster_colors"] = ["steelblue3"] * 7
    with pytest.warns(UserWarning, match="'cluster_colors'.* has 'steelblue3', which is no colour"):
        found = marked(pl.lineage(adata, show=False)[0], "_nodes").get_facecolors()
    np.testing.assert_array_equal(found, usual)


def test_genes_of_a_heatmap_are_by_their_peaks_or_as_given(adata):
    """Each by the branch where it is highest, not by noise on the first one."""
    time, branch = adata.obs["lineage_pseudotime"].to_numpy(), adata.uns["lineage"]["branches"]
    on = {tip: adata.obs["cluster"].isin(path).to_numpy() for tip, path in branch.items()}
    first, last = next(iter(on)), list(on)[-1]
    x = adata.X.toarray()
    x[:, :4] = 1.0
    for i, (tip, at) in enumerate([(last, 0.9), (first, 0.9), (last, 0.1), (first, 0.1)]):
        own = on[tip] & ~np.any([cells for name, cells in on.items() if name != tip], axis=0) if at > 0.5 else on[tip]
        x[:, i] += np.where(own, 20 * np.exp(-(((np.nan_to_num(time) - at) / 0.15) ** 2)), 0)
    adata.X = sparse.csr_matrix(x + 0.01)
    genes = ["Gata1", "Klf1", "Mpo", "Elane"]
    shown = [text.get_text() for text in pl.trends(adata, genes, heatmap=True, show=False)[0].get_yticklabels()]
    assert shown.index("Klf1") < shown.index("Gata1")
    ax = pl.trends(adata, genes, heatmap=True, sort=False, show=False)[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == genes


def test_no_grid_of_scanpys_settings_lies_across_plots(adata):
    with mpl.rc_context({"axes.grid": True}):
        axes = pl.lineage(adata, show=False)
        everywhere = [*axes[0].figure.axes, *(child for ax in axes for child in ax.child_axes)]
        assert not any(line.get_visible() for ax in everywhere for line in [*ax.get_xgridlines(), *ax.get_ygridlines()])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_clusters_are_all_named_and_no_names_overlap(seed):
    adata = crowded(seed=seed)
    on_cells, _, tree = pl.lineage(adata, show=False)
    on_cells.figure.draw_without_rendering()
    for ax in (on_cells, tree):
        found = names(ax)
        assert {text.get_text() for text in found} == {str(i) for i in range(30)}
        boxes = [mpl.text.Text.get_window_extent(text) for text in found]
        assert not overlaps(boxes)
        frame = ax.get_window_extent().padded(5)
        assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
        assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert on_cells.get_legend() is None
    middles = tree.transData.transform(marked(tree, "_nodes").get_offsets())
    radii = np.sqrt(marked(tree, "_nodes").get_sizes()) / 2 * tree.figure.dpi / 72
    apart = np.linalg.norm(middles[:, None] - middles, axis=2) - radii[:, None] - radii
    assert apart[~np.eye(30, dtype=bool)].min() > 0


def test_names_are_beside_their_own_nodes(adata):
    ax = pl.lineage(adata, show=False)[0]
    ax.figure.draw_without_rendering()
    at = {name: ax.transData.transform(xy) for name, xy in nodes(ax, [*PARENTS, LOST]).items()}
    for text in names(ax):
        box = mpl.text.Text.get_window_extent(text)
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        assert min(at, key=lambda name: np.linalg.norm(at[name] - middle)) == text.get_text()
        assert not any(box.contains(*xy) for xy in at.values())


def test_names_without_room_are_in_a_legend(adata):
    parents = {"root of all that is long" * 2: ""} | {
        f"a very long name of a cluster {i}": "root of all that is long" * 2 for i in range(24)
    }
    adata = grown(parents, lost=None)
    adata.obsm["X_lineage"] /= 50
    adata.obsm["X_lineage"][0] = 10
    on_cells = pl.lineage(adata, show=False)[0]
    assert [text.get_text() for text in on_cells.get_legend().get_texts()] == [*parents]
    on_cells.figure.draw_without_rendering()
    assert not overlaps([mpl.text.Text.get_window_extent(text) for text in names(on_cells)])
    by_type = pl.lineage(adata, color="type", show=False)[0]
    assert any("no room for" in text.get_text() for text in by_type.texts)


def test_a_root_alone_is_drawn():
    adata = grown({"a": ""})
    on_cells, _, tree = pl.lineage(adata, show=False)
    assert not edges(on_cells)
    assert [text.get_text() for text in names(tree)] == ["a"]


def test_time_that_goes_back_is_drawn_so(adata):
    adata.uns["lineage"]["clusters"].loc["c", "pseudotime"] = 0.01
    ax = pl.lineage(adata, panels="tree", show=False)[0]
    at = nodes(ax, [*PARENTS])
    assert at["c"][0] < at["b"][0]
    assert abs(at["c"][1] - at["b"][1]) > 0.4, "not on top of the way there"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"color": "leiden"},
            KeyError,
            r"color='leiden' is no column of adata.obs \(there are: 'cluster', 'type'.* and no gene",
        ),
        ({"panels": ["umap"]}, ValueError, r"panels=\['umap'\]: give one or more of 'clusters', 'pseudotime', 'tree'"),
        ({"color": ["cluster", "type"]}, TypeError, r"color=\['cluster', 'type'\] must be one name"),
        ({"panels": []}, ValueError, r"panels=\[\]"),
        ({"panels": ["tree", "tree"]}, ValueError, r"each once"),
    ],
)
def test_mistakes_are_named(adata, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.lineage(adata, show=False, **arguments)
    assert not plt.get_fignums()


@pytest.mark.slow
def test_a_lineage_that_was_found_is_drawn():
    adata = datasets.simulate_lineage(300, 100, n_branches=2)
    x = np.log1p(adata.X.toarray())
    x -= x.mean(0)
    adata.obsm["X_pca"] = np.linalg.svd(x, full_matrices=False)[0][:, :5]
    tl.lineage(adata, "cell_type", root={"cell_type": "S0"}, use_rep="X_pca", fates=None)
    on_cells, _, tree = pl.lineage(adata, show=False)
    assert len(edges(on_cells)) == len(edges(tree)) == len(adata.uns["lineage"]["tree"])
    assert len(pl.trends(adata, adata.var_names[:2], show=False)) == 2


# trends


def curve(ax, name):
    (line,) = [line for line in ax.lines if line.get_label() == name]
    return line.get_xdata(), line.get_ydata()


def test_a_panel_for_each_gene_and_a_curve_for_each_branch(adata):
    axes = pl.trends(adata, ["Mpo", "Gata1", "Mpo"], show=False)
    assert [ax.get_title("left") for ax in axes] == ["Mpo", "Gata1"]
    for ax in axes:
        assert {line.get_label() for line in ax.lines} - {"_several"} == {"d", "e", "f"}
    (legend,) = [ax.get_legend() for ax in axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["d", "e", "f", "several"]
    one = pl.trends(adata, "Mpo", branches="f", show=False)[0]
    assert [line.get_label() for line in one.lines] == ["f"], "a single branch shares nothing"


def test_rows_of_panels_are_as_long_as_asked(adata):
    axes = pl.trends(adata, list(adata.var_names), ncols=2, show=False)
    assert len({round(ax.get_position().x0, 2) for ax in axes}) == 2
    assert len(axes) == len(axes[0].figure.axes) == 5
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, False, True, True]


def test_branches_are_one_as_long_as_they_share_their_cells(adata):
    ax = pl.trends(adata, "Mpo", show=False)[0]
    x, one = curve(ax, "d")
    _, other = curve(ax, "e")
    clusters = adata.uns["lineage"]["clusters"]["pseudotime"]
    trunk = x < clusters["b"]
    np.testing.assert_array_equal(one[trunk], other[trunk])
    assert np.nanmax(np.abs(one - other)[~trunk]) > 0
    grey = [line for line in ax.lines if line.get_label() == "_several"]
    drawn = np.isfinite(np.array([line.get_ydata() for line in grey]))
    assert drawn[:, x < clusters["a"]].sum(0).max() == 1, "the trunk is drawn once"
    assert not drawn[:, x > clusters["d"]].any()


def test_curves_are_over_the_pseudotime_of_all(adata):
    ax = pl.trends(adata, "Mpo", show=False)[0]
    time = adata.obs["lineage_pseudotime"]
    for tip in "def":
        x, y = curve(ax, tip)
        on = adata.obsm["lineage_branches"][tip].notna()
        there = x[np.isfinite(y)]
        assert time[on].min() - 0.01 <= there.min() < 0.1
        assert there.max() <= time[on].max() + 0.01


def test_denoised_values_need_be_there_only_where_they_are_drawn(adata):
    undrawn = adata.obs["lineage_pseudotime"].isna().to_numpy()
    assert undrawn.any()
    layer = np.where(undrawn[:, None], np.nan, 2.5 * np.ones(adata.shape))
    adata.layers["denoised"] = layer
    assert pl.trends(adata, "Mpo", show=False)[0].get_ylabel() == "denoised"
    layer[:, adata.var_names.get_loc("Mpo")] = np.nan  # a gene that the network did not read
    adata.layers["denoised"] = layer
    assert pl.trends(adata, "Mpo", show=False)[0].get_ylabel() != "denoised"
    with pytest.raises(ValueError, match="denoised holds"):
        pl.trends(adata, "Mpo", layer="denoised", show=False)


def test_values_are_the_layer_or_the_denoised_or_normalised(adata):
    counts = adata.X.toarray()
    adata.layers["ones"] = np.full(adata.shape, 1.5)
    flat = pl.trends(adata, "Mpo", layer="ones", show=False)[0]
    assert flat.get_ylabel() == "ones"
    y = curve(flat, "d")[1]
    np.testing.assert_allclose(y[np.isfinite(y)], 1.5)
    normal = pl.trends(adata, "Mpo", show=False)[0]
    assert normal.get_ylabel() == "log-normalised counts"
    depth = counts.sum(1, keepdims=True)
    adata.layers["logged"] = np.log1p(counts / depth * np.median(depth))
    logged = pl.trends(adata, "Mpo", layer="logged", show=False)[0]
    np.testing.assert_allclose(curve(logged, "d")[1], curve(normal, "d")[1], rtol=1e-6)
    adata.layers["denoised"] = sparse.csr_matrix(2.5 * np.ones(adata.shape))
    denoised = pl.trends(adata, "Mpo", show=False)[0]
    assert denoised.get_ylabel() == "denoised"
    y = curve(denoised, "d")[1]
    np.testing.assert_allclose(y[np.isfinite(y)], 2.5)


def test_a_gene_that_is_nowhere_has_an_axis(adata):
    adata.layers["zero"] = np.zeros(adata.shape)
    for heatmap in (False, True):
        axes = pl.trends(adata, ["Mpo"], layer="zero", heatmap=heatmap, show=False)
        axes[0].figure.draw_without_rendering()


def test_the_fit_is_that_of_a_line():
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(0, 1, 4000))
    values = np.stack([3 + 2 * time, np.full_like(time, 5.0)], axis=1)
    grid = np.linspace(0, 1, 41)
    mean, error = smooth(time, values, grid, 0.05)
    there = np.isfinite(mean).all(1)
    assert there[1:-1].all()
    np.testing.assert_allclose(mean[there, 0], 3 + 2 * grid[there], atol=0.01)
    np.testing.assert_allclose(mean[there, 1], 5)
    assert np.nanmax(error) < 0.01


def test_the_band_holds_the_truth():
    grid, inside = np.linspace(0.1, 0.9, 9), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        time = rng.uniform(0, 1, 400)
        values = (3 + time + rng.normal(0, 0.2 + time))[:, None]
        mean, error = smooth(time, values, grid, 0.06)
        inside.append(np.abs(mean[:, 0] - 3 - grid) < 1.96 * error[:, 0])
    assert 0.9 < np.mean(inside) < 0.98


def test_there_is_no_curve_where_there_are_no_cells():
    time = np.concatenate([np.linspace(0, 0.3, 200), [0.5], np.linspace(0.7, 1, 200)])
    values = np.column_stack([time])
    mean, error = smooth(time, values, np.linspace(-0.5, 1.5, 201), 0.05)
    grid = np.linspace(-0.5, 1.5, 201)
    gone = (grid < -0.05) | ((grid > 0.36) & (grid < 0.64)) | (grid > 1.05)
    assert np.isnan(mean[gone]).all()
    assert np.isnan(error[gone]).all()
    assert np.isfinite(mean[((grid > 0.01) & (grid < 0.29)) | ((grid > 0.71) & (grid < 0.99))]).all()
    assert np.isnan(smooth(np.empty(0), np.empty((0, 1)), grid, 0.05)[0]).all()


def test_a_heatmap_is_ordered_by_the_peaks(adata):
    time = adata.obs["lineage_pseudotime"].fillna(0).to_numpy()
    peaks = {"Gata1": 0.8, "Klf1": 0.1, "Mpo": 0.5}
    adata.layers["bumps"] = np.zeros(adata.shape)
    for gene, peak in peaks.items():
        adata.layers["bumps"][:, adata.var_names.get_loc(gene)] = np.exp(-(((time - peak) / 0.2) ** 2))
    (ax,) = pl.trends(adata, list(peaks), layer="bumps", branches="d", heatmap=True, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Klf1", "Mpo", "Gata1"]
    (image,) = ax.images
    values = np.ma.filled(image.get_array(), np.nan)
    assert values.shape == (3, 200)
    np.testing.assert_allclose(np.nanmax(values, axis=1), 1)
    np.testing.assert_allclose(np.nanmin(values, axis=1), 0)
    assert ax.get_title("left") == "branch to d"
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c", "d"], "the clusters on top, in their order"
    assert len(pl.trends(adata, list(peaks), heatmap=True, show=False)) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": ["gata1"]}, KeyError, r"genes='gata1' is not .*; the nearest are: 'Gata1'"),
        ({"genes": []}, ValueError, r"genes is empty"),
        ({"branches": "z"}, KeyError, r"branches='z' is not in .*lineage_branches.*; there are: 'd', 'e', 'f'"),
        ({"branches": []}, ValueError, r"branches is empty"),
        ({"layer": "magic"}, KeyError, r"layer='magic' is not in adata.layers"),
        ({"bandwidth": 0}, ValueError, r"bandwidth=0 must be a share"),
        ({"n_points": 1}, ValueError, r"n_points=1 must be an integer of at least 2"),
        ({"ncols": 0}, ValueError, r"ncols=0 must be an integer of at least 1"),
    ],
)
def test_mistakes_in_trends_are_named(adata, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.trends(adata, **{"genes": ["Mpo"], "show": False} | arguments)
    assert not plt.get_fignums()


def test_values_that_are_not_finite_are_refused(adata):
    adata.layers["holes"] = np.full(adata.shape, np.nan)
    with pytest.raises(ValueError, match=r"holes holds .* NaN"):
        pl.trends(adata, "Mpo", layer="holes", show=False)
    adata.X = None
    with pytest.raises(ValueError, match=r"adata.X is None; name the layer"):
        pl.trends(adata, "Mpo", show=False)


def test_a_cluster_with_a_slash_in_its_name_is_drawn():
    parents = {name.replace("d", "CD4/CD8"): parent for name, parent in PARENTS.items()}
    adata = grown(parents)
    record, table = adata.uns["lineage"], adata.obsm["lineage_branches"]
    record["branches"] = {name.replace("/", "|"): path for name, path in record["branches"].items()}
    adata.obsm["lineage_branches"] = table.rename(columns=lambda name: name.replace("/", "|"))
    adata.uns["cluster_colors"] = [f"#{i}{i}{i}{i}ff" for i in range(1, 8)]
    (ax,) = pl.trends(adata, "Mpo", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CD4/CD8", "e", "f", "several"]
    (line,) = [line for line in ax.lines if line.get_label() == "CD4/CD8"]
    assert to_hex(line.get_color()) == "#4444ff"
    for name in ("CD4/CD8", "CD4|CD8"):
        (ax,) = pl.trends(adata, ["Mpo", "Flat"], branches=name, heatmap=True, show=False)
        assert ax.get_title("left") == "branch to CD4/CD8"


def test_cells_that_are_noise_belong_to_no_cluster():
    adata = grown(lost="noise")
    adata.uns["cluster"] = {"params": {"cluster": "hdbscan"}}
    adata.uns["lineage"]["clusters"] = adata.uns["lineage"]["clusters"].drop("noise")
    adata.obsm["X_lineage"][adata.obs["cluster"] == "noise"] = np.nan
    on_cells = pl.lineage(adata, show=False)[0]
    assert {text.get_text() for text in names(on_cells)} == set(PARENTS)
    assert len(pl.trends(adata, "Mpo", heatmap=True, show=False)) == 3


def test_the_legend_is_beside_the_last_of_the_axes_of_the_user(adata):
    axes = pl.trends(adata, ["Mpo", "Flat"], axes=plt.subplots(1, 2)[1], show=False)
    assert [ax.get_legend() is not None for ax in axes] == [False, True]


def test_branches_without_a_pseudotime_are_said(adata):
    adata.obs["lineage_pseudotime"] = np.nan
    with pytest.raises(ValueError, match=r"No cell on the branches to 'f' has a pseudotime in .*lineage_pseudotime"):
        pl.trends(adata, "Mpo", branches="f", show=False)
    assert not plt.get_fignums()


@pytest.mark.parametrize("heatmap", [False, True])
def test_branches_of_few_cells_have_no_curves(adata, heatmap):
    few = adata[np.arange(adata.n_obs) % N == 0].copy()
    (ax,) = pl.trends(few, "Mpo", branches="f", heatmap=heatmap, show=False)
    (drawn,) = [np.ma.filled(image.get_array(), np.nan) for image in ax.images] or [curve(ax, "f")[1]]
    assert np.isnan(drawn).all()


@pytest.mark.parametrize("late", [0, 1])
def test_a_few_cells_far_later_than_all_others_take_no_colours_from_these(late):
    adata = grown()
    time = adata.obs["lineage_pseudotime"].to_numpy(copy=True)
    latest = np.nanmax(time)
    time[np.nanargmax(time)] = 10 * latest if late else latest
    adata.obs["lineage_pseudotime"] = time
    ax = pl.lineage(adata, panels=["pseudotime"], show=False)[0]
    assert ax.collections[0].get_clim()[1] == pytest.approx(latest, rel=0.2)
