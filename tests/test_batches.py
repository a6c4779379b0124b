"""Batches and other covariates: what is read, what is corrected, and what new cells of unknown ones are."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

import scdeepclust as sdc
from scdeepclust.data import Cells, Inputs, read
from scdeepclust.data.columns import separating_batches
from scdeepclust.data.correction import Correction


def shifted(n_obs=400, strength=3.0, seed=0, composition=None):
    """Counts of four types in two batches that differ by a factor for each gene; `composition` drops types of one."""
    adata = sdc.datasets.simulate_types(n_obs, 100, n_types=4, separation=2.0, random_state=seed)
    rng = np.random.default_rng(seed)
    batch = rng.integers(2, size=n_obs)
    if composition:
        batch = np.where(adata.obs["cell_type"].isin(composition), 0, batch)
    factor = np.exp(strength * rng.normal(size=100) / 3)
    factor /= factor.mean()
    rates = adata.X.toarray() * np.where(batch[:, None] == 1, factor, 1.0)
    adata.X = rng.poisson(rates).astype(np.float32)
    adata.obs["batch"] = pd.Categorical(np.array(["first", "second"])[batch])
    return adata


def same_batch(z, batch, k=15):
    near = NearestNeighbors(n_neighbors=k + 1).fit(z).kneighbors(z, return_distance=False)[:, 1:]
    return (batch[near] == batch[:, None]).mean()


def if_mixed(batch, types):
    """Share of neighbours of the same batch, were batches mixed within types."""
    table = pd.crosstab(types, batch)
    return float(((table.div(table.sum(axis=1), axis=0) ** 2).sum(axis=1) * table.sum(axis=1)).sum() / len(batch))


def run(adata, method, **arguments):
    return sdc.tl.deepclust(adata, method, copy=True, progress=False, **arguments)


# -------------------------------------------------------------------------------------------------------- correction


@pytest.mark.parametrize("missing", [(), ("type1", "type2")], ids=["all types in both", "two types in one only"])
def test_batches_mix_and_types_stay_apart(missing):
    adata = shifted(800, composition=missing or None)
    assert not missing or set(missing) <= set(adata.obs["cell_type"])
    types, batch = adata.obs["cell_type"].to_numpy(), adata.obs["batch"].to_numpy()
    plain = sdc.methods.get("idec").inputs("counts").fit(read(adata), seed=0).numpy()
    found = sdc.methods.get("idec").inputs("counts").fit(read(adata, batch_key="batch"), seed=0).numpy()
    expected = if_mixed(batch, types)
    assert same_batch(plain, batch) > 0.95  # before: batches are apart
    assert same_batch(found, batch) < expected + 0.1
    near = NearestNeighbors(n_neighbors=16).fit(found).kneighbors(found, return_distance=False)[:, 1:]
    assert (types[near] == types[:, None]).mean() > 0.97


def test_the_number_of_clusters_is_that_of_types_and_not_of_batches_too(few):
    adata = shifted()
    sdc.tl.n_clusters(adata, key_added="mixed")
    sdc.tl.n_clusters(adata, batch_key="batch")
    assert adata.uns["mixed"]["n_clusters"] > 4
    assert adata.uns["n_clusters"]["n_clusters"] == 4
    assert adjusted_rand_score(adata.obs["cell_type"], adata.obs["n_clusters"]) > 0.95
    found = run(adata, few("idec", n_clusters=None), batch_key="batch")
    assert found.uns["deepclust"]["n_clusters"]["n_clusters"] == 4


@pytest.mark.parametrize("name", ["idec", "vade", "none"])
@pytest.mark.filterwarnings("ignore::scdeepclust.losses.clustering.collapse.CollapseWarning")
def test_clusters_are_types_and_not_batches(name, few):
    adata = shifted()
    method = few(name, n_clusters=4)
    if "pretrain_steps" in method.params:
        method = few(name, n_clusters=4, pretrain_steps=100, cluster_steps=60)
    without, with_key = run(adata, method), run(adata, method, batch_key="batch")
    agreement = [adjusted_rand_score(adata.obs["cell_type"], found.obs["deepclust"]) for found in (without, with_key)]
    assert agreement[0] < 0.8
    assert agreement[1] > 0.95
    assert normalized_mutual_info_score(adata.obs["batch"], with_key.obs["deepclust"]) < 0.05
    types, batch = adata.obs["cell_type"].to_numpy(), adata.obs["batch"].to_numpy()
    assert same_batch(with_key.obsm["X_deepclust"], batch) < if_mixed(batch, types) + 0.1


def test_how_much_batches_took_is_on_record(few):
    adata = shifted()
    method = few("none", n_clusters=4)
    share = run(adata, method, batch_key="batch").uns["deepclust"]["input"]["batch_share"]
    x = {
        key: sdc.methods.get("idec").inputs("counts").fit(read(adata, batch_key=key), seed=0) for key in (None, "batch")
    }
    assert share == pytest.approx(1 - float(x["batch"].var(0).sum() / x[None].var(0).sum()), abs=1e-4)
    assert 0.2 < share < 0.9
    assert "batch_share" not in run(adata, method).uns["deepclust"]["input"]


def test_the_number_of_clusters_does_not_count_batches():
    adata = shifted()
    found = run(adata, "none", batch_key="batch")
    assert found.uns["deepclust"]["n_clusters"]["n_clusters"] == 4
    assert adjusted_rand_score(adata.obs["cell_type"], found.obs["deepclust"]) > 0.95
    assert run(adata, "none").uns["deepclust"]["n_clusters"]["n_clusters"] > 4


@pytest.mark.parametrize("front", [sdc.tl.n_clusters, sdc.tl.deepclust])
def test_clusters_of_one_batch_are_told_where_no_batch_is_named(front, few, caplog):
    adata = shifted()
    adata.obs["cell_type"] = adata.obs["batch"].to_numpy()  # what is no batch by its name is nobody's business
    method = {} if front is sdc.tl.n_clusters else {"method": "none", "progress": False}
    front(adata, **method)
    assert "(100 % of the cells) are each of one batch only (adata.obs['batch'])" in caplog.text
    assert "give batch_key='batch'" in caplog.text
    caplog.clear()
    front(adata, batch_key="batch", **method)
    del adata.obs["batch"]
    front(adata, **method)
    assert not caplog.text


@pytest.mark.parametrize("front", [sdc.tl.n_clusters, sdc.tl.deepclust])
def test_they_are_told_where_names_of_cells_repeat(front, caplog):
    """As they do in what concat makes of two runs."""
    adata = shifted()
    adata.obs_names = [f"cell{i % 7}" for i in range(adata.n_obs)]
    front(adata, **({} if front is sdc.tl.n_clusters else {"method": "none", "progress": False}))
    assert "are each of one batch only" in caplog.text


def test_many_cells_are_corrected_as_few_are(monkeypatch):
    adata = shifted()
    inputs, raw = Inputs("counts", "sqrt", 0.5, 5), read(adata, batch_key="batch")
    whole = inputs.fit(raw, seed=0)
    monkeypatch.setattr("scdeepclust.data.inputs.CHUNK", 7)
    parts = Inputs("counts", "sqrt", 0.5, 5).fit(raw, seed=0)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert not np.allclose(whole, Inputs("counts", "sqrt", 0.5, 5).fit(read(adata), seed=0), atol=0.1)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("batch", ["1", "2"]),
        ("Sample_ID", ["1", "2"]),
        ("orig.ident", ["1", "2"]),
        ("cell_type", None),
        ("condition", None),
        ("leiden", None),
    ],
)
def test_which_columns_are_batches_their_names_say(column, found):
    labels = pd.Series(["0"] * 200 + ["1"] * 50 + ["2"] * 50 + [None] * 10, dtype="category")
    batch = np.array(["a", "b"] * 100 + ["a"] * 50 + ["b"] * 50 + ["a"] * 10)
    told = separating_batches(pd.DataFrame({column: pd.Categorical(batch, categories=["a", "b", "none"])}), labels)
    assert told == (found and (column, found, pytest.approx(1 / 3), True))


def test_several_batches_may_stand_for_one_difference():
    """As donors do of which some are treated, so that a cluster has no batch of its own."""
    labels = pd.Series(np.repeat(["0", "1", "2"], [400, 120, 80]), dtype="category")
    donors = np.array(["a", "b", "c", "d"])
    batch = np.r_[donors[np.arange(400) % 4], donors[np.arange(120) % 2], donors[2 + np.arange(80) % 2]]
    told = separating_batches(pd.DataFrame({"batch": batch}), labels)
    assert told == ("batch", ["1", "2"], pytest.approx(1 / 3), False)
    mixed = np.random.default_rng(0).permutation(batch)
    assert separating_batches(pd.DataFrame({"batch": mixed}), labels) is None


@pytest.mark.parametrize(
    "batch",
    [
        ["a"] * 280 + ["b"] * 20,  # clusters of the batch that has most cells anyway
        ["a", "b"] * 140 + ["b"] * 20,  # a rare cluster of one batch
        [f"c{i}" for i in range(300)],  # a name for each cell
        ["a"] * 300,
        [None] * 300,
    ],
)
def test_what_says_little_of_batches_is_not_told(batch):
    labels = pd.Series(["0"] * 150 + ["1"] * 130 + ["2"] * 20, dtype="category")
    assert separating_batches(pd.DataFrame({"batch": batch}), labels) is None


def test_two_covariates_at_once():
    adata = shifted()
    rng = np.random.default_rng(1)
    donor = rng.integers(2, size=adata.n_obs)
    factor = np.exp(rng.normal(size=100))
    adata.X = rng.poisson(adata.X * np.where(donor[:, None] == 1, factor / factor.mean(), 1.0)).astype(np.float32)
    adata.obs["donor"] = pd.Categorical(np.array(["p", "q"])[donor])
    inputs = sdc.methods.get("idec").inputs("counts")
    raw = read(adata, batch_key="batch", categorical_covariate_keys=["donor"])
    x = inputs.fit(raw, seed=0).numpy()
    assert raw.categories == [["first", "second"], ["p", "q"]]
    for key in ("batch", "donor"):
        assert same_batch(x, adata.obs[key].to_numpy()) < 0.62


def test_corrected_features_are_the_same_by_every_route():
    """Of all cells at once, of a minibatch from its counts, and of the fitted transformation anew."""
    adata = shifted(200)
    raw = read(adata, batch_key="batch")
    inputs = Inputs("counts", "sqrt", 0.5, 8)
    fitted = inputs.fit(raw, seed=0)
    cells = inputs.cells(raw, device=torch.device("cpu"), batch_size=50, with_counts=True, x=fitted)
    batch = cells[torch.arange(20)]
    assert isinstance(cells, Cells)
    torch.testing.assert_close(
        cells.features(batch.counts, batch.size, batch.covariates), fitted[:20], atol=2e-5, rtol=1e-4
    )
    twin = Inputs("counts", "sqrt", 0.5, 8)
    twin.load_state_dict(inputs.state_dict())
    torch.testing.assert_close(twin.project(raw), fitted, atol=2e-5, rtol=1e-4)


def test_a_correction_repeats_itself_and_leaves_global_states():
    x, categories = torch.randn(200, 4), torch.eye(2).repeat(100, 1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    first, again = Correction(), Correction()
    for one in (first, again):
        one.fit(x, categories, seed=3)
    assert torch.equal(first(x, categories), again(x, categories))
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_what_no_correction_can_learn_from_changes_little():
    """Batches drawn at random differ by chance alone."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(4, 6))
    x = torch.tensor(centres[rng.integers(4, size=600)] + 0.3 * rng.normal(size=(600, 6)), dtype=torch.float32)
    x -= x.mean(0)
    categories = torch.eye(2)[rng.integers(2, size=600)]
    correction = Correction()
    correction.fit(x, categories, seed=0)
    assert (correction(x, categories) - x).square().mean() < 0.02 * x.square().mean()


