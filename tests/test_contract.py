"""What every method keeps, present and future: the registry says which ones there are."""

from __future__ import annotations

import random
from dataclasses import fields

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import ImplicitModificationWarning
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, homogeneity_score

import scdeepclust as sdc
from scdeepclust.checkpoint import Checkpoint
from scdeepclust.train import Trainer

# A network of a few steps may lose a cluster, and says so; what it then does is another test's matter.
pytestmark = pytest.mark.filterwarnings("ignore::scdeepclust.losses.clustering.collapse.CollapseWarning")

KEYS = {"obs": ["deepclust"], "obsm": ["X_deepclust", "deepclust_proba"], "uns": ["deepclust"]}
FORMATS = {
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "float32": lambda x: x.toarray().astype(np.float32),
    "float64": lambda x: x.toarray().astype(np.float64),
    "int64": lambda x: x.toarray().astype(np.int64),
    "sparse int32": lambda x: x.astype(np.int32),
    "unsorted csr": lambda x: sparse.csr_matrix(x[:, ::-1])[:, ::-1],
    "fortran": lambda x: np.asfortranarray(x.toarray()),
}


def run(adata, method, **arguments):
    return sdc.tl.deepclust(adata, method, copy=True, progress=False, **arguments)


def assert_same_result(a, b):
    pd.testing.assert_series_equal(a.obs["deepclust"], b.obs["deepclust"])
    pd.testing.assert_frame_equal(a.obsm["deepclust_proba"], b.obsm["deepclust_proba"], check_exact=True)
    np.testing.assert_array_equal(a.obsm["X_deepclust"], b.obsm["X_deepclust"])


def assert_finite(adata):
    assert adata.obs["deepclust"].notna().all()
    assert np.isfinite(adata.obsm["X_deepclust"]).all()
    assert np.isfinite(adata.obsm["deepclust_proba"]).all(axis=None)


# ---------------------------------------------------------------------------------------------------- what is found


def test_separated_types_are_found(variant):
    adata = sdc.datasets.simulate_types(400, 100, n_types=4, separation=2.0, random_state=1)
    steps = {"pretrain_steps": 250, "cluster_steps": 100, "max_epochs": 60}
    steps = {k: v for k, v in steps.items() if k in {f.name for f in fields(sdc.methods.registry()[variant.name])}}
    found = run(adata, variant.small(n_clusters=4, **steps))
    assert adjusted_rand_score(adata.obs["cell_type"], found.obs["deepclust"]) > 0.95


def test_number_of_clusters_is_found_where_none_is_given(types, method):
    steps = {"pretrain_steps": 60, "max_epochs": 30}
    steps = {k: v for k, v in steps.items() if k in method.small().params}
    found = run(types, method.small(n_clusters=None, **steps))
    chosen = found.uns["deepclust"]["n_clusters"]
    assert chosen["chosen_by"] == "signal share"
    assert 3 <= chosen["n_clusters"] <= 12
    assert len(found.obs["deepclust"].cat.categories) == chosen["n_clusters"]
    # Leiden's resolution may split a type, but its clusters do not mix well separated ones.
    assert homogeneity_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9


# ------------------------------------------------------------------------------------------------- nothing by chance


def test_same_call_twice_gives_the_same_bits(types, clustered, variant):
    assert_same_result(run(types, variant.small()), clustered(variant))


def test_a_generator_is_a_seed_too(types, method):
    once, again = (run(types, method.small(), random_state=np.random.default_rng(3)) for _ in range(2))
    assert_same_result(once, again)


@pytest.mark.parametrize("n_clusters", [3, None])
def test_global_random_states_and_threads_are_untouched(types, method, n_clusters, tmp_path):
    def states():
        numpy = [str(s) for s in np.random.get_state()]  # noqa: NPY002
        return random.getstate(), numpy, torch.get_rng_state().tolist(), torch.get_num_threads()

    before = states()
    model = sdc.Model(types, method.small(n_clusters=n_clusters))
    model.train(progress=False)
    model.save(tmp_path / "model")
    sdc.tl.assign(types, tmp_path / "model", copy=True)
    assert states() == before


