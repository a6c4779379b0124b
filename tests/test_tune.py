"""Settings compared by the loss of what was not seen: what it chooses, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import scdeepclust as sdc

SHORT = {"pretrain_steps": 30, "cluster_steps": 60}


def test_too_few_clusters_lose_and_more_than_there_are_are_not_needed():
    adata = sdc.datasets.simulate_types(n_obs=500, n_vars=120, n_types=4, separation=2.0, random_state=1)
    before = adata.copy()
    table = sdc.tl.tune(adata, "deepwak", {"n_clusters": [2, 3, 4, 10]}, progress=False, **SHORT)
    assert table["n_clusters"].tolist() == [2, 3, 4, 10]
    assert table["loss"].iloc[:3].is_monotonic_decreasing
    explained = table["explained"].to_numpy()
    assert explained[2] - explained[1] > 0.1
    assert abs(explained[3] - explained[2]) < 0.02
    assert table["chosen"].tolist() == [False, False, True, False]
    lax = sdc.tl.tune(adata, "deepwak", {"n_clusters": [2, 4]}, tolerance=0.9, progress=False, **SHORT)
    assert lax["chosen"].tolist() == [True, False]
    assert lax["loss"].tolist() == table["loss"].iloc[[0, 2]].tolist()
    assert list(adata.obs) == list(before.obs)
    assert list(adata.uns) == list(before.uns)


def test_every_combination_is_tried_in_order(types):
    grid = {"n_heads": [1, 2], "n_latent": [3, 5]}
    table = sdc.tl.tune(types, "deepwak", grid, progress=False, n_clusters=3, pretrain_steps=5, cluster_steps=5)
    assert table[["n_heads", "n_latent"]].to_numpy().tolist() == [[1, 3], [1, 5], [2, 3], [2, 5]]
    assert table["chosen"].sum() == 1


def test_no_number_of_clusters_predicts_noise():
    rng = np.random.default_rng(0)
    noise = ad.AnnData(sparse.csr_matrix(rng.poisson(1.0, (300, 300)).astype(np.float32)))
    table = sdc.tl.tune(noise, "deepwak", {"n_clusters": [2, 10]}, progress=False)
    assert (table["explained"] < 0.005).all()
    assert table["chosen"].tolist() == [True, False]


def test_hidden_genes_of_noise_cannot_be_predicted_and_of_types_they_can(types):
    grid = {"n_latent": [2, 10]}
    steps = {"n_clusters": 3, "pretrain_steps": 100}
    found = sdc.tl.tune(types, "mae", grid, progress=False, **steps)
    assert (found["explained"] > 0.02).all()
    rng = np.random.default_rng(0)
    noise = ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (300, 300)).astype(np.float32)))
    of_noise = sdc.tl.tune(noise, "mae", grid, progress=False, **steps)
    assert (of_noise["explained"] < 0.005).all()


def test_the_record_of_a_masked_autoencoder_is_the_loss_that_ended_training(types):
    model = sdc.Model(types, "mae", n_clusters=3, pretrain_steps=60)
    model.train(progress=False)
    assert model.report["held_out"]["loss"] == pytest.approx(model.history["held_out"].min(), rel=0.05)


@pytest.mark.parametrize(
    ("name", "grid", "params", "what"),
    [
        ("idec", {"n_clusters": [2, 3]}, {}, "no loss of what it has not seen.*'deepwak'"),
        ("deepwak", {"n_clusters": [2, 3]}, {"split": "none"}, "no loss of what it has not seen"),
        ("mae", {"n_latent": [2, 3]}, {"form": "scmae"}, "no loss of what it has not seen"),
        ("deepwak", {"transform": ["sqrt", "log1p"]}, {}, "grid has 'transform', which decides what is predicted"),
        ("deepwak", {}, {}, "nothing to compare"),
        ("deepwak", {"n_clusters": []}, {}, "nothing to compare"),
        ("deepwak", {"n_clusters": [2, 3]}, {"n_clusters": 4}, "'n_clusters' is given both in grid and by itself"),
        ("deepwak", {"n_clusters": [2, 3]}, {"tolerance": 1.0}, "tolerance=1.0 must be a number of at least 0"),
        ("deepwak", {"n_clusters": [2, 3]}, {"tolerance": "low"}, "tolerance='low' must be a number"),
    ],
)
def test_what_cannot_be_compared_is_refused(types, name, grid, params, what):
    with pytest.raises(ValueError, match=what):
        sdc.tl.tune(types, name, grid, progress=False, **params)


def test_what_the_cells_cannot_serve_is_refused_before_any_training(types, monkeypatch):
    monkeypatch.setattr(sdc.Model, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"n_clusters=9999 is more than the {types.n_obs} cells"):
        sdc.tl.tune(types, "deepwak", {"n_clusters": [2, 9999]}, progress=False)


@pytest.mark.parametrize(
    ("grid", "what"),
    [
        ({"n_clusters": 3}, r"grid\['n_clusters'\]=3 must be a list"),
        ({"split": "none"}, r"grid\['split'\]='none' must be a list"),
        ({"n_cluster": [2, 3]}, "has no parameter 'n_cluster'"),
        (None, "grid=None must be a dictionary"),
        ([1], r"grid=\[1\] must be a dictionary"),
    ],
)
def test_what_is_no_grid_is_refused(types, grid, what):
    with pytest.raises(TypeError, match=what):
        sdc.tl.tune(types, "deepwak", grid, progress=False)


def test_partitions_of_heads_are_judged_by_the_number_of_clusters(types):
    adata = types.copy()
    sdc.tl.deepclust(adata, "deepwak", n_heads=2, n_clusters=3, key_added="two", progress=False, **SHORT)
    adata.obs["one"] = "0"
    sdc.tl.n_clusters(adata, partitions=["two", "one", "cell_type"])
    table = adata.uns["n_clusters"]["partitions"]
    assert set(table["partition"]) == {"two head0", "two head1", "one", "cell_type"}