def test_a_shift_of_one_batch_is_taken_out():
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(4, 6))
    clean = centres[rng.integers(4, size=800)] + 0.2 * rng.normal(size=(800, 6))
    code = rng.integers(2, size=800)
    x = torch.tensor(clean + code[:, None] * rng.normal(size=6), dtype=torch.float32)
    x -= x.mean(0)
    categories = torch.eye(2)[code]
    correction = Correction()
    correction.fit(x, categories, seed=0)
    found = correction(x, categories).double().numpy()
    clean -= clean.mean(0)
    assert ((found - clean) ** 2).mean() < 0.1 * ((x.numpy() - clean) ** 2).mean()


def test_cells_of_no_category_are_left_as_they_are():
    x, categories = torch.randn(100, 3), torch.eye(2).repeat(50, 1)
    correction = Correction()
    assert torch.equal(correction(x, categories), x)  # not fitted
    correction.fit(x, categories, seed=0)
    assert torch.equal(correction(x, torch.zeros(100, 2)), x)
    assert torch.equal(correction(x, None), x)


# --------------------------------------------------------------------------------------------------------- new cells


@pytest.fixture(scope="module")
def model():
    method = sdc.methods.get("idec", n_clusters=4, pretrain_steps=60, cluster_steps=20, n_init=3)
    trained = sdc.Model(shifted(), method, batch_key="batch")
    trained.train(progress=False)
    return trained


