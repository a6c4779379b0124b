"""Halves of molecules, genes and axes: their noise is independent, and a prediction of the truth costs the noise alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from scdeepclust import losses, views


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --------------------------------------------------------------------------------------------------------- the coins


@pytest.mark.parametrize("n", [1, 2, 7, 31, 62, 63, 500])
def test_tosses_are_binomial(n):
    found = losses.coin_tosses(torch.full((20_000,), float(n)), seeded(n)).numpy()
    values, seen = np.unique(found, return_counts=True)
    expected = stats.binom(n, 0.5).pmf(values) * len(found)
    common = expected > 5
    assert stats.chi2.sf(((seen - expected) ** 2 / expected)[common].sum(), common.sum() - 1) > 1e-3
    assert found.min() >= 0
    assert found.max() <= n


def test_no_coin_gives_no_head_and_kinds_are_kept():
    for dtype in (torch.float32, torch.int64):
        n = torch.tensor([0, 0, 3], dtype=dtype)
        found = losses.coin_tosses(n, seeded())
        assert found.dtype == dtype
        assert found[:2].tolist() == [0, 0]


# --------------------------------------------------------------------------------------------------- halves of counts


def counted(rates, seed=0):
    dense = torch.poisson(rates, generator=seeded(seed))
    row, gene = dense.nonzero(as_tuple=True)
    return losses.Counts(row, gene, dense[row, gene], tuple(dense.shape)), dense


def linear(rows, size, kept=None):
    x = rows.dense() / (1 if size is None else size)
    return x if kept is None else views.kept_of(x, kept)


def molecules(rates, seed=0, rest=0.0):
    rows, dense = counted(rates, seed)
    total = dense.sum(1) + rest
    size = (total / 100)[:, None]
    halves = losses.of_molecules(rows, size, torch.tensor(100.0), linear, seeded(seed))
    zero = torch.zeros_like(dense)
    return halves.seen, halves.error(zero), dense


def test_halves_of_equal_cells_are_not_correlated_by_their_depth():
    # Every cell has the same rates, so that whatever one half says of the other is a leak.
    rows, dense = counted(torch.full((4000, 40), 2.0))
    rest = torch.poisson(torch.full((4000,), 80.0), generator=seeded(5))
    size = ((dense.sum(1) + rest) / 160)[:, None]
    captured = []

    def features(part, depth):
        captured.append(linear(part, depth))
        return captured[-1]

    losses.of_molecules(rows, size, torch.tensor(160.0), features, seeded(1))
    a, b = (x - x.mean(0) for x in captured)
    correlation = (a * b).mean(0) / (a.std(0) * b.std(0))
    assert correlation.abs().mean() < 3 / np.sqrt(4000)
    # Of the whole cell's depth both halves would know, and their sums would be opposite.
    assert np.corrcoef(a.sum(1), b.sum(1))[0, 1] == pytest.approx(0, abs=0.06)


def test_molecules_of_genes_that_are_not_used_count_for_the_depth_of_both_halves():
    seen, _, _ = molecules(torch.full((2000, 10), 5.0), rest=950.0)
    # About half of 1,000 counts, at the depth of 100: each gene as in a whole cell of that depth.
    assert float(seen.mean()) == pytest.approx(0.5, rel=0.02)


def test_the_truth_costs_noise_alone_and_reading_it_off_costs_more():
    rates = torch.full((3000, 20), 3.0)
    rows, _ = counted(rates)
    size = torch.full((3000, 1), 60.0) / 60
    halves = losses.of_molecules(rows, size, torch.tensor(60.0), linear, seeded(2))
    assert float(halves.error(rates).mean()) < float(halves.error(halves.seen).mean()) / 1.5


# ---------------------------------------------------------------------------------------------------- genes and axes


def test_genes_are_read_or_predicted_but_never_both():
    rows, dense = counted(torch.full((50, 30), 4.0))
    halves = losses.of_genes(rows, None, linear, projected=False, generator=seeded(3))
    seen = (halves.seen != 0).any(0)
    assert 5 < int(seen.sum()) < 25
    torch.testing.assert_close(halves.seen[:, seen], 30 / int(seen.sum()) * dense[:, seen])
    # What is predicted for genes that were read makes no difference.
    assert float(halves.error(dense).max()) == 0
    assert float(halves.error(dense + 5 * seen).max()) == 0
    assert float(halves.error(dense + 5 * ~seen).min()) > 0


def test_components_of_the_other_genes_are_predicted():
    components = torch.randn(5, 30, generator=seeded(4))
    rows, dense = counted(torch.full((50, 30), 4.0))

    kept_in = []

    def features(part, size, kept=None):
        kept_in.append(kept[0])
        return linear(part, size, kept) @ components.T

    halves = losses.of_genes(rows, None, features, projected=True, generator=seeded(5))
    read, predicted = kept_in
    assert not (read & predicted).any()
    other = 30 / int(predicted.sum()) * (dense * predicted) @ components.T
    assert float(halves.error(other).max()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n_axes", [1, 2, 7, 20, 90])
def test_axes_that_were_read_cost_nothing_to_predict(n_axes):
    x = torch.randn(40, n_axes, generator=seeded(6), dtype=torch.float64)
    halves = losses.of_axes(x, seeded(7))
    assert float(halves.error(x).max()) == pytest.approx(0, abs=1e-20)
    if n_axes > 1:
        # Values along what was read are free to change: those along the rest are not.
        assert float(halves.error(x + halves.seen).max()) == pytest.approx(0, abs=1e-20)
        assert float(halves.error(torch.zeros_like(x)).min()) > 0


def test_axes_of_noise_tell_nothing_of_each_other():
    x = torch.randn(20_000, 6, generator=seeded(8), dtype=torch.float64)
    halves = losses.of_axes(x, seeded(9))
    null = float(halves.error(torch.zeros_like(x)).mean())
    assert null == pytest.approx(1, abs=0.02)
    for share in (-0.5, 0.5):
        assert float(halves.error(share * halves.seen).mean()) == pytest.approx(null, abs=1e-9)


# ------------------------------------------------------------------------------------------------------- independence


def test_mutual_information_of_hard_partitions_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    a = rng.integers(4, size=200)
    b = np.where(rng.random(200) < 0.6, a % 3, rng.integers(3, size=200))
    one_hot = [torch.nn.functional.one_hot(torch.from_numpy(x)).double() for x in (a, b)]
    assert float(losses.mutual_information(*one_hot)) == pytest.approx(mutual_info_score(a, b))


def test_mutual_information_is_zero_of_a_partition_that_says_nothing_and_has_gradients_at_empty_clusters():
    c = torch.randn(30, 4, generator=seeded(1)).softmax(1)
    same = torch.zeros(30, 3)
    same[:, 0] = 1
    same.requires_grad_()
    found = losses.mutual_information(c, same)
    assert found.item() == pytest.approx(0, abs=1e-6)
    found.backward()
    assert same.grad.isfinite().all()


def test_gradient_of_mutual_information_is_the_numerical_one():
    a, b = (torch.randn(8, 3, generator=seeded(s), dtype=torch.float64).softmax(1).requires_grad_() for s in (0, 1))
    assert torch.autograd.gradcheck(losses.mutual_information, (a, b))