def test_resumed_from_every_epoch_gives_the_same_bits(types, variant, tmp_path, monkeypatch, same):
    states, epochs, done = [], [], []
    save, train = Checkpoint.save, Trainer._epoch

    def recording(self, state):
        save(self, state)
        states.append(self.path.read_bytes())
        done.append(len(epochs))

    def counted(*given):
        epochs.append(1)
        return train(*given)

    def trained(path):
        model = sdc.Model(types, variant.small())
        model.train(batch_size=128, checkpoint=path, progress=False)
        return model, {k: v.numpy() for k, v in model.net.state_dict().items()}

    monkeypatch.setattr(Trainer, "_epoch", counted)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", recording)
        whole, weights = trained(tmp_path / "whole.ckpt")
    n_epochs = len(epochs)
    assert len(states) > n_epochs  # one after every epoch, and one after every phase
    for i, state in enumerate(states):
        path = tmp_path / f"{i}.ckpt"
        path.write_bytes(state)
        epochs.clear()
        again, weights_again = trained(path)
        assert len(epochs) == n_epochs - done[i]  # what was done is not done again
        same(weights_again, weights, f"from state {i}")
        same(again.history, whole.history, f"from state {i}")
        same(again.predict(), whole.predict(), f"from state {i}")


def test_a_finished_checkpoint_gives_the_result_without_training(types, clustered, method, tmp_path, monkeypatch):
    expected = clustered(method)
    run(types, method.small(), checkpoint=tmp_path / "run.ckpt")
    monkeypatch.setattr("scdeepclust.train.Trainer._epoch", lambda *_: pytest.fail("trained again"))
    assert_same_result(run(types, method.small(), checkpoint=tmp_path / "run.ckpt"), expected)


# --------------------------------------------------------------------------------------------------------- the input


@pytest.mark.parametrize("form", FORMATS)
def test_labels_depend_on_values_not_on_their_container(counts, clustered, method, form):
    counts.X = FORMATS[form](counts.X)
    assert_same_result(run(counts, method.small()), clustered(method))


def test_a_layer_serves_as_x_does(counts, clustered, method):
    counts.layers["raw"] = counts.X
    counts.X = np.full(counts.shape, -1.0)
    assert_same_result(run(counts, method.small(), layer="raw"), clustered(method))


def test_a_view_serves_as_its_copy_does_and_its_parent_stays(counts, method, same):
    parent, view = counts.copy(), counts[::2, 10:]
    expected = run(view.copy(), method.small())
    # anndata says by this warning that writing turns a view into an AnnData of its own
    with pytest.warns(ImplicitModificationWarning):
        sdc.tl.deepclust(view, method.small(), progress=False)
    assert not view.is_view
    assert_same_result(view, expected)
    same(counts, parent)


def test_a_representation_needs_no_x_and_its_key_does_not_matter(types, method):
    pcs = np.asarray(types.X[:, :12].toarray(), dtype=np.float32) - 5
    with_x = run(ad.AnnData(types.X, obsm={"X_pca": pcs}), method.of_features(), use_rep="X_pca")
    without_x = run(ad.AnnData(obs=types.obs[[]], obsm={"other": pcs}), method.of_features(), use_rep="other")
    frame = pd.DataFrame(pcs, index=types.obs_names)
    framed = run(ad.AnnData(obs=types.obs[[]], obsm={"frame": frame}), method.of_features(), use_rep="frame")
    as_x = run(ad.AnnData(pcs, obs=types.obs[[]]), method.of_features(), use_rep="X")
    for other in (without_x, framed, as_x):
        np.testing.assert_array_equal(with_x.obs["deepclust"].to_numpy(), other.obs["deepclust"].to_numpy())
        np.testing.assert_array_equal(with_x.obsm["X_deepclust"], other.obsm["X_deepclust"])


def test_lognormalised_values_serve_methods_that_need_no_counts(lognorm, method):
    found = run(lognorm, method.of_features())
    assert_finite(found)