def test_new_cells_of_known_batches_get_their_types(model, tmp_path):
    new = shifted(seed=0)[::3].copy()
    model.save(tmp_path / "model")
    loaded = sdc.Model.load(tmp_path / "model")
    assert loaded.covariate_categories == [["first", "second"]]
    np.testing.assert_array_equal(loaded.predict(new), model.predict()[::3])
    np.testing.assert_allclose(
        loaded.get_latent_representation(new), model.get_latent_representation()[::3], rtol=1e-3, atol=1e-4
    )


def test_an_unknown_batch_is_named_and_left_uncorrected(model):
    new = shifted()
    new.obs["batch"] = new.obs["batch"].cat.rename_categories({"first": "third"})
    with pytest.warns(UserWarning, match=r"obs\['batch'\].*'third'; it knows 'first', 'second'.*not corrected"):
        found = sdc.tl.assign(new, model, copy=True)
    assert np.isfinite(found.obsm["X_deepclust"]).all()
    known = (new.obs["batch"] == "second").to_numpy()
    np.testing.assert_array_equal(found.obs["deepclust"][known], model.predict()[known])


def test_a_missing_column_is_an_unknown_batch(model):
    new = shifted()
    del new.obs["batch"]
    with pytest.warns(UserWarning, match=r"adata.obs has no column 'batch', which the model was trained with"):
        assert np.isfinite(model.get_latent_representation(new)).all()


