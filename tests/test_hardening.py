"""Assignment hardening against slow plain versions, and what becomes of clusters that vanish."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from torch import nn

import scdeepclust as sdc
from scdeepclust import diffusion
from scdeepclust.data import Batch, Cells
from scdeepclust.losses import CollapseWarning, collapsed, cross_entropy, hardening, sharpen, student_t
from scdeepclust.methods import sharpening
from scdeepclust.networks import Centroids, SharpenedTarget, farthest

# The first call of a kernel may be slow; that is no failure.


def points(n=20, k=4, d=3, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) * scale), torch.from_numpy(rng.normal(size=(k, d)) * scale)


def slow_student_t(z, centroids, alpha):
    q = np.empty((len(z), len(centroids)))
    for i in range(len(z)):
        for k in range(len(centroids)):
            squared = sum((float(a) - float(b)) ** 2 for a, b in zip(z[i], centroids[k], strict=True))
            q[i, k] = (1 + squared / alpha) ** (-(alpha + 1) / 2)
        q[i] /= q[i].sum()
    return q


def slow_sharpen(q, power=2.0, frequency_power=1.0):
    p = np.empty_like(q)
    frequency = [sum(q[i, k] for i in range(len(q))) for k in range(q.shape[1])]
    for i in range(len(q)):
        for k in range(q.shape[1]):
            p[i, k] = q[i, k] ** power / frequency[k] ** frequency_power
        p[i] /= p[i].sum()
    return p


memberships = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 6)), elements=st.floats(1e-6, 1.0)).map(
    lambda x: x / x.sum(1, keepdims=True)
)


# ---------------------------------------------------------------------------------------------------- soft assignments


@pytest.mark.parametrize("alpha", [0.5, 1.0, 7.0])
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["near", "far"])
def test_student_t_is_the_double_loop(alpha, scale):
    z, centroids = points(scale=scale)
    found = student_t(z, centroids, alpha).exp()
    np.testing.assert_allclose(found, slow_student_t(z, centroids, alpha), rtol=1e-9)


def test_student_t_of_very_far_cells_is_finite():
    z, centroids = points(scale=1e15)
    assert torch.isfinite(student_t(z.float(), centroids.float(), 1.0)).all()


def test_a_cell_on_a_centre_has_a_finite_gradient():
    centroids = torch.eye(3)
    z = centroids[:2].clone().requires_grad_()
    student_t(z, centroids).sum().backward()
    assert torch.isfinite(z.grad).all()


# ------------------------------------------------------------------------------------------------------- their target


@given(memberships, st.floats(1, 4), st.floats(0, 2))
def test_rows_of_the_target_sum_to_one(q, power, frequency_power):
    q = torch.from_numpy(q)
    p = sharpen(q.log(), q.sum(0), power=power, frequency_power=frequency_power)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-9)


@given(memberships)
def test_the_target_is_two_loops(q):
    found = sharpen(torch.from_numpy(q).log(), torch.from_numpy(q).sum(0))
    np.testing.assert_allclose(found, slow_sharpen(q), rtol=1e-7, atol=1e-12)


@given(memberships)
def test_power_one_without_sizes_changes_nothing(q):
    found = sharpen(torch.from_numpy(q).log(), torch.from_numpy(q).sum(0), power=1.0, frequency_power=0.0)
    np.testing.assert_allclose(found, q, rtol=1e-9)


@given(st.integers(1, 12), st.integers(2, 6))
def test_equal_memberships_stay_equal(n, k):
    q = torch.full((n, k), 1 / k, dtype=torch.float64)
    np.testing.assert_allclose(sharpen(q.log(), q.sum(0)), q, rtol=1e-12)


@given(memberships)
def test_without_sizes_the_largest_membership_grows(q):
    p = sharpen(torch.from_numpy(q).log(), torch.from_numpy(q).sum(0), frequency_power=0.0)
    assert (p.max(1).values.numpy() >= q.max(1) - 1e-9).all()


@given(memberships, st.integers(0, 1000))
def test_faith_in_known_clusters_is_the_loop(q, seed):
    labels = np.random.default_rng(seed).integers(-1, q.shape[1], len(q))
    expected = sum(-np.log(q[i, label]) for i, label in enumerate(labels) if label >= 0) / len(q)
    np.testing.assert_allclose(cross_entropy(torch.from_numpy(q).log(), torch.from_numpy(labels)), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["dec", "idec"])
def test_training_keeps_to_the_clusters_that_the_data_have_chosen(name):
    """On a lineage, whose clusters have no gaps between them."""
    adata = sdc.datasets.simulate_lineage(600, 100)
    sdc.tl.n_clusters(adata)
    agreed = []
    for weight in (0.0, 3.0):
        sdc.tl.deepclust(adata, name, partition_weight=weight, pretrain_steps=60, cluster_steps=120, progress=False)
        agreed.append(sdc.metrics.ari(adata.obs["n_clusters"], adata.obs["deepclust"]))
    assert agreed[1] > agreed[0] + 0.05


def test_a_given_number_of_clusters_asks_for_no_such_faith(types):
    adata = sdc.tl.deepclust(types, "idec", n_clusters=3, pretrain_steps=6, cluster_steps=6, copy=True, progress=False)
    assert "partition" not in adata.uns["deepclust"]["history"]


def test_a_cluster_without_mass_leaves_the_target_finite():
    log_q = torch.tensor([[0.0, -200.0], [0.0, -200.0]])
    assert torch.isfinite(sharpen(log_q, log_q.exp().sum(0))).all()


def batches_of(x, sizes):
    index = torch.arange(len(x)).split(sizes)
    return [Batch(x[i], x[i], None, None, None, i) for i in index]


def test_labels_that_an_update_changes_are_counted_by_a_target_that_was_loaded_too():
    torch.manual_seed(0)
    encoder, centroids, x = nn.Linear(5, 3), Centroids(3), torch.randn(50, 5)
    target = SharpenedTarget(encoder, centroids, alpha=1.0, power=2.0, frequency_power=1.0)
    centroids.set(torch.randn(4, 3))
    before = student_t(encoder(x), centroids.weight).argmax(1)
    assert target.refresh(encoder, centroids, batches_of(x, 20))[0] == 50  # all are new
    loaded = SharpenedTarget(encoder, centroids, alpha=1.0, power=2.0, frequency_power=1.0)
    loaded.load_state_dict(target.state_dict())
    centroids.set(centroids.weight + torch.randn(4, 3))
    changed = (student_t(encoder(x), centroids.weight).argmax(1) != before).sum()
    assert 0 < changed < 50
    for each in (target, loaded):
        assert each.refresh(encoder, centroids, batches_of(x, 20))[0] == changed
        assert each.refresh(encoder, centroids, batches_of(x, 20))[0] == 0


@pytest.mark.parametrize(
    "sizes", [[50], [20, 30], [1, 9, 17, 23], [1] * 50], ids=["one", "two", "four", "single cells"]
)
@pytest.mark.parametrize(("power", "frequency_power"), [(2.0, 1.0), (1.5, 0.0)])
def test_the_frozen_target_is_the_table_of_the_last_refresh(sizes, power, frequency_power):
    torch.manual_seed(0)
    encoder, centroids = nn.Linear(5, 3).double(), Centroids(3).double()
    centroids.set(torch.randn(4, 3, dtype=torch.float64))
    x = torch.randn(50, 5, dtype=torch.float64)
    target = SharpenedTarget(encoder, centroids, alpha=1.0, power=power, frequency_power=frequency_power)
    target.refresh(encoder, centroids, batches_of(x, sizes))
    with torch.no_grad():
        table = slow_sharpen(slow_student_t(encoder(x).numpy(), centroids.weight.numpy(), 1.0), power, frequency_power)
        # What training does to the network afterwards must not reach the target.
        encoder.weight += 1
        centroids.weight -= 1
    order = torch.randperm(50)
    for part in order.split(7):
        np.testing.assert_allclose(target(x[part]), table[part.numpy()], rtol=1e-9)
    assert not any(p.requires_grad for p in target.parameters())


def test_a_refresh_reports_sizes_and_how_many_labels_it_changed():
    encoder, centroids = nn.Identity(), Centroids(1)
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1], [0.6]])
    centroids.set(torch.tensor([[0.0], [1.0]]))
    target = SharpenedTarget(encoder, centroids, alpha=1.0, power=2.0, frequency_power=1.0)
    target.refresh(encoder, centroids, batches_of(x, [3, 2]))
    centroids.set(torch.tensor([[0.4], [1.0]]))
    changed, sizes = target.refresh(encoder, centroids, batches_of(x, [2, 3]))
    assert changed.item() == 1  # the cell at 0.6
    assert sizes.tolist() == [3, 2]


# --------------------------------------------------------------------------------------------------------- their loss


def test_the_loss_is_the_mean_divergence():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 10), rng.dirichlet(np.ones(4), 10)
    slow = sum(p[i, k] * np.log(p[i, k] / q[i, k]) for i in range(10) for k in range(4)) / 10
    assert hardening(torch.from_numpy(p), torch.from_numpy(q).log()).item() == pytest.approx(slow)


def test_the_loss_is_zero_at_its_target_and_bears_zeros_in_it():
    q = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    assert hardening(q, q.log()).item() == pytest.approx(0, abs=1e-7)
    assert torch.isfinite(hardening(torch.tensor([[0.0, 1.0]]), q[:1].log()))


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_the_gradient_is_that_of_the_paper(alpha):
    """Equations 4 and 5 of Xie 2016, of the sum over cells; ours is the mean."""
    z, centroids = points()
    z.requires_grad_()
    centroids.requires_grad_()
    log_q = student_t(z, centroids, alpha)
    p = torch.from_numpy(slow_sharpen(log_q.detach().exp().numpy()))
    hardening(p, log_q).backward()
    with torch.no_grad():
        apart = z[:, None] - centroids[None]
        force = (p - log_q.exp()) / (1 + apart.square().sum(2) / alpha)
        factor = (alpha + 1) / alpha / len(z)
        np.testing.assert_allclose(z.grad, factor * (force[:, :, None] * apart).sum(1), rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(centroids.grad, -factor * (force[:, :, None] * apart).sum(0), rtol=1e-8, atol=1e-12)


def test_no_gradient_flows_through_the_target():
    z, centroids = points()
    z.requires_grad_()
    log_q = student_t(z, centroids)
    hardening(log_q.exp(), log_q.detach()).requires_grad_().backward()
    assert z.grad is None


# ------------------------------------------------------------------------------------------------- vanished clusters

CORNERS = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]


@pytest.mark.parametrize(
    ("centroids", "sizes", "lost"),
    [
        pytest.param(CORNERS, [5, 6, 7, 8], [], id="all are fine"),
        pytest.param(CORNERS, [5, 0, 7, 8], [1], id="one is empty"),
        pytest.param(CORNERS, [0, 6, 0, 8], [0, 2], id="two are empty"),
        pytest.param([CORNERS[1], *CORNERS[1:]], [5, 6, 7, 8], [0], id="the smaller of two equal ones"),
        pytest.param([*CORNERS[:3], CORNERS[0]], [5, 6, 7, 5], [3], id="the second of two equal ones of equal size"),
        pytest.param([CORNERS[1], *CORNERS[1:]], [5, 0, 7, 8], [1], id="the empty one of two equal ones"),
        pytest.param([CORNERS[0]] * 4, [1, 2, 3, 4], [0, 1, 2], id="all equal"),
        pytest.param([[0.0, 1e-6], *CORNERS[:1], *CORNERS[2:]], [5, 6, 7, 8], [0], id="nearly equal"),
        pytest.param([[0.0, 1.0], *CORNERS[:1], *CORNERS[2:]], [5, 6, 7, 8], [], id="near but apart"),
        pytest.param(CORNERS[:2], [3, 4], [], id="two clusters"),
        pytest.param([CORNERS[0]] * 2, [3, 4], [0], id="two equal clusters"),
    ],
)
def test_which_clusters_are_lost(centroids, sizes, lost):
    found = collapsed(torch.tensor(centroids), torch.tensor(sizes, dtype=torch.float32))
    assert found.nonzero().ravel().tolist() == lost


def test_new_centres_are_the_cells_farthest_from_all_others():
    x = torch.tensor([[0.0, 0.0], [0.5, 0.0], [9.0, 0.0], [0.0, 20.0], [0.0, 19.0]])
    found = farthest(nn.Identity(), torch.zeros(1, 2), 2, batches_of(x, [2, 3]))
    assert found.tolist() == [[0.0, 20.0], [9.0, 0.0]]


def test_new_centres_where_no_centre_is_left():
    x = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert farthest(nn.Identity(), torch.zeros(0, 2), 1, batches_of(x, [2])).tolist() == [[-3.0, 0.0]]


@pytest.mark.parametrize("spoil", ["equal", "empty"])
def test_a_run_recovers_lost_clusters_and_says_so(types, few, monkeypatch, spoil):
    kind = sdc.methods.registry()["idec"]
    start = kind.start_centroids

    def spoiled(self, net, cells, seed):
        start(self, net, cells, seed)
        weight = net.centroids.weight.detach().clone()
        weight[2] = weight[0] if spoil == "equal" else 1e3
        net.centroids.set(weight)

    monkeypatch.setattr(kind, "start_centroids", spoiled)
    method = few("idec", pretrain_steps=100, cluster_steps=40)
    with pytest.warns(CollapseWarning, match="1 of 3 clusters .* ask for fewer"):
        found = sdc.tl.deepclust(types, method, copy=True, progress=False)
    by_type = found.obs.groupby("cell_type", observed=True)["deepclust"].agg(lambda x: x.mode()[0])
    assert by_type.nunique() == 3


@pytest.fixture
def with_a_rare_type():
    """Two types, the second of five cells in six hundred, and centres at each."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(600, 4)), dtype=torch.float32)
    x[[5, 120, 300, 450, 599]] += 20
    net = nn.Module()
    net.encoder, net.centroids = nn.Identity(), Centroids(4)
    net.centroids.set(torch.stack([torch.zeros(4), torch.full((4,), 20.0)]))
    return net, Cells(device=torch.device("cpu"), batch_size=64, x=x)