def test_labels_in_obs_are_not_read(counts, clustered, method):
    shuffled = np.random.default_rng(0).permutation(counts.obs["cell_type"])
    counts.obs["cell_type"] = counts.obs["label"] = shuffled
    assert_same_result(run(counts, method.small()), clustered(method))


def test_marked_genes_are_used_and_all_genes_count_for_the_depth(counts, method):
    mask = np.arange(counts.n_vars) % 2 == 0
    counts.var["highly_variable"] = mask
    by_column, by_array = run(counts, method.small()), run(counts, method.small(), mask_var=mask)
    assert_same_result(by_column, by_array)
    assert (
        np.abs(by_column.obsm["X_deepclust"] - run(counts, method.small(), mask_var=None).obsm["X_deepclust"]).max() > 0
    )


def test_batches_are_accepted(counts, method):
    counts.obs["batch"] = pd.Categorical(
        np.where(np.arange(counts.n_obs) % 2, "a", "b"), categories=["a", "b", "unused"]
    )
    assert_finite(run(counts, method.small(), batch_key="batch"))


@pytest.mark.parametrize("n_obs", [129, 127, 65, 64], ids=lambda n: f"{n} cells")
def test_a_last_short_minibatch_does_no_harm(types, variant, n_obs):
    assert_finite(run(types[:n_obs].copy(), variant.small(), batch_size=64, drop_empty=True))


def test_a_constant_gene_does_no_harm(counts, variant):
    x = counts.X.toarray()
    x[:, 3] = 2
    counts.X = x
    assert_finite(run(counts, variant.small()))


def test_a_constant_column_does_no_harm(types, method):
    pcs = types.X[:, :8].toarray()
    pcs[:, 2] = 1
    assert_finite(run(ad.AnnData(obs=types.obs[[]], obsm={"pcs": pcs}), method.of_features(), use_rep="pcs"))


def test_empty_cells_and_genes_are_left_out_where_asked(counts, variant):
    x = counts.X.toarray()
    x[[0, 7, 299]] = 0
    x[:, [2, 50]] = 0
    counts.X = x
    found = run(counts, variant.small(), drop_empty=True)
    empty = np.isin(np.arange(300), [0, 7, 299])
    np.testing.assert_array_equal(found.obs["deepclust"].isna(), empty)
    for key in KEYS["obsm"]:
        np.testing.assert_array_equal(np.isnan(np.asarray(found.obsm[key])).all(1), empty)
    filled = run(counts[~empty][:, x.sum(0) > 0].copy(), variant.small())
    assert_same_result(found[~empty], filled)


def test_no_pretraining_and_no_clustering_still_gives_labels(types, method, tmp_path):
    names = {f.name for f in fields(sdc.methods.registry()[method.name])} & {
        "pretrain_steps",
        "cluster_steps",
        "max_epochs",
    }
    found = run(types, method.small(**dict.fromkeys(names, 0)))
    assert_finite(found)
    assert len(found.uns["deepclust"]["history"]) == 0
    found.write_h5ad(tmp_path / "a.h5ad")


# -------------------------------------------------------------------------------------------------------- the result


def test_clusters_are_numbered_by_size(clustered, variant):
    labels = clustered(variant).obs["deepclust"]
    assert list(labels.cat.categories) == ["0", "1", "2"]
    sizes = labels.value_counts(sort=False).to_numpy()
    assert (np.diff(sizes) <= 0).all()
    assert list(clustered(variant).uns["deepclust"]["sizes"].values()) == sizes.tolist()


