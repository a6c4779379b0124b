"""Losses of self-supervision, against slow plain versions, and the methods made of them."""

from __future__ import annotations

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score

import scdeepclust as sdc
from scdeepclust import losses, networks

quick = settings(max_examples=25, deadline=None, derandomize=True)
SELF_SUPERVISED = ["contrastive", "dino", "mae", "triplet"]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def two(seed, n, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.random((n, n))


# ------------------------------------------------------------------------------------------------------------- InfoNCE


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def student(x, y):
    return -math.log(1 + ((x - y) ** 2).sum())


def plain_info_nce(a, b, *, similarity=cosine, temperature=0.5, weights=None, targets=None, share=0.0, decoupled=False):
    h, n = np.concatenate([a, b]), len(a)
    weights, targets = (np.ones((n, n)) if x is None else x for x in (weights, targets))
    total = 0.0
    for i in range(2 * n):
        positive = similarity(h[i], h[(i + n) % (2 * n)]) / temperature
        denominator, alike = 0.0 if decoupled else math.exp(positive), 0.0
        for j in range(2 * n):
            if j % n != i % n:
                s = similarity(h[i], h[j]) / temperature
                denominator += weights[i % n, j % n] * math.exp(s)
                alike += targets[i % n, j % n] * s / 2
        total += math.log(denominator) - (1 - share) * positive - share * alike
    return total / (2 * n)


@quick
@given(
    st.integers(0, 10_000),
    st.integers(2, 7),
    st.sampled_from([cosine, student]),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.booleans(),
    st.booleans(),
)
def test_info_nce_is_the_double_loop(seed, n, similarity, temperature, decoupled, soft):
    a, b, w = two(seed, n)
    p = np.where(np.eye(n), 0, w)
    p /= p.sum(1, keepdims=True)
    same = {"temperature": temperature, "decoupled": decoupled}
    found = losses.info_nce(
        torch.tensor(a), torch.tensor(b), similarity=similarity.__name__, weights=torch.tensor(w),
        targets=torch.tensor(p) if soft else None, target_weight=0.3, **same,
    )  # fmt: skip
    expected = plain_info_nce(a, b, similarity=similarity, weights=w, targets=p, share=0.3 * soft, **same)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_with_cosines_it_is_the_papers_cross_entropy():
    """Simclr: cross entropy over 2n - 1 others with the partner as the class."""
    a, b, _ = (torch.tensor(x) for x in two(0, 6))
    h = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    logits = (h @ h.T / 0.2).fill_diagonal_(-1e9)
    target = torch.cat([torch.arange(6, 12), torch.arange(6)])
    torch.testing.assert_close(
        losses.info_nce(a, b, temperature=0.2), torch.nn.functional.cross_entropy(logits, target)
    )


@pytest.mark.parametrize("decoupled", [False, True])
def test_gradients_are_the_numerical_ones(decoupled):
    a, b, w = (torch.tensor(x) for x in two(1, 5))
    w[0, 1] = w[2, 3] = 0
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.info_nce(x, b, weights=w, decoupled=decoupled), a)


@pytest.mark.parametrize("decoupled", [False, True])
def test_without_negatives_nothing_is_learned_and_nothing_breaks(decoupled):
    for n, weights in ((1, None), (3, torch.zeros(3, 3))):
        a, b = torch.randn(n, 4, requires_grad=True), torch.randn(n, 4)
        loss = losses.info_nce(a, b, weights=weights, decoupled=decoupled)
        loss.backward()
        assert loss == 0
        assert (a.grad == 0).all()


def test_cells_without_negatives_do_not_break_others():
    a, b, _ = (torch.tensor(x) for x in two(0, 4))
    weights = torch.ones(4, 4, dtype=a.dtype)
    weights[0] = 0
    a.requires_grad_()
    losses.info_nce(a, b, weights=weights).backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().sum() > 0


def test_views_that_agree_cost_less():
    a, b, _ = (torch.tensor(x) for x in two(2, 20))
    assert losses.info_nce(a, a) < losses.info_nce(a, b)


# ----------------------------------------------------------------------------------------------------------- negatives


def test_neighbours_of_either_cell_are_no_negatives():
    index = torch.tensor([4, 7, 1, 9])
    neighbors = torch.tensor([[7, 0], [2, 3], [9, 8], [5, 6]])  # 4 finds 7, and 1 finds 9
    expected = torch.ones(4, 4)
    expected[0, 1] = expected[1, 0] = expected[2, 3] = expected[3, 2] = 0
    assert torch.equal(losses.not_among(index, neighbors), expected)


