"""Partitions and graphs by what they predict: against plain loops, honest on noise, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdeepclust as sdc
from scdeepclust.selection.partitions import _loss_of_clusters


def losses(adata, keys=(), **arguments):
    return sdc.tl.partition_loss(adata, keys, **arguments).set_index(["kernel", "partition"])


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(1.0, 2.0, 80) * np.ones((400, 1)))
    return ad.AnnData(sparse.csr_matrix(x.astype(np.float32)))


def test_loss_of_clusters_is_that_of_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    source, target = rng.random((2, 9, 4))
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3])
    expected = []
    for i, label in enumerate(labels):
        others = [j for j in range(9) if j != i and labels[j] == label] or [j for j in range(9) if j != i]
        expected.append(((source[others].mean(0) - target[i]) ** 2).mean())
    np.testing.assert_allclose(_loss_of_clusters(labels, *map(sparse.csr_array, (source, target))), expected, rtol=1e-5)


def test_the_true_types_are_best_of_partitions_finer_and_coarser(types):
    adata = types.copy()
    rng = np.random.default_rng(0)
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    adata.obs["joined"] = np.minimum(codes, 1).astype(str)
    adata.obs["random"] = rng.permutation(codes).astype(str)
    adata.obs["cut"] = [f"{c}{d}" for c, d in zip(codes, rng.integers(6, size=300), strict=True)]
    loss = losses(adata, ["cell_type", "joined", "random", "cut"])["loss"]
    of_types = loss["clusters", "cell_type"]
    assert of_types < loss["clusters", "joined"] < loss["mean", ""]
    assert of_types < loss["clusters", "cut"]
    assert loss["clusters", "random"] > of_types
    # Within the true types neighbours are no better than in the whole graph by more than noise.
    assert loss["graph within clusters", "cell_type"] == pytest.approx(loss["graph", ""], rel=0.02)


@pytest.mark.parametrize("scheme", ["count_split", "gene_split"])
def test_nothing_predicts_noise_not_even_clusters_that_were_fitted_to_it(noise, scheme):
    from sklearn.cluster import KMeans

    adata = noise.copy()
    adata.obs["fitted"] = KMeans(12, n_init=3, random_state=0).fit_predict(np.log1p(adata.X.toarray())).astype(str)
    table = losses(adata, "fitted", resolutions=[1.0], scheme=scheme, n_splits=2)
    null = table.loc[("mean", ""), "loss"]
    # By half of the genes they do tell depth, of which log-normalised values keep a little.
    least = 0.999 if scheme == "count_split" else 0.99
    assert (table["loss"] >= least * null).all()
    assert set(table.index.get_level_values("partition")) == {"", "fitted", "leiden at 1"}


def test_heads_are_partitions_of_their_own(types):
    adata = types.copy()
    adata.obsm["two_heads"] = pd.DataFrame({"head0": adata.obs["cell_type"], "head1": adata.obs["cell_type"]})
    loss = losses(adata, ["two", "cell_type"])["loss"]
    assert loss["clusters", "two head0"] == loss["clusters", "two head1"] == loss["clusters", "cell_type"]


def test_cells_without_a_label_and_clusters_of_one_do_no_harm(types):
    adata = types.copy()
    adata.obs["some"] = adata.obs["cell_type"].astype(str).where(np.arange(300) > 50)
    adata.obs.loc[adata.obs_names[60], "some"] = "alone"
    table = losses(adata, "some")
    assert np.isfinite(table["loss"]).all()
    assert table.loc[("clusters", "some"), "explained"] > 0.05


def test_the_same_seed_gives_the_same_table_and_adata_stays(types, same):
    before = types.copy()
    tables = [sdc.tl.partition_loss(types, "cell_type", random_state=3) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    same(types, before)


def test_lognormalised_values_and_representations_are_split_too(lognorm):
    lognorm.obsm["X_pca"] = lognorm.X[:, :12].toarray()
    for source in ({}, {"use_rep": "X_pca"}):
        assert losses(lognorm, "cell_type", **source).loc[("clusters", "cell_type"), "explained"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"partitions": "leiden"}, "partitions='leiden' is not in adata.obs"),
        ({"partitions": "empty"}, "partitions='empty' has no label"),
        ({"n_neighbors": 0}, "n_neighbors=0 must be an integer"),
        ({"n_splits": 1.5}, "n_splits=1.5 must be an integer"),
        ({"resolutions": [0.0]}, r"resolutions=\[0.0\] must all be above 0"),
        ({"scheme": "half"}, "scheme='half' must be one of"),
    ],
    ids=str,
)
def test_what_cannot_serve_is_refused(types, arguments, message):
    adata = types.copy()
    adata.obs["empty"] = None
    with pytest.raises((ValueError, KeyError), match=message):
        sdc.tl.partition_loss(adata, **arguments)


def test_counts_cannot_be_split_where_there_are_none(lognorm):
    with pytest.raises(ValueError, match="scheme='count_split' needs counts"):
        sdc.tl.partition_loss(lognorm, "cell_type", scheme="count_split")