def test_a_cluster_that_an_update_does_not_look_at_is_not_lost(with_a_rare_type, few, monkeypatch):
    net, cells = with_a_rare_type
    method = few("dec")
    method.attach_target(net)
    monkeypatch.setattr(sharpening, "TO_UPDATE", 12)
    assert not set(cells.sample(12).tolist()) & {5, 120, 300, 450, 599}
    before = net.centroids.weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        method.refresh(net, cells)
    torch.testing.assert_close(net.centroids.weight, before)
    assert net.target.sizes(cells.chunks()).tolist() == [595, 5]


def test_an_update_counts_changes_among_the_cells_that_it_looks_at(with_a_rare_type, few, monkeypatch):
    net, cells = with_a_rare_type
    method = few("dec")
    method.attach_target(net)
    monkeypatch.setattr(sharpening, "TO_UPDATE", 300)
    some = cells.sample(300)
    method.refresh(net, cells)
    assert method.refresh(net, cells) == 0
    before = net.target.log_q(cells.x[some]).argmax(1)
    net.centroids.set(torch.stack([torch.full((4,), -0.5), torch.full((4,), 0.5)]))
    changed = method.refresh(net, cells)
    after = net.target.log_q(cells.x[some]).argmax(1)
    assert changed == pytest.approx(float((before != after).float().mean()))
    assert 0.3 < changed < 0.7