def test_weights_grow_with_distance_and_do_not_depend_on_scale():
    x = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    w = losses.unlike(x, 0.2)
    assert (w.diagonal() == 0).all()
    assert (w[10, 10:18].diff() > 0).all()
    assert torch.equal(w, w.T)
    torch.testing.assert_close(losses.unlike(7 * x, 0.2), w)


def test_alikeness_is_its_formula():
    x = np.random.default_rng(0).normal(size=(30, 4))
    d = np.linalg.norm(x[:, None] - x, axis=2)
    p = np.exp(-2 * (d / np.sort(d, 1)[:, [3]]) ** 2)
    np.fill_diagonal(p, 0)
    np.testing.assert_allclose(losses.alike(torch.tensor(x), 0.1), p / p.sum(1, keepdims=True), atol=1e-9)


def test_weights_are_the_self_tuning_formula():
    x = np.random.default_rng(0).normal(size=(30, 4))
    d = np.linalg.norm(x[:, None] - x, axis=2)
    sigma = np.sort(d, 1)[:, 6]
    expected = 1 - np.exp(-(d**2) / (2 * np.outer(sigma, sigma)))
    np.testing.assert_allclose(losses.unlike(torch.tensor(x), 0.2), expected, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_weights_of_equal_or_few_cells_are_numbers(n):
    for weights in (losses.unlike, losses.alike):
        assert torch.isfinite(weights(torch.ones(n, 3), 0.1)).all()


# ------------------------------------------------------------------------------------------------------------ clusters


def test_cluster_contrast_is_that_of_the_columns():
    a, b = (torch.rand(20, 4).softmax(1).double() for _ in range(2))
    expected = plain_info_nce(a.T.numpy(), b.T.numpy(), temperature=1.0)
    assert float(losses.cluster_contrast(a, b)) == pytest.approx(expected, rel=1e-6)


@quick
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_balance_is_the_divergence_of_sorted_sizes(seed, k):
    rng = np.random.default_rng(seed)
    q, prior = rng.dirichlet(np.ones(k), size=15), rng.uniform(0.1, 5, size=k)
    expected = entropy(np.sort(q.mean(0)), np.sort(prior))
    assert float(losses.balance(torch.tensor(q), torch.tensor(prior))) == pytest.approx(expected, abs=1e-9)


def test_balance_allows_unequal_clusters_under_any_name():
    q = torch.eye(3)[[0, 1, 1, 1, 1, 1, 2, 2]]
    assert losses.balance(q, torch.tensor([2.0, 1.0, 5.0])) == pytest.approx(0, abs=1e-6)
    assert losses.balance(q, torch.ones(3)) > 0.1


# ------------------------------------------------------------------------------------------------------------- triplet


def plain_triplet(a, p, margin, weights):
    a, p, total, mass, anchors = unit(a), unit(p), 0.0, 0.0, set()
    for i in range(len(a)):
        near = ((a[i] - p[i]) ** 2).sum()
        for j in range(len(a)):
            far = ((a[i] - p[j]) ** 2).sum()
            if i != j and near < far < near + margin and weights[i, j] > 0:
                total += weights[i, j] * (near - far + margin)
                mass += weights[i, j]
                anchors.add(i)
    return (total / mass if mass else 0.0), len(anchors) / len(a)


@quick
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([0.05, 0.3, 2.0]))
def test_triplet_is_the_double_loop(seed, n, margin):
    a, p, w = two(seed, n)
    w = w * (w > 0.3)
    loss, share = losses.semi_hard(torch.tensor(a), torch.tensor(p), margin=margin, weights=torch.tensor(w))
    expected = plain_triplet(a, p, margin, w)
    assert (float(loss), float(share)) == pytest.approx(expected, abs=1e-6)


def test_no_triplet_is_a_loss_of_zero_with_a_gradient_of_zero():
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss, share = losses.semi_hard(a, a.detach(), margin=0.1)
    loss.backward()
    assert loss == share == 0
    assert (a.grad == 0).all()


# ----------------------------------------------------------------------------------------------------------- masked