def test_memberships_are_probabilities_whose_largest_is_the_label(clustered, variant):
    adata = clustered(variant)
    proba = adata.obsm["deepclust_proba"]
    assert list(proba.columns) == list(adata.obs["deepclust"].cat.categories)
    assert set(proba.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(proba.idxmax(axis=1), adata.obs["deepclust"])


def test_embedding_is_float32(clustered, variant):
    z = clustered(variant).obsm["X_deepclust"]
    assert z.dtype == np.float32
    assert z.ndim == 2
    assert len(z) == 300


def test_only_the_documented_keys_are_written(counts, method, same):
    counts.layers["spliced"], counts.raw = counts.X.copy(), counts.copy()
    counts.obsm["X_pca"], counts.obsp["d"] = np.ones((300, 2)), sparse.eye_array(300, format="csr")
    counts.varm["PCs"], counts.uns["nested"] = np.ones((100, 2)), {"a": {"b": np.arange(3)}}
    before = counts.copy()
    assert sdc.tl.deepclust(counts, method.small(), progress=False) is None
    for part, keys in KEYS.items():
        for key in keys:
            assert key in getattr(counts, part)
            del getattr(counts, part)[key]
    counts.obsm.pop("X_deepclust_before", None)
    same(counts, before)


def test_an_embedding_from_before_clustering_is_kept_where_clustering_changed_it(method, clustered):
    found = clustered(method)
    kept = found.obsm.get("X_deepclust_before")
    compared = set(found.uns["deepclust"]["preservation"])  # with components: not where a network reads genes
    assert compared in (set(), {"after"} if kept is None else {"before", "after"})
    assert kept is None or not np.array_equal(kept, found.obsm["X_deepclust"])


def test_key_added_names_the_keys_and_nothing_else(counts, clustered, method):
    sdc.tl.deepclust(counts, method.small(), key_added="mine", progress=False)
    assert_same_result(
        ad.AnnData(
            obs=counts.obs[["mine"]].rename(columns={"mine": "deepclust"}),
            obsm={"X_deepclust": counts.obsm["X_mine"], "deepclust_proba": counts.obsm["mine_proba"]},
        ),
        clustered(method),
    )
    assert "mine" in counts.uns
    assert not any("deepclust" in key for part in KEYS for key in getattr(counts, part))


def test_a_second_run_replaces_the_first(counts, clustered, method):
    sdc.tl.deepclust(counts, method.small(n_clusters=5), progress=False)
    sdc.tl.deepclust(counts, method.small(), progress=False)
    assert_same_result(counts, clustered(method))


def test_copy_leaves_the_original(counts, types, method, same):
    assert isinstance(run(counts, method.small()), ad.AnnData)
    same(counts, types)


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_results_survive_writing(clustered, method, form, tmp_path):
    adata, path = clustered(method), tmp_path / f"a.{form}"
    getattr(adata, f"write_{form}")(path)
    back = getattr(ad, f"read_{form}")(path)
    assert_same_result(adata, back)
    assert all(isinstance(c, str) for c in back.obs["deepclust"].cat.categories)
    old, new = adata.uns["deepclust"], back.uns["deepclust"]
    assert set(old) == set(new)
    assert old["params"] == {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in new["params"].items()}
    assert old["versions"] == new["versions"]
    assert old["n_clusters"] == new["n_clusters"]
    assert old["sizes"] == new["sizes"]
    pd.testing.assert_frame_equal(
        old["history"].reset_index(drop=True),
        new["history"].reset_index(drop=True),
        check_exact=True,
        check_dtype=False,
    )


def test_every_parameter_is_recorded(clustered, method):
    params = clustered(method).uns["deepclust"]["params"]
    assert params["method"] == method.name
    assert {f.name for f in fields(sdc.methods.registry()[method.name])} <= set(params)
    assert {"layer", "use_rep", "batch_key", "random_state", "batch_size", "device"} <= set(params)


# --------------------------------------------------------------------------------------------------------- the model


def test_a_loaded_model_gives_the_same_bits(types, variant, tmp_path):
    model = sdc.Model(types, variant.small())
    model.train(progress=False)
    model.save(tmp_path / "model")
    loaded = sdc.Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.get_latent_representation(types), model.get_latent_representation(types))
    np.testing.assert_array_equal(loaded.predict(types, soft=True), model.predict(types, soft=True))
    pd.testing.assert_frame_equal(loaded.history, model.history, rtol=1e-12)
    assert loaded.method == model.method


