"""Plots: what is drawn is what was recorded, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse

from scdeepclust import pl

mpl.use("Agg")

import matplotlib.pyplot as plt

PCS = [2, 5, 10, 15, 20, 30, 40, 50]
NEIGHBORS = [1, 2, 3, 5, 8, 13, 20, 35, 60, 100]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def point(row):
    return {name: row[name] for name in ("n_pcs", "n_neighbors", "weights", "n_steps", "loss")}


def losses(steps=1, pcs=PCS):
    """A bowl over neighbours and PCs: smoother than any loss, with its minimum at 20 PCs and 13 neighbours."""
    rows = []
    for n_pcs in pcs:
        for n in NEIGHBORS:
            for weights in ("uniform", "distance"):
                for step in range(1, 1 + (steps if n_pcs == 20 and weights == "uniform" else 1)):
                    bowl = 1 + 0.05 * np.log(n / 13) ** 2 + 0.03 * np.log(n_pcs / 20) ** 2 + 0.02 * (step - 1)
                    rows.append((n_pcs, n, weights, step, bowl + 0.01 * (weights == "distance"), 0.004))
    table = pd.DataFrame(rows, columns=["n_pcs", "n_neighbors", "weights", "n_steps", "loss", "loss_se"])
    table["excess"], table["excess_se"] = table["loss"] - table["loss"].min(), 0.001
    return table


def tuned(steps=1, mean=1.2, pcs=PCS):
    table = losses(steps, pcs)
    is_choice = (table["n_pcs"] == 10) & (table["n_neighbors"] == 20)
    record = {
        "connectivities_key": "n2s_connectivities",
        "loss": table,
        "choice": point(table[is_choice & (table["weights"] == "uniform")].iloc[0]),
        "minimum": point(table.loc[table["loss"].idxmin()]),
        "references": {"self": 1.9} | ({} if mean is None else {"mean": mean}),
    }
    return ad.AnnData(np.ones((4, 3), dtype=np.float32), uns={"n2s": record})


def chosen(n_found=3):
    """A record of `tl.n_clusters`: six clusters, of which all but `n_found` were joined."""
    k = np.arange(1, 21)
    curve = pd.DataFrame({"n_clusters": k, "loss": 2 + 10 / k, "loss_se": 0.05, "stability": 1 / np.sqrt(k)})
    joins = pd.DataFrame(
        {
            "cluster": ["4", "3", "0", "0+1", "0+1+2"],
            "joined": ["5", "4+5", "1", "2", "3+4+5"],
            "n_cluster": [20, 30, 90, 160, 210],
            "n_joined": [10, 30, 70, 50, 60],
            "signal": [0.01, 0.03, 0.06, 0.2, 0.6],
            "n_clusters": [5, 4, 3, 2, 1],
        }
    )
    joins["done"] = joins["n_clusters"] >= n_found
    return {
        "n_clusters": n_found,
        "knee": 4,
        "curve": curve,
        "joins": joins,
        "stability": 0.9,
        "gain": 5.0,
        "gain_se": 0.5,
        "params": {"min_signal": 0.075, "scheme": "count_split"},
    }


def counted(**changes):
    record = {k: v for k, v in (chosen() | changes).items() if v is not None}
    return ad.AnnData(np.ones((4, 3), dtype=np.float32), uns={"n_clusters": record})


@pytest.fixture
def genes():
    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, (60, 4)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(x))
    adata.var_names = ["Gata1", "Klf1", "Mpo", "Flat"]
    adata.layers["denoised"] = x @ np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32)
    adata.layers["scaled"] = x - x.mean(0)
    adata.obs["type"] = pd.Categorical(np.repeat(["a", "b", "c"], 20))
    adata.obs["depth"] = x.sum(1)
    return adata


def lines(ax, label=None):
    """Lines of the data with this label, or those that are labelled by a number."""
    if label is None:
        return [line for line in ax.lines if line.get_label().isdigit()]
    return [line for line in ax.lines if line.get_label() == label]


def at(ax, label):
    """Where the only mark with this label is."""
    (mark,) = lines(ax, label)
    (x,), (y,) = mark.get_data()
    return float(x), float(y)


def names(ax):
    return {text.get_text() for text in ax.texts}


PLOTS = {
    "denoise": (tuned, pl.denoise),
    "n_clusters": (counted, pl.n_clusters),
    "gene_pairs": (None, lambda adata, **kw: pl.gene_pairs(adata, ("Gata1", "Klf1"), color="type", **kw)),
}


@pytest.fixture(params=PLOTS)
def plot(request, genes):
    make, draw = PLOTS[request.param]
    adata = genes if make is None else make()
    return request.param, adata, lambda **kw: draw(adata, **kw)


# What all have in common


def test_the_data_stay_as_they_are(plot, same):
    _, adata, draw = plot
    before = adata.copy()
    draw(show=False)
    same(adata, before)


def test_axes_are_returned_unless_shown(plot, monkeypatch):
    _, _, draw = plot
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    assert isinstance(draw(show=False).flat[0], mpl.axes.Axes)
    assert not shown
    assert draw(show=True) is None
    assert draw() is None, "scanpy's settings show by default"
    assert len(shown) == 2


@pytest.fixture
def folder(tmp_path):
    """Where scanpy is told to save figures."""
    from scanpy import settings

    before, settings.figdir = settings.figdir, tmp_path / "figures"
    yield tmp_path / "figures"
    settings.figdir = before


@pytest.mark.parametrize(("save", "ending"), [(True, ".pdf"), ("_x.png", "_x.png"), (".svg", ".svg")])
def test_figures_are_saved_where_scanpy_saves_them(plot, folder, save, ending):
    name, _, draw = plot
    draw(show=False, save=save)
    assert [path.name for path in folder.iterdir()] == [f"{name}{ending}"]
    assert not plt.get_fignums(), "a saved figure is closed"


def test_a_path_is_the_file_itself(plot, tmp_path):
    _, _, draw = plot
    draw(show=False, save=tmp_path / "new" / "figure.svg")
    text = (tmp_path / "new" / "figure.svg").read_text()
    assert "<text" in text, "text can be edited"


def test_an_absolute_path_in_text_is_the_file_itself_too(plot, folder, tmp_path):
    _, _, draw = plot
    draw(show=False, save=str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").exists()
    assert not folder.exists()


def test_the_axes_of_the_user_are_drawn_in(plot):
    _, _, draw = plot
    n = draw(show=False).size
    figure, axes = plt.subplots(1, n)
    given = axes.tolist()
    assert draw(axes=axes, show=False).ravel().tolist() == given
    assert all(ax.has_data() for ax in given)
    with pytest.raises(ValueError, match=rf"axes holds 5, but {n} are needed"):
        draw(axes=[*given, *given, *given][:5], show=False)
    assert plt.fignum_exists(figure.number)


def test_random_state_and_style_are_left_alone(plot):
    _, _, draw = plot
    np.random.seed(0)  # noqa: NPY002
    before, style = np.random.get_state()[1].copy(), dict(mpl.rcParams)  # noqa: NPY002
    draw(show=False)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert dict(mpl.rcParams) == style


@pytest.mark.parametrize("draw", [pl.denoise, pl.n_clusters])
def test_an_absent_key_lists_those_there_are(draw):
    adata = tuned()
    adata.uns["neighbors"] = {"params": {}}
    with pytest.raises(KeyError, match=r"key='absent' is not in adata.uns; there are: 'n2s', 'neighbors'"):
        draw(adata, key="absent", show=False)
    with pytest.raises(
        ValueError, match=r"adata.uns\['neighbors'\] .*run |adata.uns\['neighbors'\] .*sdc.pp.neighbors"
    ):
        draw(adata, key="neighbors", show=False)
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        draw(np.ones(3), show=False)


def test_importing_the_plots_loads_no_plotting_library():
    code = "import sys; from scdeepclust import pl; pl.denoise, pl.n_clusters, pl.gene_pairs; print(*[m for m in ('matplotlib', 'scanpy', 'pandas', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# denoise


def test_one_line_for_each_number_of_pcs():
    ax = pl.denoise(tuned(), show=False)[0]
    assert [line.get_label() for line in lines(ax)] == [str(n) for n in PCS]
    assert len({to_hex(line.get_color()) for line in lines(ax)}) == len(PCS)
    (line,) = lines(ax, "20")
    expected = losses().query("n_pcs == 20 and weights == 'uniform' and n_steps == 1")
    np.testing.assert_array_equal(line.get_xdata(), expected["n_neighbors"])
    np.testing.assert_array_equal(line.get_ydata(), expected["loss"])


def test_the_chosen_and_the_least_are_where_they_belong():
    adata = tuned()
    by_neighbors, by_pcs = pl.denoise(adata, show=False)
    choice, minimum = adata.uns["n2s"]["choice"], adata.uns["n2s"]["minimum"]
    assert at(by_neighbors, "chosen") == (20, choice["loss"])
    assert at(by_neighbors, "minimum") == (13, minimum["loss"])
    assert at(by_pcs, "chosen") == (10, choice["loss"])
    assert at(by_pcs, "minimum") == (20, minimum["loss"])
    for ax in (by_neighbors, by_pcs):
        low, high = ax.get_ylim()
        assert low < minimum["loss"] <= choice["loss"] < high


def test_what_was_chosen_is_said():
    assert pl.denoise(tuned(), show=False)[0].get_title("left") == "chosen: 10 PCs, 20 neighbours\nuniform weights"
    adata = tuned()
    record = adata.uns["n2s"]
    record["loss"] = record["loss"].query("weights == 'uniform'")
    assert pl.denoise(adata, show=False)[0].get_title("left") == "chosen: 10 PCs, 20 neighbours"


def test_against_pcs_the_best_of_each():
    (line,) = [line for line in pl.denoise(tuned(), show=False)[1].lines if len(line.get_xdata()) == len(PCS)][:1]
    best = losses().query("weights == 'uniform'").groupby("n_pcs")["loss"].min()
    np.testing.assert_array_equal(line.get_xdata(), best.index)
    np.testing.assert_array_equal(line.get_ydata(), best)


def test_steps_have_a_panel_where_several_were_tried():
    assert len(pl.denoise(tuned(), show=False)) == 2
    axes = pl.denoise(tuned(steps=3), show=False)
    assert len(axes) == 3
    assert axes[2].get_title("left") == "20 PCs, uniform weights"
    drawn = {int(line.get_label()) for line in lines(axes[2])}
    assert 13 in drawn, "what is marked is drawn"
    assert drawn <= set(NEIGHBORS)
    assert len(drawn) <= 8
    assert at(axes[2], "minimum") == (1, losses()["loss"].min())
    assert not lines(axes[2], "chosen"), "which has other PCs"


def test_a_point_of_more_steps_is_tied_to_its_line():
    adata = tuned(steps=2)
    table = adata.uns["n2s"]["loss"]
    row = table.query("n_pcs == 20 and n_neighbors == 8 and n_steps == 2").index[0]
    table.loc[row, "loss"] = 0.9
    adata.uns["n2s"]["choice"] = adata.uns["n2s"]["minimum"] = point(table.loc[row])
    axes = pl.denoise(adata, show=False)
    before = table.query("n_pcs == 20 and n_neighbors == 8 and n_steps == 1 and weights == 'uniform'")["loss"].item()
    assert at(axes[0], "chosen") == (8, 0.9)
    np.testing.assert_allclose(lines(axes[0], "_thread")[0].get_ydata(), [before, 0.9])
    assert at(axes[2], "chosen") == (2, 0.9)
    assert axes[0].get_title("left").endswith("uniform weights, 2 steps")


@pytest.mark.parametrize(("mean", "drawn"), [(1.2, True), (50.0, False)])
def test_the_mean_of_all_cells_never_squashes_the_curves(mean, drawn):
    ax = pl.denoise(tuned(mean=mean), show=False)[0]
    assert bool(lines(ax, "_mean")) == drawn
    assert ax.get_ylim()[1] < 3
    assert names(ax) == {"mean of all cells" if drawn else "mean of all cells: 50"}


def test_no_line_is_cut_off_whole():
    ax = pl.denoise(tuned(mean=None), show=False)[0]
    top = ax.get_ylim()[1]
    assert all(line.get_ydata().min() < top for line in lines(ax))


def test_references_may_be_absent():
    adata = tuned()
    del adata.uns["n2s"]["references"]
    ax = pl.denoise(adata, show=False)[0]
    assert not lines(ax, "_mean")
    assert not ax.texts


def test_a_table_of_one_value_is_drawn():
    adata = tuned()
    record = adata.uns["n2s"]
    record["loss"] = record["loss"].query("n_pcs == 10 and n_neighbors == 20 and weights == 'uniform'")
    record["minimum"] = record["choice"]
    axes = pl.denoise(adata, show=False)
    axes[0].figure.draw_without_rendering()
    assert at(axes[0], "chosen") == at(axes[0], "minimum")


# n_clusters


def test_the_number_and_the_knee_are_on_the_curve():
    axes = pl.n_clusters(counted(), show=False)
    assert at(axes[0], "chosen") == (3, 2 + 10 / 3)
    assert at(axes[0], "knee of the curve") == (4, 4.5)
    (null,) = lines(axes[0], "_null")
    assert set(null.get_ydata()) == {12.0}
    assert axes[0].get_yscale() == "log", "a loss that falls to a fifth"
    assert axes[0].get_title("left") == "chosen: 3 clusters\ngain over a single one: 10 standard errors"


def test_stability_is_of_the_chosen_partition():
    ax = pl.n_clusters(counted(), show=False)[1]
    assert at(ax, "chosen partition") == (3, 0.9)
    (curve,) = lines(ax, "k-means")
    assert curve.get_xdata().min() == 2, "a single cluster is always stable"


def test_what_the_user_took_instead_has_no_stability():
    axes = pl.n_clusters(counted(chosen_by="agreement of halves"), show=False)
    assert "on which the halves of cells agree" in axes[0].get_title(loc="left")
    axes = pl.n_clusters(counted(chosen_by="user"), show=False)
    assert not lines(axes[1], "chosen partition")
    assert axes[0].get_title("left").startswith("taken by the user: 3 clusters")


def test_a_chosen_partition_is_named():
    axes = pl.n_clusters(counted(curve=None, knee=None, chosen="leiden_0.5"), show=False)
    assert axes[0].get_title("left").startswith("chosen: 3 clusters (leiden_0.5)")


def test_joins_that_were_made_are_filled():
    ax = pl.n_clusters(counted(), show=False)[2]
    (made,), (kept,) = lines(ax, "joined"), lines(ax, "kept apart")
    assert made.get_xdata().tolist() == [5, 4, 3]
    assert made.get_ydata().tolist() == [0.01, 0.03, 0.06]
    assert kept.get_xdata().tolist() == [2, 1]
    assert to_hex(kept.get_markerfacecolor()) == "#ffffff" != to_hex(made.get_markerfacecolor())
    (threshold,) = lines(ax, "_min_signal")
    assert set(threshold.get_ydata()) == {0.075}
    assert {"min_signal = 0.075", "0 | 1"} <= names(ax)


def test_names_of_joins_do_not_overlap():
    ax = pl.n_clusters(counted(), show=False)[2]
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) > 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_signal_that_noise_made_negative_is_drawn():
    record = chosen()
    record["joins"].loc[:1, "signal"] = [-0.004, 0.0]
    axes = pl.n_clusters(counted(joins=record["joins"]), show=False)
    axes[2].figure.draw_without_rendering()
    low, _ = axes[2].get_ylim()
    assert low < -0.004


def test_a_record_of_deepclust_has_the_joins_alone():
    record = {k: v for k, v in chosen().items() if k not in {"curve", "knee"}}
    adata = ad.AnnData(np.ones((4, 3), dtype=np.float32), uns={"deepclust": {"n_clusters": record, "params": {}}})
    axes = pl.n_clusters(adata, key="deepclust", show=False)
    assert len(axes) == 1
    assert lines(axes[0], "joined")


def test_a_number_that_was_given_was_not_chosen():
    adata = ad.AnnData(np.ones((4, 3), dtype=np.float32), uns={"deepclust": {"n_clusters": {"n_clusters": 4}}})
    with pytest.raises(ValueError, match=r"does not say how .* perhaps because it was given; run sdc.tl.n_clusters"):
        pl.n_clusters(adata, key="deepclust", show=False)


def test_a_single_cluster_and_nothing_to_join():
    record = chosen(1)
    axes = pl.n_clusters(counted(**record), show=False)
    assert at(axes[0], "chosen") == (1, 12.0)
    assert axes[0].get_title("left").startswith("chosen: 1 cluster\n")
    empty = pl.n_clusters(counted(n_clusters=1, joins=record["joins"][:0], gain=0.0, gain_se=0.0), show=False)
    assert "nothing to join" in names(empty[2])
    assert empty[0].get_title("left") == "chosen: 1 cluster"


@pytest.mark.parametrize("make", [tuned, counted])
def test_what_was_written_to_disk_is_drawn(make, tmp_path):
    adata = make()
    for record in adata.uns.values():
        for key in ("choice", "minimum"):
            if key in record:
                record[key] = {k: v.item() if hasattr(v, "item") else v for k, v in record[key].items()}
    adata.write_h5ad(tmp_path / "a.h5ad")
    read = ad.read_h5ad(tmp_path / "a.h5ad")
    draw = pl.denoise if make is tuned else pl.n_clusters
    before, after = draw(adata, show=False), draw(read, show=False)
    for one, other in zip(before, after, strict=True):
        assert one.get_title("left") == other.get_title("left")
        for a, b in zip(one.lines, other.lines, strict=True):
            np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())


def test_the_only_record_of_a_number_is_found():
    adata = ad.AnnData(np.zeros((3, 2), dtype=np.float32), uns={"deepclust": {"n_clusters": chosen()}, "other": {}})
    assert pl.n_clusters(adata, show=False)[-1].get_title("left") == pl.n_clusters(adata, key="deepclust", show=False)[
        -1
    ].get_title("left")
    adata.uns["another"] = chosen()
    with pytest.raises(ValueError, match=r"Several records .*was chosen, 'deepclust', 'another'; give key="):
        pl.n_clusters(adata, show=False)


# gene_pairs


def points(ax):
    return np.asarray(ax.collections[0].get_offsets())


def logged(genes):
    counts = genes.X.toarray()
    depth = counts.sum(1, keepdims=True)
    return np.log1p(counts / np.maximum(depth, 1) * np.median(depth[depth > 0]))


def test_values_before_and_after(genes):
    axes = pl.gene_pairs(genes, [("Gata1", "Klf1"), ("Klf1", "Mpo")], show=False)
    assert axes.shape == (2, 2)
    for row, pair in zip(axes, [(0, 1), (1, 2)], strict=True):
        for ax, values in zip(row, (logged(genes), genes.layers["denoised"]), strict=True):
            found, wanted = points(ax), values[:, pair]
            np.testing.assert_allclose(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)], rtol=1e-6)
            assert (ax.get_xlabel(), ax.get_ylabel()) == tuple(genes.var_names[list(pair)])


def test_correlation_is_in_the_title(genes):
    before, after = pl.gene_pairs(genes, ("Gata1", "Klf1"), show=False)[0]
    r = np.corrcoef(logged(genes)[:, :2].T)[0, 1]
    assert before.get_title() == f"log-normalised counts, r = {r:.2f}"
    assert after.get_title() == "denoised, r = 1.00"
    assert pl.gene_pairs(genes, ("Gata1", "Flat"), show=False)[0, 1].get_title() == "denoised, r undefined"


def test_layers_can_be_named(genes):
    before, after = pl.gene_pairs(genes, ("Gata1", "Klf1"), raw_layer="denoised", layer="scaled", show=False)[0]
    assert before.get_title() == "log-normalised counts, r = 1.00"  # these are whole numbers
    assert after.get_title().startswith("scaled, ")
    assert points(after).min() < 0


def test_a_table_of_a_few_denoised_genes_will_do(genes):
    few = pd.DataFrame(genes.layers["denoised"][:, :2], index=genes.obs_names, columns=genes.var_names[:2])
    genes.obsm["few"] = few
    after = pl.gene_pairs(genes, ("Gata1", "Klf1"), layer="few", show=False)[0, 1]
    np.testing.assert_allclose(np.sort(points(after)[:, 0]), np.sort(few["Gata1"]))
    with pytest.raises(KeyError, match=r"pairs='Mpo' is not in adata.obsm\['few'\]"):
        pl.gene_pairs(genes, ("Gata1", "Mpo"), layer="few", show=False)


def test_categories_have_the_same_colour_in_all_panels(genes):
    axes = pl.gene_pairs(genes, [("Gata1", "Klf1"), ("Klf1", "Mpo")], color="type", show=False)
    colors = [ax.collections[0].get_facecolors() for ax in axes.flat]
    assert len(np.unique(colors[0], axis=0)) == 3
    for other in colors[1:]:
        np.testing.assert_array_equal(colors[0], other)
    (legend,) = [ax.get_legend() for ax in axes.flat if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_colours_of_scanpy_are_kept(genes):
    genes.uns["type_colors"] = ["#111111", "#222222", "#333333"]
    ax = pl.gene_pairs(genes, ("Gata1", "Klf1"), color="type", show=False)[0, 0]
    found = {to_hex(color) for color in ax.collections[0].get_facecolors()}
    assert found == set(genes.uns["type_colors"])


def test_cells_without_a_category_are_grey(genes):
    genes.obs.loc[genes.obs_names[:5], "type"] = np.nan
    axes = pl.gene_pairs(genes, ("Gata1", "Klf1"), color="type", show=False)
    assert [text.get_text() for text in axes[0, 1].get_legend().get_texts()] == ["a", "b", "c", "missing"]
    faces = [to_hex(color) for color in axes[0, 0].collections[0].get_facecolors()]
    assert faces.count("#d0d0d0") == 5


def test_many_categories_are_all_told_apart(genes):
    genes.obs["cell"] = genes.obs_names
    ax = pl.gene_pairs(genes, ("Gata1", "Klf1"), color="cell", show=False)[0, 0]
    assert len({to_hex(color) for color in ax.collections[0].get_facecolors()}) == genes.n_obs


def test_numbers_have_one_scale_and_a_bar(genes):
    genes.obs.loc[genes.obs_names[0], "depth"] = np.nan
    axes = pl.gene_pairs(genes, ("Gata1", "Klf1"), color="depth", show=False)
    depth = genes.obs["depth"]
    assert {ax.collections[0].get_clim() for ax in axes.flat} == {(depth.min(), depth.max())}
    assert "depth" in {ax.get_ylabel() for ax in axes[0, 0].figure.axes}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"pairs": [("gata1", "Klf1")]},
            KeyError,
            r"'gata1' is not in adata.var_names; the nearest are: 'Gata1'",
        ),
        ({"pairs": [("??", "Klf1")]}, KeyError, r"there are: 'Gata1', 'Klf1', 'Mpo', 'Flat'"),
        ({"layer": "magic"}, KeyError, r"layer='magic' is not in adata.layers; there are: 'denoised', 'scaled'"),
        ({"raw_layer": "counts"}, KeyError, r"raw_layer='counts' is not in adata.layers"),
        ({"color": "leiden"}, KeyError, r"color='leiden' is no column of adata.obs \(there are: 'type', 'depth'\)"),
        ({"pairs": []}, ValueError, r"pairs is empty, but pairs of genes are needed"),
        ({"pairs": "Gata1"}, ValueError, r"pairs holds 'G', but pairs of genes are needed"),
        ({"pairs": [("Gata1", "Klf1", "Mpo")]}, ValueError, r"pairs holds \('Gata1', 'Klf1', 'Mpo'\)"),
    ],
    ids=["case of a gene", "gene", "layer", "raw layer", "colour", "no pairs", "one gene", "three genes"],
)
def test_mistakes_are_named(genes, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.gene_pairs(genes, **{"pairs": ("Gata1", "Klf1"), "show": False} | arguments)
    assert not plt.get_fignums(), "nothing is left half drawn"


def test_genes_of_one_name_are_refused(genes):
    genes.var_names = ["Gata1", "Gata1", "Mpo", "Flat"]
    with pytest.raises(ValueError, match=r"'Gata1' names 2 genes; call adata.var_names_make_unique"):
        pl.gene_pairs(genes, ("Gata1", "Mpo"), show=False)


def test_values_before_may_be_missing(genes):
    genes.X = None
    with pytest.raises(ValueError, match=r"adata.X is None; name the layer .*raw_layer="):
        pl.gene_pairs(genes, ("Gata1", "Mpo"), show=False)
    assert pl.gene_pairs(genes, ("Gata1", "Mpo"), raw_layer="scaled", show=False).shape == (1, 2)


# umap, history


def clustered(n=60):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(5 * k, 1, (n // 3, 4)) for k in range(3)]).astype(np.float32)
    history = pd.DataFrame({"phase": ["pretrain"] * 3 + ["cluster"] * 2, "epoch": [1, 2, 3, 1, 2]})
    history["reconstruction"], history["hardening"] = np.arange(5.0), [np.nan] * 3 + [0.2, 0.1]
    history["empty"] = np.nan
    adata = ad.AnnData(
        np.ones((n, 3), dtype=np.float32), obsm={"X_deepclust": x}, uns={"deepclust": {"history": history}}
    )
    adata.obs["deepclust"] = pd.Categorical(np.repeat(["0", "1", "2"], n // 3))
    adata.obs["depth"] = np.arange(n, dtype=float)
    return adata


def test_umap_shows_each_cell_in_the_colour_of_its_cluster(same):
    adata = clustered()
    before = adata.copy()
    (ax,) = pl.umap(adata, show=False)
    xy = ax.collections[0].get_offsets()
    assert len(xy) == adata.n_obs
    colors = [to_hex(color) for color in ax.collections[0].get_facecolors()]
    assert {colors.count(color) for color in set(colors)} == {20}
    # The clusters lie far from each other, so that on a UMAP cells of one colour are nearest to their own.
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.diag([np.inf] * len(xy))
    assert all(colors[i] == colors[j] for i, j in enumerate(distance.argmin(1)))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]
    same(adata, before)


def test_umap_is_the_same_for_the_same_seed():
    found = [pl.umap(clustered(), show=False, random_state=3)[0].collections[0].get_offsets() for _ in range(2)]
    np.testing.assert_array_equal(*found)


def test_umap_of_stored_coordinates_and_several_columns():
    adata = clustered()
    axes = pl.umap(adata, ["depth", "deepclust"], basis="X_deepclust", show=False)
    assert [ax.get_title("left") for ax in axes] == ["depth", "deepclust"]
    assert axes[0].get_xlabel() == "X_deepclust 1"
    found = np.asarray(axes[0].collections[0].get_offsets())
    order = axes[0].collections[0].get_array().astype(int)
    np.testing.assert_array_equal(found, adata.obsm["X_deepclust"][order, :2])


def test_umap_in_the_colours_of_a_gene(genes):
    genes.obsm["X_xy"] = np.random.default_rng(0).random((60, 2))
    genes.layers["denoised"] = 0.9 * logged(genes)
    (ax,) = pl.umap(genes, "Gata1", basis="X_xy", show=False)  # denoised values, where there are any
    shown = ax.collections[0].get_array()
    assert list(shown) == sorted(genes.layers["denoised"][:, 0])  # the highest on top
    assert [child.get_ylabel() for child in ax.child_axes] == ["denoised"]
    genes.obsm["X_xy"][7], genes.layers["denoised"][7] = np.nan, np.nan  # as of a cell without counts
    for layer in (None, "denoised"):
        (ax,) = pl.umap(genes, "Gata1", layer=layer, basis="X_xy", show=False)
        assert [child.get_ylabel() for child in ax.child_axes] == ["denoised"]
    genes.obsm["X_xy"][7] = 0
    del genes.layers["denoised"]
    (ax,) = pl.umap(genes, "Gata1", basis="X_xy", show=False)
    np.testing.assert_allclose(np.sort(ax.collections[0].get_array()), np.sort(logged(genes)[:, 0]), rtol=1e-6)
    assert ax.get_title("left") == "Gata1"
    (ax,) = pl.umap(genes, "Gata1", layer="scaled", basis="X_xy", show=False)
    assert [child.get_ylabel() for child in ax.child_axes] == ["scaled"]


def test_a_few_cells_far_above_all_others_do_not_take_their_colours():
    adata = clustered(300)
    adata.obs.loc[adata.obs_names[:2], "depth"] = 1e6
    (ax,) = pl.umap(adata, "depth", basis="X_deepclust", show=False)
    assert ax.collections[0].get_clim()[1] < 300
    (bar,) = ax.child_axes
    assert bar._colorbar.extend == "max"


def test_names_of_clusters_on_the_cells():
    adata = clustered()
    (ax,) = pl.umap(adata, legend_loc="on data", basis="X_deepclust", show=False)
    assert ax.get_legend() is None
    assert {text.get_text() for text in ax.texts} == {"0", "1", "2"}
    for text in ax.texts:
        x, y = np.median(adata.obsm["X_deepclust"][(adata.obs["deepclust"] == text.get_text()).to_numpy(), :2], axis=0)
        assert np.hypot(*(np.array(text.xy) - [x, y])) < 1.5
    (ax,) = pl.umap(adata, legend_loc=None, basis="X_deepclust", show=False)
    assert ax.get_legend() is None
    assert not ax.texts
    with pytest.raises(ValueError, match="legend_loc='left' must be one of 'right margin', 'on data', None"):
        pl.umap(adata, legend_loc="left", show=False)


def test_each_phase_has_its_colour_in_all_panels():
    axes = pl.history(clustered(), show=False)
    colors = {(line.get_label(), line.get_color()) for ax in axes for line in ax.lines}
    assert len(colors) == 2


def test_umap_leaves_out_cells_without_an_embedding():
    adata = clustered()
    adata.obsm["X_deepclust"][:5] = np.nan
    adata.obs.loc[adata.obs_names[:5], "deepclust"] = np.nan
    (ax,) = pl.umap(adata, show=False)
    assert len(ax.collections[0].get_offsets()) == 55


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"key": "k"}, KeyError, "key='k' is not in adata.obs"),
        ({"color": "k"}, KeyError, r"color='k' is no column of adata.obs \(there are: 'deepclust', 'depth'\)"),
        ({"color": "gata1"}, KeyError, r"no gene of adata.var_names \(the nearest are: 'Gata1'\)"),
        ({"basis": "k"}, KeyError, "basis='k' is not in adata.obsm"),
        ({"key": "depth"}, KeyError, "no embedding of key='depth' in adata.obsm; name one with basis= .'X_deepclust'"),
        ({"color": 3}, TypeError, "color=3 must be a name or a list of names"),
        ({"color": ["depth", None]}, TypeError, "color holds None, which is no name"),
        ({"color": [["depth"]]}, TypeError, r"color holds \['depth'\], which is no name"),
        ({"ncols": 0}, ValueError, "ncols=0 must be"),
        ({"basis": "X_one"}, ValueError, "has no two columns"),
        ({"axes": [1, 2]}, ValueError, "axes holds 2, but 1 are needed"),
    ],
)
def test_umap_refuses(given, error, message):
    adata = clustered()
    adata.obsm["X_one"] = np.zeros((60, 1))
    adata.var_names = ["Gata1", "Mpo", "Klf1"]
    with pytest.raises(error, match=message):
        pl.umap(adata, show=False, **given)


def test_umap_of_too_few_cells():
    with pytest.raises(ValueError, match="needs more than 15"):
        pl.umap(clustered(12), show=False)


def test_history_has_a_panel_a_term_and_a_line_a_phase():
    axes = pl.history(clustered(), show=False)
    assert [ax.get_title("left") for ax in axes] == ["reconstruction", "hardening"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes[0].lines}
    assert lines == {"pretrain": [[0, 0], [1, 1], [2, 2]], "cluster": [[3, 3], [4, 4]]}
    assert [line.get_ydata().tolist() for line in axes[1].lines] == [[0.2, 0.1]]


@pytest.mark.parametrize("record", [{}, {"history": pd.DataFrame({"phase": [], "epoch": []})}, "text"])
def test_history_needs_one(record):
    adata = clustered()
    adata.uns["deepclust"] = record
    with pytest.raises(ValueError, match="holds no history of a training"):
        pl.history(adata, show=False)


def test_clusters_that_are_numbers_are_categories():
    adata = clustered()
    adata.obs["deepclust"] = adata.obs["deepclust"].astype(int)
    (ax,) = pl.umap(adata, basis="X_deepclust", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]


def test_a_category_called_missing_keeps_its_colour():
    adata = clustered()
    adata.obs["type"] = pd.Categorical(np.repeat(["a", "missing", None], 20))
    (ax,) = pl.umap(adata, "type", basis="X_deepclust", show=False)
    legend = ax.get_legend()
    colors = {
        t.get_text(): to_hex(h.get_color()) for t, h in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    faces = [to_hex(color) for color in ax.collections[0].get_facecolors()]
    assert list(colors) == ["a", "missing", "no value"]
    assert {color: faces.count(color) for color in colors.values()} == dict.fromkeys(faces, 20)


@pytest.mark.parametrize("kind", ["layer", "table"])
def test_cells_without_a_value_are_left_out_of_a_correlation(genes, kind):
    genes.layers["denoised"][0, 0] = genes.layers["denoised"][1, 1] = np.nan
    if kind == "table":
        genes.obsm["few"] = pd.DataFrame(genes.layers["denoised"], index=genes.obs_names, columns=genes.var_names)
    layer = {"layer": "denoised", "table": "few"}[kind]
    after = pl.gene_pairs(genes, ("Gata1", "Klf1"), layer=layer, show=False)[0, 1]
    assert after.get_title() == f"{layer}, r = 1.00"
    genes.layers["denoised"][:30, 0] = genes.layers["denoised"][30:, 1] = np.nan
    after = pl.gene_pairs(genes, ("Gata1", "Klf1"), show=False)[0, 1]
    assert after.get_title() == "denoised, r undefined", "no cell has both"


def test_a_gene_that_was_not_denoised_is_said(genes):
    genes.layers["denoised"][:, 0] = np.nan
    with pytest.raises(ValueError, match=r"layer='denoised' has no value of 'Gata1' .*sdc.pp.denoise.*mask_var=None"):
        pl.gene_pairs(genes, ("Gata1", "Klf1"), show=False)


def test_a_threshold_of_zero_is_no_line():
    axes = pl.n_clusters(counted(n_clusters=6, params={"min_signal": 0.0}), show=False)
    assert not lines(axes[2], "_min_signal")
    low, high = axes[2].get_ylim()
    assert low > 0.001, "nor is there room for it"
    assert high < 2


def test_without_any_record_of_a_number_it_is_said_how_to_make_one():
    adata = ad.AnnData(np.ones((4, 3), dtype=np.float32), uns={"deepclust": {"n_clusters": {"n_clusters": 4}}})
    with pytest.raises(ValueError, match=r"^adata.uns does not say how .* run sdc.tl.n_clusters\(adata\)"):
        pl.n_clusters(adata, show=False)


def area(ax):
    """Width and height of a panel in inches, as it is laid out."""
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    return box.width / ax.figure.dpi, box.height / ax.figure.dpi


@pytest.mark.parametrize("n", [3, 40, 120])
def test_a_umap_has_its_room_beside_a_legend_of_any_size(n):
    adata = clustered(600)
    adata.obs["many"] = pd.Categorical([f"type {i % n}" for i in range(600)])
    (ax,) = pl.umap(adata, "many", basis="X_deepclust", show=False)
    assert min(area(ax)) > 2.5


def test_a_bar_stands_beside_its_own_panel():
    """Whatever is beside panels above and below."""
    adata = clustered()
    adata.obs["many"] = pd.Categorical([f"a long name of a type {i % 30}" for i in range(60)])
    axes = pl.umap(adata, ["many", "deepclust", "depth", "depth"], basis="X_deepclust", show=False)
    axes[0].figure.draw_without_rendering()
    for ax in axes[2:]:
        (bar,) = ax.child_axes
        panel, beside = ax.get_window_extent(), bar.get_window_extent()
        assert 0 < beside.x0 - panel.x1 < 0.1 * panel.width
        assert beside.height == pytest.approx(panel.height, rel=0.01)


def test_a_legend_names_no_category_that_no_cell_has():
    adata = clustered()
    adata.obs["deepclust"] = adata.obs["deepclust"].cat.add_categories(["ghost"])
    (ax,) = pl.umap(adata, basis="X_deepclust", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]