@quick
@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.3, 0.9]), st.sampled_from([0.1, 0.4, 0.9]))
def test_at_least_half_of_what_is_hidden_is_not_zero(seed, density, rate):
    there = torch.from_numpy(np.random.default_rng(seed).random((30, 40)) < density)
    if not there.any():
        return
    chance = losses.masking_chances(there, rate)
    assert torch.all(chance[there] == rate)
    assert float(chance[~there].sum()) <= float(chance[there].sum()) * (1 + 1e-4)
    assert chance.max() <= rate


def test_masked_error_is_that_of_an_even_choice():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.poisson(0.4, size=(40, 50)), dtype=torch.float64)
    prediction = torch.tensor(rng.normal(size=(40, 50)))
    chance = losses.masking_chances(x > 0, 0.3)
    found = [
        float(losses.masked_mse(prediction, x, torch.tensor(rng.random((40, 50))) < chance, chance)) for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(float((prediction - x).square().mean()), rel=0.01)


def test_only_hidden_entries_count():
    x, hidden = torch.randn(4, 5), torch.rand(4, 5) < 0.5
    prediction = torch.where(hidden, x + 2, 1e6)
    assert losses.masked_mse(prediction, x, hidden, torch.full((4, 5), 0.5)) == pytest.approx(4, rel=1e-5)
    assert losses.masked_mse(prediction, x, torch.zeros_like(hidden), torch.ones(4, 5)) == 0


def test_swap_loss_weighs_swapped_entries_three_to_one():
    x, changed = torch.zeros(2, 2), torch.tensor([[True, False], [False, False]])
    prediction = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    assert losses.swap_loss(prediction, x, changed) == pytest.approx((0.75 * 4 + 0.25 * 3) / 4)


def test_telling_what_was_changed_is_a_cross_entropy():
    logits, changed = torch.tensor([[0.3, -2.0]]), torch.tensor([[True, False]])
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = -(np.log(p[0, 0]) + np.log(1 - p[0, 1])) / 2
    assert float(losses.changed_entries(logits, changed)) == pytest.approx(expected, rel=1e-5)


# -------------------------------------------------------------------------------------------------------- distillation


def test_distillation_skips_the_same_view():
    rng = np.random.default_rng(0)
    student = [torch.tensor(rng.normal(size=(6, 4))) for _ in range(3)]
    teacher = [torch.tensor(rng.dirichlet(np.ones(4), size=6)) for _ in range(2)]
    expected = []
    for t in range(2):
        for s in range(3):
            if s != t:
                p = np.exp(student[s].numpy() / 0.2)
                p /= p.sum(1, keepdims=True)
                expected.append(-(teacher[t].numpy() * np.log(p)).sum(1).mean())
    assert float(losses.self_distillation(student, teacher, temperature=0.2)) == pytest.approx(np.mean(expected))


def test_centring_takes_from_the_prototype_that_has_all_and_sharpening_gives_one_to_each_cell():
    logits = torch.tensor([[5.0, 0.1, 0.0], [5.0, 0.0, 0.1]])
    assert (logits.argmax(1) == 0).all()
    p = losses.centred(logits, logits.mean(0), 0.01)
    assert p.argmax(1).tolist() == [1, 2]
    assert p.max(1).values.min() > 0.99


def test_the_teacher_follows_and_gets_no_gradient():
    net = networks.SelfDistilled(
        networks.Projector(5, (8,), 3, n_projection=(4,), residual=False), networks.Prototypes(4, 6)
    )
    before = [p.clone() for p in net.teacher.parameters()]
    with torch.no_grad():
        for p in net.student.parameters():
            p.add_(1)
        net.follow(0.9)
    for old, new in zip(before, net.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
        assert not new.requires_grad


# ------------------------------------------------------------------------------------------------------ effective rank


def test_effective_rank_of_known_spectra():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 4)) - 0)
    q = q - q.mean(0)
    q, _ = np.linalg.qr(q)
    sd = np.array([4.0, 2.0, 1.0, 0.0])
    share = sd**2 / (sd**2).sum()
    assert sdc.metrics.effective_rank(q * sd + 3) == pytest.approx(math.exp(entropy(share)))
    assert sdc.metrics.effective_rank(np.ones((10, 3))) == 0
    assert sdc.metrics.effective_rank(scipy.sparse.csr_array(np.eye(4))) == pytest.approx(3)
    with pytest.raises(ValueError, match="NaN"):
        sdc.metrics.effective_rank(np.full((5, 2), np.nan))


# ------------------------------------------------------------------------------------------------------------- methods


def run(adata, method, **arguments):
    return sdc.tl.deepclust(adata, method, copy=True, progress=False, **arguments)