# ---------------------------------------------------------------------------------------------------------- bad input


def refused(adata, *words, error=ValueError, **arguments):
    with pytest.raises(error) as raised:
        sdc.tl.deepclust(adata, "idec", n_clusters=3, progress=False, **arguments)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("argument", ["batch_key", "categorical_covariate_keys"])
class TestColumns:
    def given(self, argument, key):
        return {argument: key if argument == "batch_key" else [key]}

    def test_a_category_of_one_cell(self, counts, same, argument):
        counts.obs["lane"] = ["alone", *["a"] * 150, *["b"] * 149]
        before = counts.copy()
        refused(counts, f"{argument}='lane'", "1 of 3", "single cell", "'alone'", **self.given(argument, "lane"))
        same(counts, before)

    def test_numbers_that_are_no_categories(self, counts, argument):
        counts.obs["age"] = np.arange(300) / 7
        refused(counts, f"{argument}='age'", "300 of 300", "numbers", **self.given(argument, "age"))

    def test_missing_values(self, counts, argument):
        counts.obs["lane"] = pd.Categorical([None, *["a"] * 299])
        refused(counts, f"{argument}='lane'", "1 cells", "drop", **self.given(argument, "lane"))

    def test_missing_column(self, counts, argument):
        refused(counts, f"{argument}='lane'", "'cell_type'", error=KeyError, **self.given(argument, "lane"))