def test_training_cells_get_their_labels_again(types, clustered, variant, tmp_path):
    model = sdc.Model(types, variant.small())
    model.train(progress=False)
    labels = clustered(variant).obs["deepclust"].to_numpy()
    np.testing.assert_array_equal(model.predict(), labels)
    np.testing.assert_array_equal(model.predict(types), labels)
    np.testing.assert_allclose(
        model.get_latent_representation(types), model.get_latent_representation(), rtol=1e-3, atol=1e-4
    )


def test_the_order_of_genes_and_cells_does_not_matter_to_a_model(types, method):
    model = sdc.Model(types, method.small())
    model.train(progress=False)
    rng = np.random.default_rng(0)
    cells, genes = rng.permutation(types.n_obs), rng.permutation(types.n_vars)
    expected = model.get_latent_representation(types)
    np.testing.assert_array_equal(model.get_latent_representation(types[:, genes].copy()), expected)
    np.testing.assert_allclose(model.get_latent_representation(types[cells]), expected[cells], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.predict(types[cells]), model.predict(types)[cells])


def test_a_model_of_some_genes_reads_all_of_them(counts, method):
    counts.var["highly_variable"] = np.arange(100) < 40
    model = sdc.Model(counts, method.small())
    model.train(progress=False)
    np.testing.assert_array_equal(model.predict(counts), model.predict())


def test_assign_writes_labels_and_confidence(counts, method):
    model = sdc.Model(counts[:200].copy(), method.small())
    model.train(progress=False)
    new, before = counts[200:].copy(), counts.copy()
    found = sdc.tl.assign(new, model, copy=True, key_added="new")
    assert set(found.obs.columns) - set(before.obs.columns) == {"new", "new_confidence"}
    np.testing.assert_array_equal(found.obs["new"], model.predict(new))
    np.testing.assert_array_equal(found.obs["new_confidence"], found.obsm["new_proba"].max(axis=1))
    assert list(found.obs["new"].cat.categories) == ["0", "1", "2"]


def test_a_representation_can_be_assigned(types, method, tmp_path):
    adata = ad.AnnData(obs=types.obs[[]], obsm={"pcs": types.X[:, :8].toarray()})
    model = sdc.Model(adata, method.of_features(), use_rep="pcs")
    model.train(progress=False)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(sdc.Model.load(tmp_path / "model").predict(adata), model.predict())


def test_missing_genes_are_zero_with_a_warning(types, method):
    model = sdc.Model(types, method.small())
    model.train(progress=False)
    zeroed = types.copy()
    zeroed.X = zeroed.X.toarray() * (np.arange(100) >= 10)
    with pytest.warns(UserWarning, match="10 of the model's 100 genes are missing"):
        some = model.get_latent_representation(zeroed[:, 10:].copy())
    np.testing.assert_array_equal(some, model.get_latent_representation(zeroed))


# ------------------------------------------------------------------------------------------------- one run after another


def test_a_key_describes_its_last_run(types, few):
    adata = types.copy()
    other = sdc.Model(types, few("idec", n_latent=5))
    other.train(progress=False)
    sdc.tl.deepclust(adata, few("deepwak", n_heads=2), progress=False)
    assert "deepclust_heads" in adata.obsm
    sdc.tl.assign(adata, other)
    assert "deepclust_confidence" in adata.obs
    assert not {"deepclust_heads", "X_deepclust_before"} & set(adata.obsm)
    sdc.tl.deepclust(adata, few("idec"), progress=False)
    assert "deepclust_confidence" not in adata.obs
    assert "X_deepclust_before" in adata.obsm


def test_a_model_keeps_the_values_that_it_was_given(types, few):
    """In-place steps between making and training it change nothing, whatever holds the values."""
    for x in (types.X.astype(np.float32), types.X.toarray().astype(np.float32)):
        adata = types.copy()
        adata.X = x.copy()
        adata.obsm["rep"] = types.X[:, :9].toarray().astype(np.float32)
        for use_rep in (None, "rep"):
            model, expected = (sdc.Model(adata, few("idec"), use_rep=use_rep) for _ in range(2))
            expected.train(progress=False)
            kept = adata.obsm["rep"].copy()
            (adata.X.data if use_rep is None and hasattr(adata.X, "indptr") else adata.X)[:] *= 3
            adata.obsm["rep"] *= 3
            model.train(progress=False)
            np.testing.assert_array_equal(model.get_latent_representation(), expected.get_latent_representation())
            adata.X, adata.obsm["rep"] = x.copy(), kept


