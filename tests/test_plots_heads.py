"""Plots of enrichment and of heads: what is drawn is what was computed, and nothing else changes."""

from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_mutual_info_score

import scdeepclust as sdc

mpl.use("Agg")

import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    types, states = rng.choice(["a", "b", "c"], 200), rng.choice(["x", "y"], 200)
    obs = pd.DataFrame({"type": types, "state": states, "r": types}, index=np.arange(200).astype(str))
    heads = {"head0": pd.Categorical(types).rename_categories(["0", "1", "2"]), "head1": pd.Categorical(states)}
    adata = ad.AnnData(obs=obs, obsm={"X_r": rng.normal(size=(200, 6)).astype(np.float32)})
    adata.obsm["r_heads"] = pd.DataFrame(heads, index=obs.index)
    sdc.tl.enrichment(adata, "r", ["type", "state"])
    return adata


def dots(ax):
    return next(c for c in ax.collections if len(c.get_offsets()))


def test_every_combination_has_a_dot_whose_colour_is_its_odds_and_whose_size_is_its_significance(cells):
    axes = sdc.pl.enrichment(cells, "r", show=False)
    table = cells.uns["r_enrichment"]
    assert [ax.get_title(loc="left") for ax in axes] == ["head0", "head1"]
    for ax, (_, part) in zip(axes, table.groupby("head", sort=False), strict=True):
        drawn = dots(ax)
        assert len(drawn.get_offsets()) == len(part)
        limit = drawn.get_clim()[1]
        assert drawn.get_clim()[0] == -limit
        np.testing.assert_allclose(drawn.get_array(), part["log_odds"].clip(-limit, limit))
        order = part["q_value"].clip(1e-10).rank(ascending=False).to_numpy()
        assert np.corrcoef(order, np.argsort(np.argsort(drawn.get_sizes(), kind="stable")))[0, 1] > 0.8
        outlined = np.asarray(drawn.get_linewidths()) > 0
        assert (outlined <= (part["q_value"] < 0.05).to_numpy()).all()
        assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c", "x", "y"]


def test_an_embedding_that_heads_share_is_drawn_whole(cells):
    own = sdc.pl.heads(cells, "r", show=False)
    assert [ax.images[0].get_array().shape[1] for ax in own[:2]] == [3, 3]
    cells.uns["r"] = {"params": {"n_latent": 6}}  # a learned consensus of the heads
    shared = sdc.pl.heads(cells, "r", show=False)
    assert [ax.images[0].get_array().shape[1] for ax in shared[:2]] == [6, 6]


def test_some_annotations_and_axes_of_ones_own(cells):
    _, mine = plt.subplots(1, 2)
    axes = sdc.pl.enrichment(cells, "r", annotations="state", axes=mine, show=False)
    assert list(axes) == list(mine)
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["x", "y"]
    with pytest.raises(ValueError, match="axes holds 1, but 2 are needed"):
        sdc.pl.enrichment(cells, "r", axes=mine[:1], show=False)


def test_heads_show_their_clusters_and_how_far_they_agree(cells):
    axes = sdc.pl.heads(cells, "r", show=False)
    assert len(axes) == 5
    shares = [bar.get_height() for bar in axes[3].patches]
    expected = cells.obsm["r_heads"]["head0"].value_counts(sort=False, normalize=True)
    np.testing.assert_allclose(shares, expected)
    heads = cells.obsm["r_heads"]
    shown = {t.get_text() for t in axes[2].texts}
    assert f"{adjusted_mutual_info_score(heads['head0'], heads['head1']):.2f}" in shown
    assert axes[0].images[0].get_array().shape == (200, 3)  # each head has its part of the embedding
    assert len(axes[0].lines) == 2  # between three clusters


def test_cells_without_a_label_are_not_drawn(cells):
    cells.obsm["r_heads"].iloc[:30] = np.nan
    assert sdc.pl.heads(cells, "r", show=False)[0].images[0].get_array().shape[0] == 170


def test_plots_change_nothing_and_are_saved(cells, tmp_path, same):
    before = cells.copy()
    for plot in (sdc.pl.enrichment, sdc.pl.heads):
        plot(cells, "r", show=False, save=tmp_path / f"{plot.__name__}.png")
        assert (tmp_path / f"{plot.__name__}.png").stat().st_size > 1_000
    same(cells, before)


@pytest.mark.parametrize(
    ("plot", "key", "error", "message"),
    [
        ("enrichment", "other", KeyError, "key='other_enrichment' is not in adata.uns"),
        ("enrichment", "wrong", ValueError, "is no table of enrichment"),
        ("heads", "other", KeyError, "key='other' is not in adata.obs"),
        ("heads", "type", ValueError, "'type' has a single partition"),
    ],
)
def test_what_is_not_there_is_said(cells, plot, key, error, message):
    cells.uns["wrong_enrichment"] = {"a": 1}
    with pytest.raises(error, match=message):
        getattr(sdc.pl, plot)(cells, key, show=False)
    if plot == "enrichment":
        with pytest.raises(KeyError, match="annotations='age' is not in"):
            sdc.pl.enrichment(cells, "r", annotations="age", show=False)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_dots_have_their_room_beside_the_legends(n):
    adata = ad.AnnData(
        obs=pd.DataFrame({"r": ["0", "1"] * 60, "type": [f"t{i % n}" for i in range(120)]}, index=map(str, range(120)))
    )
    sdc.tl.enrichment(adata, "r", "type")
    (ax,) = sdc.pl.enrichment(adata, "r", show=False)
    ax.figure.draw_without_rendering()
    assert ax.get_window_extent().width / ax.figure.dpi > 0.28 * n
