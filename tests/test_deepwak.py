"""Averages within soft clusters as a method: honest about noise, heads for two annotations, pruning, denoising."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, homogeneity_score

import scdeepclust as sdc
from scdeepclust import diffusion, networks
from scdeepclust.checkpoint import Checkpoint
from scdeepclust.data import split as split_of
from scdeepclust.selection import choose_n_clusters

METHOD = "deepwak"
FEW = {"n_clusters": 3, "pretrain_steps": 6, "cluster_steps": 6, "n_init": 3}
SOME = {"n_clusters": 3, "pretrain_steps": 60, "cluster_steps": 80, "n_init": 5}
# All that a network can hold, in one.
FULL = {"n_heads": 2, "n_blocks": 2, "pooling": "linear", "consensus": "learned", "head_dropout": 0.2, "prune": True}


def trained(adata, **arguments):
    options = {k: arguments.pop(k) for k in ("batch_size", "checkpoint") if k in arguments}
    model = sdc.Model(adata, METHOD, **arguments)
    model.train(progress=False, **options)
    return model


def two_ways(n_obs=500, n_vars=150, seed=0):
    """Types and, independent of them, states, whose log-fold changes add up."""
    rng = np.random.default_rng(seed)
    types, states = rng.integers(3, size=n_obs), rng.integers(2, size=n_obs)
    effects = [1.5 * rng.standard_normal((n, n_vars)) * (rng.random((n, n_vars)) < 0.25) for n in (3, 2)]
    rate = np.exp(rng.standard_normal(n_vars) + effects[0][types] + effects[1][states])
    rate *= 2_000 / rate.sum(1, keepdims=True)
    obs = pd.DataFrame({"type": types.astype(str), "state": states.astype(str)})
    adata = ad.AnnData(
        sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs.set_index(obs.index.astype(str))
    )
    return adata[:, np.asarray(adata.X.sum(0)).ravel() > 0].copy()


# ------------------------------------------------------------------------------------------------------------ honesty


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    rate = (0.2 + rng.gamma(1.0, 2.0, 60)) * rng.lognormal(0, 0.2, (400, 1))
    return ad.AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))


@pytest.mark.parametrize("split", ["none", "count_split", "gene_split"])
def test_pure_noise_is_predicted_by_the_published_form_alone(noise, split):
    model = trained(noise, n_clusters=10, split=split, pretrain_steps=40, cluster_steps=100, n_init=3)
    report = model.report["held_out"]
    gain = 1 - report["loss"] / report["loss_of_mean"]
    if split == "none":
        assert gain > 0.05
    else:
        assert gain < 0.02


def test_losses_of_different_runs_are_of_the_same_halves_of_the_same_cells(types):
    reports = [trained(types, **SOME | {"n_clusters": n}).report["held_out"] for n in (2, 3)]
    assert reports[0]["loss_of_mean"] == reports[1]["loss_of_mean"]
    assert reports[1]["loss"] + 2 * reports[1]["loss_se"] < reports[0]["loss"]


@pytest.mark.parametrize(("name", "n_seen"), [("deepwak", 270), ("mae", 270), ("idec", 300)])
def test_cells_held_out_have_no_say_in_the_clusters_to_start_from(types, few, monkeypatch, name, n_seen):
    """Where the loss of what was not seen is reported."""
    seen = []

    def choose(raw, *given, **options):
        seen.append(list(raw.obs_names))
        return choose_n_clusters(raw, *given, **options)

    monkeypatch.setattr("scdeepclust.model.choose_n_clusters", choose)
    model = sdc.Model(types, few(name, n_clusters=None))
    model.train(progress=False)
    learnt = types.obs_names[split_of(300, model.seed)[0].numpy()] if n_seen < 300 else types.obs_names
    assert [sorted(names) for names in seen] == [sorted(learnt)]
    assert len(learnt) == n_seen
    assert adjusted_rand_score(types.obs["cell_type"], model.predict()) > 0.9


# -------------------------------------------------------------------------------------------------------------- heads


def test_two_heads_find_two_annotations():
    adata = two_ways()
    sdc.tl.deepclust(adata, METHOD, **SOME, n_heads=2, progress=False)
    heads = adata.obsm["deepclust_heads"]
    agreement = np.array(
        [[adjusted_mutual_info_score(adata.obs[a], heads[h]) for a in ("type", "state")] for h in ("head0", "head1")]
    )
    own = max(agreement[0, 0] + agreement[1, 1], agreement[0, 1] + agreement[1, 0]) / 2
    assert own > 0.6
    assert agreement.sum() / 2 - own < 0.25
    assert adjusted_mutual_info_score(*(heads[h] for h in heads)) < 0.4
    assert list(heads.index) == list(adata.obs_names)
    for head in heads:
        assert (np.diff(heads[head].value_counts(sort=False)) <= 0).all()
    assert adata.obsm["X_deepclust"].shape == (500, 40)


def test_cells_left_out_have_no_head_and_heads_survive_writing(types, tmp_path):
    adata = types.copy()
    adata.X = adata.X.toarray()
    adata.X[5] = 0
    sdc.tl.deepclust(adata, METHOD, **FEW, n_heads=2, drop_empty=True, progress=False)
    heads = adata.obsm["deepclust_heads"]
    assert heads.iloc[5].isna().all()
    assert heads.drop(index="cell5").notna().all(axis=None)
    adata.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(ad.read_h5ad(tmp_path / "a.h5ad").obsm["deepclust_heads"], heads)


def test_the_weight_of_independence_lowers_what_heads_share():
    adata = two_ways(300)
    shared = []
    for weight in (0.0, 3.0):
        heads = trained(adata, **SOME, n_heads=2, independence=weight).tables["heads"]
        shared.append(adjusted_mutual_info_score(heads["head0"], heads["head1"]))
    assert shared[1] < max(shared[0], 0.05)


@pytest.mark.parametrize("consensus", ["ensemble", "learned"])
def test_a_consensus_of_heads_is_one_partition_and_serves_new_cells(types, consensus, tmp_path):
    adata, new = types[:200].copy(), types[200:].copy()
    model = trained(adata, **SOME, n_heads=2, consensus=consensus)
    assert model.get_latent_representation().shape == (200, 20 if consensus == "learned" else 40)
    assert adjusted_rand_score(adata.obs["cell_type"], model.predict()) > 0.9
    assert adjusted_rand_score(new.obs["cell_type"], model.predict(new)) > 0.9
    model.save(tmp_path / "model")
    loaded = sdc.Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(new, soft=True), model.predict(new, soft=True))
    pd.testing.assert_frame_equal(loaded.denoise(new), model.denoise(new), check_exact=True)


@pytest.mark.parametrize("split", ["auto", "gene_split", "none"])
def test_everything_at_once_goes_on_from_any_epoch(types, split, tmp_path, monkeypatch, same):
    states, save = [], Checkpoint.save

    def recording(self, state):
        save(self, state)
        states.append(self.path.read_bytes())

    def run(name):
        model = trained(types, **FEW, **FULL, split=split, batch_size=128, checkpoint=tmp_path / name)
        return {k: v.numpy() for k, v in model.net.state_dict().items()}

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", recording)
        whole = run("whole")
    for i, state in enumerate(states):
        (tmp_path / f"{i}").write_bytes(state)
        same(run(f"{i}"), whole, f"from state {i}")


# ------------------------------------------------------------------------------------------------------------ the net


def test_after_training_new_cells_are_averaged_over_all_training_cells(types):
    model = trained(types, **FEW)
    net, z = model.net, torch.from_numpy(model.get_latent_representation())
    head = net.blocks[0][0]
    c = head.partitioner(z).exp()
    expected = (c @ (c.T @ z)) / (c @ c.sum(0))[:, None]
    torch.testing.assert_close(head.means(c, z), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(net.predict(z), head.autoencoder.decode(expected).mean, rtol=1e-4, atol=1e-4)


def test_while_training_a_cell_is_averaged_over_others_alone():
    net = networks.Affinity(6, (8,), 4)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(30, 4, generator=generator)
    head = net.blocks[0][0]
    head.partitioner.start(z.numpy(), np.arange(30) % 3)
    c = head.partitioner(z).exp().detach()
    p = (c @ c.T).fill_diagonal_(0)
    torch.testing.assert_close(head.means(c, z), p @ z / p.sum(1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_a_partitioner_starts_at_the_posterior_of_scikit_learns_discriminants():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=3_000)
    z = rng.normal(size=(3_000, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=(3, 4))[labels]
    net = networks.Affinity(4, (8,), 4)
    partitioner = net.blocks[0][0].partitioner
    partitioner.start(z.astype(np.float32), labels)
    reference = LinearDiscriminantAnalysis(priors=[1 / 3] * 3, solver="lsqr", shrinkage=0.1)
    expected = reference.fit(z, labels).predict_proba(z)
    found = partitioner(torch.from_numpy(z.astype(np.float32))).exp().detach().numpy()
    assert np.abs(found - expected).max() < 0.02
    partitioner.start(z.astype(np.float32), labels, spherical=True)
    means = np.stack([z[labels == k].mean(0) for k in range(3)])
    nearest = ((z[:, None] - means) ** 2).sum(2).argmin(1)
    assert (partitioner(torch.from_numpy(z.astype(np.float32))).argmax(1).numpy() == nearest).mean() > 0.999


# ------------------------------------------------------------------------------------------------ additive partitions


def test_partitions_that_add_up_are_found_where_kmeans_cuts_across():
    rng = np.random.default_rng(0)
    a, b = rng.integers(3, size=600), rng.integers(3, size=600)
    x = 4 * rng.normal(size=(3, 10))[a] + 4 * rng.normal(size=(3, 10))[b] + rng.normal(size=(600, 10))
    found = diffusion.additive(x, 3, 2, n_init=20, random_state=0)
    scores = [[adjusted_rand_score(truth, labels) for labels in found] for truth in (a, b)]
    assert max(scores[0][0] + scores[1][1], scores[0][1] + scores[1][0]) > 1.9
    again = diffusion.additive(x, 3, 2, n_init=20, random_state=0)
    np.testing.assert_array_equal(found, again)
    first, second = diffusion.additive(x, 3, 2, first=a, n_init=20, random_state=0)
    np.testing.assert_array_equal(first, a)
    assert adjusted_rand_score(b, second) > 0.95


def test_a_single_additive_partition_is_that_of_kmeans():
    from sklearn.cluster import KMeans

    adata = sdc.datasets.simulate_types(200, 50, n_types=3, separation=2.0)
    x = np.sqrt(adata.X.toarray())
    expected = KMeans(3, n_init=10, random_state=0).fit_predict(x)
    assert adjusted_rand_score(expected, diffusion.additive(x, 3, 1, n_init=10)[0]) > 0.99


# ------------------------------------------------------------------------------------------------------------ pruning


def test_surplus_clusters_are_removed_and_the_types_stay(types):
    model = trained(types, **SOME | {"n_clusters": 9}, prune=True)
    assert 3 <= model.n_clusters < 9
    assert model.report["n_clusters_of_heads"] == [model.n_clusters]
    assert homogeneity_score(types.obs["cell_type"], model.predict()) > 0.9


def test_heads_keep_their_clusters_where_a_consensus_is_learned_afterwards(types):
    options = {"n_heads": 2, "prune": True, "pretrain_steps": 100, "cluster_steps": 150, "n_init": 3}
    model = trained(types, n_clusters=4, consensus="learned", **options)
    assert max(model.report["n_clusters_of_heads"]) >= 3
    assert homogeneity_score(types.obs["cell_type"], model.predict()) > 0.9


def test_of_a_single_cell_held_out_there_is_no_error_of_the_mean(types):
    """Nor a warning of it."""
    few = types[::20, :40].copy()
    few = few[:, np.asarray(few.X.sum(0)).ravel() > 0].copy()
    assert few.n_obs == 15
    for method, options in ((METHOD, {"prune": True, "n_init": 3, "cluster_steps": 20}), ("mae", {})):
        model = sdc.Model(few, method, n_clusters=3, pretrain_steps=10, **options)
        model.train(progress=False)
        held_out = model.report["held_out"]
        assert np.isnan(held_out["loss_se"])
        assert np.isfinite([held_out["loss"], held_out["loss_of_mean"]]).all()


def test_clusters_of_noise_are_not_needed(noise):
    model = trained(noise, n_clusters=6, prune=True, pretrain_steps=40, cluster_steps=40, n_init=3)
    assert model.n_clusters <= 2


# ---------------------------------------------------------------------------------------------------------- denoising


def test_denoised_expression_is_nearer_to_the_truth_and_keeps_the_means():
    adata = sdc.datasets.simulate_types(300, 100, n_types=3, dispersion=0, return_rates=True)
    rate = adata.layers["rate"]
    x = adata.X.toarray()
    depth = np.median(x.sum(1))
    truth = np.log1p(rate / rate.sum(1, keepdims=True) * depth)
    raw = x / x.sum(1, keepdims=True) * depth
    mask = np.arange(100) < 90
    sdc.tl.deepclust(adata, METHOD, **SOME, mask_var=mask, denoised_layer="denoised", progress=False)
    found = adata.layers["denoised"]
    assert found.dtype == np.float32
    assert np.isnan(found[:, ~mask]).all()
    assert np.square(found - truth)[:, mask].mean() < np.square(np.log1p(raw) - truth)[:, mask].mean() / 5
    np.testing.assert_allclose(np.expm1(found[:, mask]).mean(0), raw[:, mask].mean(0), rtol=1e-3)


def test_a_model_denoises_new_cells_by_the_averages_of_training(types):
    model = trained(types[:200].copy(), **FEW)
    found = model.denoise(types[200:].copy())
    assert list(found.index) == list(types.obs_names[200:])
    assert list(found.columns) == list(types.var_names)
    pd.testing.assert_frame_equal(model.denoise(types[:200].copy()), model.denoise(), rtol=1e-4)


def test_denoising_is_refused_where_there_is_nothing_to_denoise(counts, few, same):
    before = counts.copy()
    with pytest.raises(
        ValueError, match=r"Method .aekmeans. does not denoise expression; scdeepclust\.pp\.denoise does"
    ):
        sdc.tl.deepclust(counts, few("aekmeans"), denoised_layer="d", progress=False)
    with pytest.raises(ValueError, match="denoised_layer='a/b' must be"):
        sdc.tl.deepclust(counts, METHOD, denoised_layer="a/b")
    counts.var_names = ["same", *counts.var_names[1:-1], "same"]
    with pytest.raises(ValueError, match="names of their own"):
        sdc.tl.deepclust(counts, METHOD, denoised_layer="d")
    counts.var_names = before.var_names
    same(counts, before)
    bare = ad.AnnData(obs=counts.obs[[]], obsm={"pcs": counts.X[:, :8].toarray()})
    with pytest.raises(ValueError, match=r"A representation .* has no genes"):
        sdc.tl.deepclust(bare, METHOD, use_rep="pcs", denoised_layer="d")


# ---------------------------------------------------------------------------------------------------------- bad input


def test_molecules_cannot_be_split_where_there_are_none(lognorm, same):
    before = lognorm.copy()
    with pytest.raises(ValueError, match=r"Counts .* are needed"):
        sdc.tl.deepclust(lognorm, METHOD, split="count_split")
    same(lognorm, before)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_clusters", 1, "n_clusters=1 must be an integer at least 2"),
        ("n_clusters", 301, "n_clusters=301 is more than the 300 cells"),
        ("n_heads", 0, "n_heads=0 must be an integer at least 1"),
        ("head_dropout", 1.0, "head_dropout=1.0 must be a number at least 0 below 1"),
        ("split", "half", "split='half' must be one of"),
    ],
    ids=["one cluster", "more clusters than cells", "no head", "all heads dropped", "split"],
)
def test_parameters_that_cannot_serve(types, name, value, message):
    with pytest.raises(ValueError, match=message):
        sdc.tl.deepclust(types, METHOD, **{name: value})


@pytest.mark.parametrize(
    "options", [{}, {"n_heads": 2}, {"n_heads": 2, "consensus": "learned"}, {"n_blocks": 2}], ids=str
)
@pytest.mark.parametrize("n_clusters", [3, 40])
def test_minibatches_of_two_and_clusters_of_one_give_numbers(types, options, n_clusters):
    few = types[:40, np.asarray(types.X[:40].sum(0)).ravel() > 0].copy()
    model = trained(few, **FEW | options | {"n_clusters": n_clusters}, batch_size=2)
    assert np.isfinite(model.predict(soft=True)).all()
    assert np.isfinite(model.denoise()).all(axis=None)
    assert all(np.isfinite(value) for value in model.report["held_out"].values())


@pytest.mark.parametrize("split", ["auto", "none"])
def test_constant_features_and_equal_cells_give_numbers(types, split):
    x = np.ones((60, 12), dtype=np.float32)
    x[:, 0] += np.arange(60) % 2
    adata = ad.AnnData(obs=types.obs[[]].iloc[:60], obsm={"x": x})
    found = sdc.tl.deepclust(adata, METHOD, use_rep="x", split=split, **FEW, copy=True, progress=False)
    assert np.isfinite(found.obsm["deepclust_proba"]).all(axis=None)


def test_genes_themselves_are_read_and_split(types):
    model = trained(types, **SOME, n_pcs=None, split="gene_split", hidden=(32,))
    assert adjusted_rand_score(types.obs["cell_type"], model.predict()) > 0.6
    assert np.isfinite(model.report["held_out"]["loss"])