def test_repeated_names_of_genes_are_numbered_as_anndata_would(types, few):
    adata = types.copy()
    adata.var_names = [*types.var_names[:50], *types.var_names[:50]]
    mask = np.arange(100) != 0  # the first of a pair is not used
    model = sdc.Model(adata, few("idec"), mask_var=mask)
    model.train(progress=False)
    with pytest.raises(ValueError, match=r"50 gene names occur more than once: .*var_names_make_unique"):
        model.predict(adata)
    adata.var_names_make_unique()
    assert model.var_names == list(adata.var_names[mask])
    np.testing.assert_allclose(
        model.get_latent_representation(adata), model.get_latent_representation(), rtol=1e-3, atol=1e-4
    )


def test_heads_of_cells_that_share_names(types, few):
    adata = types.copy()
    x = adata.X.toarray()
    x[7] = 0
    adata.X = x
    adata.obs_names = ["same"] * adata.n_obs
    sdc.tl.deepclust(adata, few("deepwak", n_heads=2), drop_empty=True, progress=False)
    heads = adata.obsm["deepclust_heads"]
    assert heads.iloc[7].isna().all()
    assert heads.drop(columns=[]).notna().all(axis=1).sum() == adata.n_obs - 1


def test_what_was_found_of_other_clusters_goes_with_them(types, few):
    adata = types.copy()
    sdc.tl.deepclust(adata, few("idec"), progress=False)
    sdc.tl.enrichment(adata, "deepclust", "cell_type")
    sdc.tl.enrichment(adata, "deepclust", "cell_type", key_added="kept")
    sdc.tl.deepclust(adata, few("idec"), random_state=1, progress=False)
    assert "deepclust_enrichment" not in adata.uns
    assert "kept" in adata.uns


def test_a_column_that_no_run_has_left_stays(counts, few):
    counts.obs["deepclust_confidence"] = 1.0
    sdc.tl.deepclust(counts, few("idec"), progress=False)
    assert (counts.obs["deepclust_confidence"] == 1).all()


@pytest.mark.parametrize(
    ("given", "meant"), [({"n_clusters": 3.0}, 3), ({"hidden": np.array([64, 32])}, (64, 32)), ({"lr": 1}, 1)], ids=str
)
def test_numbers_as_r_and_numpy_have_them(given, meant):
    (name,) = given
    found = sdc.methods.get("idec", **given)
    assert getattr(found, name) == meant
    assert type(getattr(found, name)) is type(meant) or name == "lr"


def test_fractions_are_no_integers():
    with pytest.raises(ValueError, match=r"n_clusters=3.5 must be an integer"):
        sdc.methods.get("idec", n_clusters=3.5)


def test_a_saved_model_knows_how_its_number_was_chosen(types, few, tmp_path, same):
    model = sdc.Model(types, few("idec", n_clusters=None))
    model.train(progress=False)
    model.save(tmp_path / "model")
    loaded = sdc.Model.load(tmp_path / "model")
    same(loaded.choice, model.choice)
    same(loaded.report, model.report)


def test_the_rank_is_of_cells_from_all_over(monkeypatch, types, few):
    """Files are sorted by sample, so the first cells may be of one type."""
    from scdeepclust import networks

    model = sdc.Model(types, few("contrastive"))
    model.train(progress=False)
    one_type = np.concatenate([np.zeros((5000, 3)), np.random.default_rng(0).normal(size=(15_000, 3))])
    monkeypatch.setattr(networks, "embed", lambda net, cells: torch.from_numpy(one_type))
    assert model.method.report(model.net, None)["effective_rank"] > 2.9