def test_clusters_shares_among_some_cells_are_those_of_all(with_a_rare_type, few, monkeypatch):
    net, cells = with_a_rare_type
    net.centroids.set(torch.stack([torch.full((4,), -0.5), torch.full((4,), 0.5)]))
    method = few("dec")
    method.attach_target(net)
    method.refresh(net, cells)
    everyone = net.target.frequency / net.target.frequency.sum()
    monkeypatch.setattr(sharpening, "TO_UPDATE", 300)
    method.attach_target(net)
    method.refresh(net, cells)
    some = net.target.frequency / net.target.frequency.sum()
    torch.testing.assert_close(some, everyone, atol=0.03, rtol=0)


def test_where_there_are_many_cells_a_sample_of_them_starts_clusters_and_updates(types, few, monkeypatch):
    monkeypatch.setattr(diffusion, "MOST_CELLS", 240, raising=False)
    monkeypatch.setattr(sharpening, "TO_UPDATE", 120)
    seen, looked_at = [], []
    fit, refresh = KMeans.fit, SharpenedTarget.refresh

    def fitted(self, x, *args, **options):
        seen.append(len(x))
        return fit(self, x, *args, **options)

    def refreshed(self, encoder, centroids, batches):
        batches = list(batches)
        looked_at.append(sum(len(batch.x) for batch in batches))
        return refresh(self, encoder, centroids, batches)

    monkeypatch.setattr(KMeans, "fit", fitted)
    monkeypatch.setattr(SharpenedTarget, "refresh", refreshed)
    found = sdc.tl.deepclust(types, few("dec", pretrain_steps=60), copy=True, progress=False)
    assert seen == [30, 240]  # an eighth chooses among the starts
    assert set(looked_at) == {120}
    assert sdc.metrics.ari(types.obs["cell_type"], found.obs["deepclust"]) > 0.9