@pytest.mark.parametrize("keys", [3, "cell_type"])
def test_what_is_no_list(counts, keys):
    words = f"categorical_covariate_keys={keys!r} must be a list of names"
    refused(counts, words, error=TypeError, categorical_covariate_keys=keys)


def test_one_column_twice(counts):
    refused(counts, "twice", batch_key="cell_type", categorical_covariate_keys=["cell_type"])


def test_a_single_batch_changes_no_feature(counts, few):
    counts.obs["batch"] = "only"
    inputs = sdc.methods.get("idec").inputs("counts")
    plain, told = (inputs.fit(read(counts, batch_key=key), seed=0) for key in (None, "batch"))
    assert torch.equal(plain, told)
    assert run(counts, few("idec"), batch_key="batch").obs["deepclust"].notna().all()


def test_covariates_are_recorded(counts, few, tmp_path):
    counts.obs["batch"], counts.obs["donor"] = ["x", "y"] * 150, ["p", "q", "r"] * 100
    found = run(counts, few("idec"), batch_key="batch", categorical_covariate_keys=("donor",))
    assert found.uns["deepclust"]["params"]["categorical_covariate_keys"] == ["donor"]
    found.write_h5ad(tmp_path / "a.h5ad")
    assert list(ad.read_h5ad(tmp_path / "a.h5ad").uns["deepclust"]["params"]["categorical_covariate_keys"]) == ["donor"]


# ------------------------------------------------------------------------------------------------- names of categories


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (pd.to_datetime(["2020-01-01", "2020-01-02"] * 100), None),
        (np.array([0, 1] * 100), np.array([0.0, 1.0] * 100)),
        (np.array([0.0, 1.0] * 100), np.array(["0", "1"] * 100)),
        (np.array([0.5, 1.5] * 100), None),
        (np.array([True, False] * 100), np.array(["True", "False"] * 100)),
    ],
    ids=["dates", "integers, then floats", "floats, then words", "halves", "booleans"],
)
@pytest.mark.filterwarnings("error:.*has not seen:UserWarning")
def test_categories_are_known_again_in_whatever_type(few, first, later):
    adata = sdc.datasets.simulate_types(200, 60, n_types=3)
    adata.obs["batch"] = first
    model = sdc.Model(adata, few("idec"), batch_key="batch")
    model.train(progress=False)
    if later is not None:
        adata.obs["batch"] = later
    np.testing.assert_allclose(
        model.get_latent_representation(adata), model.get_latent_representation(), rtol=1e-3, atol=1e-4
    )


def test_categories_that_are_written_alike_are_refused(few, same):
    adata = sdc.datasets.simulate_types(200, 60, n_types=3)
    adata.obs["batch"] = pd.Categorical([1, "1"] * 100)
    with pytest.raises(ValueError, match="batch_key='batch': different categories have the same name"):
        run(adata, few("idec"), batch_key="batch")


def test_a_batch_of_dropped_cells_is_not_known(few):
    adata = sdc.datasets.simulate_types(200, 60, n_types=3)
    x = adata.X.toarray()
    x[:5] = 0
    adata.X = x
    adata.obs["batch"] = ["z"] * 5 + ["a", "b", "c"] * 65
    model = sdc.Model(adata, few("idec"), batch_key="batch", drop_empty=True)
    assert model.covariate_categories == [["a", "b", "c"]]
