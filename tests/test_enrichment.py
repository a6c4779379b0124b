"""Enrichment of annotations in clusters: against scipy, on tables whose answer is known, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scdeepclust as sdc


def labelled(table, **more):
    """Cells of a contingency table, clusters x categories."""
    cells = [(str(k), f"c{m}") for k, row in enumerate(table) for m, n in enumerate(row) for _ in range(n)]
    obs = pd.DataFrame(cells, columns=["clusters", "type"])
    return ad.AnnData(obs=obs.assign(**more).set_index(obs.index.astype(str)))


def result_of(adata, key="clusters", annotations="type"):
    sdc.tl.enrichment(adata, key, annotations)
    return adata.uns[f"{key}_enrichment"].set_index(["cluster", "category"])


TABLES = [[[8, 2], [1, 9]], [[30, 5, 5], [2, 40, 8], [10, 10, 10]], [[0, 12], [15, 3]], [[1, 1], [1, 1]]]


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_tails_are_those_of_fishers_exact_test(table):
    found, table = result_of(labelled(table)), np.array(table)
    for k, m in np.ndindex(table.shape):
        q = table[k, m]
        two = np.array([[q, table[k].sum() - q], [table[:, m].sum() - q, 0]])
        two[1, 1] = table.sum() - two.sum()
        row = found.loc[(str(k), f"c{m}")]
        assert row["p_over"] == pytest.approx(stats.fisher_exact(two, "greater").pvalue)
        assert row["p_under"] == pytest.approx(stats.fisher_exact(two, "less").pvalue)
        assert row["p_value"] == pytest.approx(min(1, 2 * min(row["p_over"], row["p_under"])))
        half = two + 0.5
        assert row["log_odds"] == pytest.approx(np.log2(half[0, 0] * half[1, 1] / (half[0, 1] * half[1, 0])))
        assert (row["n_both"], row["n_cluster"], row["n_category"]) == (q, table[k].sum(), table[:, m].sum())
        assert row["n_cells"] == table.sum()


def test_categories_keep_the_order_of_their_owner():
    adata = labelled([[8, 2, 1], [1, 9, 2]])
    adata.obs["type"] = adata.obs["type"].astype("category").cat.reorder_categories(["c2", "c0", "c1"])
    assert list(result_of(adata).loc["0"].index) == ["c2", "c0", "c1"]


def test_dates_are_categories_too():
    days = pd.to_datetime(["2026-01-01", "2026-02-01"]).repeat(100)
    found = result_of(labelled([[100, 0], [0, 100]], day=days), annotations="day")
    assert found["n_both"].sum() == 200
    assert found.index.get_level_values("category").unique().to_list() == [str(day) for day in days.unique()]


def test_p_values_are_adjusted_over_the_whole_table():
    adata = labelled(TABLES[1])
    adata.obs["other"] = np.random.default_rng(0).choice(["x", "y"], adata.n_obs)
    sdc.tl.enrichment(adata, "clusters", ["type", "other"])
    table = adata.uns["clusters_enrichment"]
    assert len(table) == 3 * (3 + 2)
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"]))


def test_what_is_never_seen_has_finite_odds_and_is_depleted():
    row = result_of(labelled([[0, 40], [40, 0]])).loc[("0", "c0")]
    assert np.isfinite(row["log_odds"])
    assert row["log_odds"] < -5
    assert row["p_under"] < 1e-10
    assert row["p_over"] == pytest.approx(1)


def test_labels_by_chance_are_rarely_called():
    rng = np.random.default_rng(1)
    obs = {"clusters": rng.integers(5, size=600).astype(str), "type": rng.integers(4, size=600).astype(str)}
    adata = ad.AnnData(obs=pd.DataFrame(obs, index=np.arange(600).astype(str)))
    assert (result_of(adata)["q_value"] > 0.05).all()


def test_an_annotation_that_is_named_twice_is_tested_once():
    adata = labelled([[100, 50], [50, 100]])
    sdc.tl.enrichment(adata, "clusters", ["type", "type"], key_added="e")
    assert not adata.uns["e"].duplicated().any()


def test_every_head_is_tested_where_there_are_several(same):
    adata = labelled(TABLES[1])
    heads = pd.DataFrame({"head0": adata.obs["clusters"], "head1": adata.obs["type"]}).astype("category")
    adata.obsm["clusters_heads"] = heads
    before = adata.copy()
    found = sdc.tl.enrichment(adata, "clusters", "type", copy=True)
    same(adata, before)
    table = found.uns["clusters_enrichment"]
    assert list(table["head"].unique()) == ["head0", "head1"]
    alone = result_of(labelled(TABLES[1]))["p_over"].to_numpy()
    np.testing.assert_allclose(table.loc[table["head"] == "head0", "p_over"], alone)


def test_cells_without_a_value_are_left_out():
    adata = labelled([[8, 2], [1, 9]])
    missing = ad.concat([adata, labelled([[5, 5], [5, 5]])], index_unique="-")
    missing.obs["type"] = missing.obs["type"].where(np.arange(40) < 20)
    pd.testing.assert_frame_equal(result_of(missing), result_of(adata))


def test_the_table_survives_writing(tmp_path):
    adata = labelled(TABLES[1])
    sdc.tl.enrichment(adata, "clusters", "type", key_added="e")
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad").uns["e"]
    pd.testing.assert_frame_equal(back.reset_index(drop=True), adata.uns["e"], check_dtype=False)


REFUSED = {
    "one category": ({"annotations": "one"}, r"annotations='one' holds the single value 'x'"),
    "no value": ({"annotations": "none"}, r"annotations='none' holds no value"),
    "continuous": ({"annotations": "number"}, r"annotations='number' holds 300 different values.* pandas.cut"),
    "nothing": ({"annotations": []}, r"annotations is empty"),
    "missing": ({"annotations": "typ"}, r"annotations='typ' is not in adata.obs"),
    "no clusters": ({"key": "leiden"}, r"key='leiden' is not in adata.obs"),
    "bad key": ({"key_added": "a/b"}, r"key_added='a/b' must be"),
    "no cell in a cluster": ({"key": "none"}, r"key='none' has no label for any cell"),
    "key of numbers": (
        {"key": "number"},
        r"key='number' holds 300 different values for 300 cells, which is no partition",
    ),
    "key with /": ({"key": "leiden/0.5"}, r"key='leiden/0.5' has a '/', .* give one by key_added="),
    "no names": ({"annotations": 3}, r"annotations=3 must be a name or a list of names"),
    "own key": ({"key_added": "clusters"}, r"key_added='clusters' would overwrite 'clusters', which is read"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_tested_is_refused(arguments, message, same):
    adata = labelled([[100, 50], [50, 100]], one="x", none=None, number=np.arange(300.0))
    before = adata.copy()
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        sdc.tl.enrichment(adata, **{"key": "clusters", "annotations": "type"} | arguments)
    same(adata, before)