VIEWS = [("thin",), ("mask",), ("noise",), ("neighbors",), ("mixup",), ("thin", "mask", "noise", "neighbors", "mixup")]


@pytest.mark.parametrize("views", VIEWS, ids="+".join)
@pytest.mark.parametrize("name", ["contrastive", "dino"])
def test_views_compose(types, few, name, views):
    found = run(types, few(name, views=views, pretrain_steps=20))
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.8
    assert found.uns["deepclust"]["params"]["views"] == list(views)


FORMS = {
    "every cell": {"negatives": "all"},
    "not neighbours": {"negatives": "not_neighbors"},
    "decoupled": {"decoupled": True},
    "cosines": {"similarity": "cosine", "temperature": 0.5},
    "projection": {"projection": (16, 8)},
    "genes": {"n_pcs": None, "views": ("thin", "mask"), "negatives": "all"},
    "clusters": {"cluster_weight": 1.0},
    "clusters with a prior": {"cluster_weight": 1.0, "cluster_prior": (5, 3, 2)},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_contrast_keep_separated_types(types, few, form):
    found = run(types, few("contrastive", pretrain_steps=40, **FORMS[form]))
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9


def test_the_embedding_is_the_encoders_and_not_the_projections(types, few):
    assert run(types, few("contrastive", projection=(16, 3))).obsm["X_deepclust"].shape == (300, 20)


def test_a_contrast_of_clusters_finds_its_number_and_resumes(types, few, tmp_path, same):
    method = few("contrastive", cluster_weight=1.0, n_clusters=None, pretrain_steps=30)
    found = run(types, method)
    assert {"contrast", "clusters", "balance"} <= set(found.uns["deepclust"]["history"])
    model = sdc.Model(types, method)
    model.train(progress=False, checkpoint=tmp_path / "run.ckpt")
    assert len(model.net.clusters) == len(model.net.clusters.prior) == model.n_clusters
    model.save(tmp_path / "model")
    same(sdc.Model.load(tmp_path / "model").predict(types), model.predict(types))


@pytest.mark.parametrize("form", ["masked", "scmae"])
def test_masked_autoencoders_learn_what_genes_tell_of_each_other(types, few, form):
    found = run(types, few("mae", form=form, pretrain_steps=120))
    history = found.uns["deepclust"]["history"]
    assert history["held_out"].min() < history["held_out"].iloc[0]
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9


def test_the_held_out_loss_hides_the_same_genes_every_time(types, few):
    """So that it compares between epochs, and falls only for what is learned; in training they are drawn anew."""
    method = few("mae")
    model = sdc.Model(types, method)
    x = model._fit_inputs(model._raw)
    net, batch = model._build(model._raw, model._raw), model._cells(model._raw, 256, x)[torch.arange(50)]
    in_training, held_out = [], []
    with torch.random.fork_rng():
        for _ in range(3):
            in_training.append(float(method.learn(net.train(), batch)["masked"].detach()))
            held_out.append(float(method.learn(net.eval(), batch)["masked"].detach()))
    assert len(set(held_out)) == 1
    assert len(set(in_training)) == 3


def test_the_masked_loss_falls_only_for_what_genes_tell_of_each_other(lognorm, few):
    """An honest score: of genes shuffled each on its own nothing is predicted better than by the mean."""
    shuffled = lognorm.copy()
    rng = np.random.default_rng(0)
    shuffled.X = np.stack([rng.permutation(column) for column in lognorm.X.toarray().T], axis=1)
    method = few("mae", pretrain_steps=60)
    real, none = (run(a, method).uns["deepclust"] for a in (lognorm, shuffled))
    assert real["history"]["held_out"].min() < 0.98 * real["history"]["held_out"].iloc[0]
    assert real["held_out"]["loss"] < 0.8 * real["held_out"]["loss_of_mean"]
    assert none["held_out"]["loss"] > 0.99 * none["held_out"]["loss_of_mean"]
    assert real["history"]["held_out"].min() < 0.8 * none["history"]["held_out"].min()


@pytest.mark.parametrize("positives", ["neighbors", "views"])
def test_triplets_without_labels_say_that_none_were_used(types, few, positives):
    found = run(types, few("triplet", positives=positives, pretrain_steps=40))
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9
    record = found.uns["deepclust"]
    assert "used_labels" not in record
    assert 0 <= record["batches_without_triplet"] <= 0.5


def apart(z, types):
    """Distance of the first two types, by that of the first and the third, between mean directions."""
    z = unit(z)
    first, second, third = (z[types == k].mean(0) for k in np.unique(types))
    return np.linalg.norm(first - second) / np.linalg.norm(first - third)


def test_labels_shape_the_embedding_and_are_told_of(counts, few, tmp_path):
    """Post hoc: two types that are given one label come to lie together."""
    truth = counts.obs["cell_type"].astype(str).to_numpy()
    names = np.unique(truth)
    known = pd.Series(np.where(truth == names[2], "b", "a"), dtype=object, index=counts.obs_names)
    known[np.random.default_rng(0).random(300) < 0.3] = np.nan
    counts.obs["known"] = pd.Categorical(known)
    with_labels = few("triplet", positives="labels", labels_key="known", pretrain_steps=80, lr=1e-3)
    found = run(counts, with_labels)
    record = found.uns["deepclust"]
    assert record["used_labels"] == "known"
    assert record["n_labelled"] == known.notna().sum()
    without = run(counts, few("triplet", pretrain_steps=80, lr=1e-3))
    assert apart(found.obsm["X_deepclust"], truth) < 0.85 * apart(without.obsm["X_deepclust"], truth)
    found.write_h5ad(tmp_path / "a.h5ad")


def test_minibatches_without_a_triplet_are_counted_and_warned_of(types, few):
    with pytest.warns(UserWarning, match="In no minibatch did a cell have a negative"):
        found = run(types, few("triplet", margin=1e-9))
    assert found.uns["deepclust"]["batches_without_triplet"] == 1
    assert np.isfinite(found.obsm["X_deepclust"]).all()
    assert (found.uns["deepclust"]["history"]["triplet"] == 0).all()


def test_labels_are_dropped_with_their_cells(counts, few):
    x = counts.X.toarray()
    x[[0, 5]] = 0
    counts.X = x
    counts.obs["known"] = counts.obs["cell_type"]
    method = few("triplet", positives="labels", labels_key="known")
    assert run(counts, method, drop_empty=True).uns["deepclust"]["n_labelled"] == 298


def test_a_changed_label_makes_another_checkpoint(counts, few, tmp_path):
    counts.obs["known"] = counts.obs["cell_type"]
    method = few("triplet", positives="labels", labels_key="known")
    run(counts, method, checkpoint=tmp_path / "run.ckpt")
    counts.obs["known"] = counts.obs["known"].to_numpy()[::-1]
    with pytest.raises(ValueError, match="belongs to a run with other data"):
        run(counts, method, checkpoint=tmp_path / "run.ckpt")


@pytest.mark.parametrize("cluster", ["prototypes", "kmeans", "leiden"])
def test_prototypes_are_joined_into_clusters(types, few, cluster):
    found = run(types, few("dino", cluster=cluster, pretrain_steps=100))
    record = found.uns["deepclust"]
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.8
    assert 1 <= record["prototypes_used"] <= 64
    assert 1 <= record["prototypes_per_cell"] <= record["prototypes_used"] * 1.001
    assert 1 <= record["effective_rank"] <= 20


def test_a_teacher_that_tells_all_cells_the_same_is_warned_of(types, few):
    with pytest.warns(losses.CollapseWarning, match="cells belong to all prototypes alike"):
        run(types, few("dino", teacher_temperature=1e4, cluster="kmeans"))


def test_fewer_prototypes_in_use_than_clusters_are_kmeans_with_a_warning(types, few):
    with pytest.warns(losses.CollapseWarning, match="Fewer prototypes are in use"):
        found = run(types, few("dino", n_prototypes=8, n_clusters=8, pretrain_steps=0))
    assert found.obs["deepclust"].nunique() == 8


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_the_effective_rank_is_reported(types, few, name):
    rank = run(types, few(name)).uns["deepclust"]["effective_rank"]
    assert 1 < rank <= 20


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_fewer_cells_than_a_minibatch_and_batches_of_one_work(types, few, name):
    found = run(types[:21].copy(), few(name), batch_size=2, drop_empty=True)  # 21 cells in twos leave one
    assert np.isfinite(found.obsm["X_deepclust"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("branches", [{"n_branches": 3}, {"n_branches": 8, "mean_depth": 500.0}], ids=str)
def test_graph_negatives_keep_more_of_a_lineage_than_all(branches):
    adata = sdc.datasets.simulate_lineage(n_obs=800, random_state=0, **branches)
    sdc.pp.neighbors(adata, progress=False)
    kept = {}
    for negatives in ("all", "graph"):
        z = run(adata, "contrastive", n_clusters=6, negatives=negatives).obsm["X_deepclust"]
        kept[negatives] = sdc.metrics.lineage_preservation(z, adata.obsm["X_n2s"])
    assert kept["graph"]["score"] > kept["all"]["score"]
    assert kept["graph"]["neighbors"] > kept["all"]["neighbors"] + 0.01


# ----------------------------------------------------------------------------------------------------------- bad input

BAD = [
    ("contrastive", {"views": ()}, "views=.*makes two equal views"),
    ("contrastive", {"views": ("blur",)}, r"views=\('blur',\) must be a sequence, each one of 'thin'"),
    ("contrastive", {"mask_rate": 0.0}, "mask_rate=0.0 must be a number above 0 below 1"),
    ("contrastive", {"mask_rate": 1.0}, "mask_rate=1.0 must be a number above 0 below 1"),
    ("mae", {"mask_rate": 0.0}, "mask_rate=0.0 must be a number above 0 below 1"),
    ("mae", {"mask_rate": 1.0}, "mask_rate=1.0 must be a number above 0 below 1"),
    ("dino", {"local_mask_rate": 1.0}, "local_mask_rate=1.0 must be"),
    ("contrastive", {"depth": 0.7}, "depth=0.7 must be a number above 0 at most 0.5"),
    ("contrastive", {"temperature": 0.0}, "temperature=0.0 must be a number above 0"),
    ("contrastive", {"n_pcs": None}, "Neighbours are looked for in principal components"),
    ("contrastive", {"cluster_prior": (1.0, 2.0)}, "cluster_prior has 2 sizes, n_clusters=3"),
    ("triplet", {"positives": "labels"}, "labels need both 'labels' and a column of obs"),
    ("triplet", {"labels_key": "cell_type"}, "labels need both 'labels' and a column of obs"),
    ("triplet", {"positives": "labels", "labels_key": "one"}, r"labels_key='one' holds 1 label.*at least 2"),
    ("triplet", {"positives": "labels", "labels_key": "none"}, r"labels_key='none' holds 0 label"),
    ("triplet", {"views": ("neighbors",)}, "positives says whether"),
    ("triplet", {"margin": 4.0}, "margin=4.0 must be a number above 0 below 4"),
    ("dino", {"n_clusters": 5, "n_prototypes": 4}, "n_clusters=5 is more than n_prototypes=4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "match"), BAD, ids=str)
def test_bad_parameters_are_one_clear_error(counts, name, arguments, match, same):
    counts.obs["one"], counts.obs["none"] = "a", np.nan
    before = counts.copy()
    with pytest.raises(ValueError, match=match):
        sdc.tl.deepclust(counts, name, **{"n_clusters": 3} | arguments, progress=False)
    same(counts, before)


def test_a_label_key_that_is_not_there_is_named(counts):
    with pytest.raises(KeyError, match=r"labels_key='nothing' is not in adata\.obs"):
        sdc.tl.deepclust(counts, "triplet", n_clusters=3, positives="labels", labels_key="nothing", progress=False)


@pytest.mark.parametrize("name", ["contrastive", "triplet", "dino"])
def test_views_that_the_values_cannot_give_are_refused(lognorm, name):
    with pytest.raises(ValueError, match=r"'thin' needs counts \(.*but found log-normalised values"):
        sdc.tl.deepclust(lognorm, name, n_clusters=3, views=("thin",), progress=False)
    rep = ad.AnnData(obsm={"z": np.random.default_rng(0).normal(size=(50, 4))})
    with pytest.raises(ValueError, match="'mask' needs values of genes, but found a representation"):
        sdc.tl.deepclust(rep, name, n_clusters=3, use_rep="z", views=("mask", "noise"), progress=False)


def test_what_makes_views_where_nothing_is_said(types, lognorm, few):
    made = {
        "counts": sdc.Model(types, few("contrastive")),
        "lognorm": sdc.Model(lognorm, few("contrastive")),
        "rep": sdc.Model(ad.AnnData(obsm={"z": types.X[:, :5].toarray()}), few("contrastive"), use_rep="z"),
    }
    for kind, model in made.items():
        assert model.inputs.kind == kind
        assert ("thin" in model.method.views_of(kind)) == (kind == "counts")
        assert ("mask" in model.method.views_of(kind)) == (kind == "lognorm")
