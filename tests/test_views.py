"""Views of a cell: what each keeps on average, what two of them share, and who counts as a neighbour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.stats import binom, ks_1samp

import scdeepclust as sdc
from scdeepclust import views
from scdeepclust.data import Inputs, read
from scdeepclust.losses.representation.reconstruction import Counts


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def counts_of(matrix):
    return Counts.from_csr(sparse.csr_array(np.asarray(matrix, dtype=np.float32)))


# ------------------------------------------------------------------------------------------------------------ thinning


def test_thinned_views_share_no_molecule_and_add_none():
    x = np.random.default_rng(0).poisson(3.0, size=(200, 30))
    counts, size = counts_of(x), torch.rand(200, 1) + 0.2
    (a, _), (b, _) = views.thin(counts, size, 0.3)
    assert (a.value >= 0).all()
    assert (b.value >= 0).all()
    assert (a.value + b.value <= counts.value).all()
    assert (a.value == a.value.round()).all()


@pytest.mark.parametrize("size", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 7])
def test_each_view_is_binomial(size, count):
    n, depth = 4000, 0.3
    counts = Counts(torch.arange(n), torch.zeros(n, dtype=torch.int64), torch.full((n,), float(count)), (n, 1))
    p = min(0.5, depth / size)
    for view, its_size in views.thin(counts, torch.full((n, 1), size), depth):
        observed = np.bincount(view.value.long(), minlength=count + 1)
        expected = n * binom.pmf(np.arange(count + 1), count, p)
        chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1e-9))[expected > 5].sum()
        assert chi2 < 25
        torch.testing.assert_close(its_size, torch.full((n, 1), p * size))


def test_views_of_poisson_counts_are_independent():
    rate = torch.tensor([[0.3, 2.0, 11.0]]).repeat(20_000, 1)
    counts = counts_of(torch.poisson(rate))
    (a, _), (b, _) = views.thin(counts, torch.ones(20_000, 1), 0.4)
    a, b = a.dense(), b.dense()
    for gene in range(3):
        assert abs(np.corrcoef(a[:, gene], b[:, gene])[0, 1]) < 0.03
    torch.testing.assert_close(a.mean(0), 0.4 * rate[0], rtol=0.05, atol=0.01)
    torch.testing.assert_close(a.var(0), a.mean(0), rtol=0.06, atol=0.01)  # still Poisson


def test_views_of_deep_cells_have_one_depth():
    """So that the library size tells nothing of who a cell is."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.6, 6, size=500)
    x = rng.poisson(size[:, None] * rng.gamma(2, 5, size=200))
    (view, its_size), _ = views.thin(counts_of(x), torch.tensor(size[:, None]).float(), 0.3)
    depth = view.dense().sum(1).numpy()
    assert torch.allclose(its_size, torch.tensor(0.3))
    assert abs(np.corrcoef(np.log(size), depth)[0, 1]) < 0.1
    assert np.corrcoef(np.log(size), x.sum(1))[0, 1] > 0.9


def test_thinning_follows_its_generator():
    counts, size = counts_of(np.full((20, 20), 5)), torch.ones(20, 1)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return [view.value for view, _ in views.thin(counts, size, 0.4, generator=generator)]

    state = torch.get_rng_state()
    torch.testing.assert_close(drawn(1), drawn(1))
    assert not torch.equal(drawn(1)[0], drawn(2)[0])
    assert torch.equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------------------------------------------------- masking


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_so_many_genes_are_hidden(rate):
    kept = views.kept_genes((400, 100), rate, torch.device("cpu"))
    hidden = 1 - kept.float().mean()
    assert float(hidden) == pytest.approx(rate, abs=0.01)
    by_cell = (~kept).sum(1).numpy()
    assert ks_1samp(by_cell, lambda k: binom.cdf(k, 100, rate)).statistic < 0.15


def test_masked_features_are_those_of_the_whole_cell_on_average(types):
    raw = read(types)
    inputs = Inputs(raw.kind, "sqrt", 0.5, 5)
    inputs.fit(raw, seed=0)
    cells = inputs.cells(raw, device=torch.device("cpu"), batch_size=300, with_counts=True)
    batch = cells[torch.arange(20)]
    masked = torch.stack(
        [
            cells.features(
                batch.counts, batch.size, kept=views.kept_genes(batch.counts.shape, 0.5, torch.device("cpu"))
            )
            for _ in range(600)
        ]
    )
    error = masked.std(0) / 600**0.5
    assert ((masked.mean(0) - batch.x).abs() < 5 * error + 0.02).all()
    assert masked.std(0).min() > 0


def test_nothing_is_read_of_hidden_genes(types):
    raw = read(types)
    inputs = Inputs(raw.kind, "log1p", 1.0, None)
    inputs.fit(raw, seed=0)
    cells = inputs.cells(raw, device=torch.device("cpu"), batch_size=300, with_counts=True)
    batch = cells[torch.arange(10)]
    kept = torch.rand(10, 100) < 0.5
    changed = batch.counts._replace(
        value=torch.where(kept[batch.counts.row, batch.counts.gene], batch.counts.value, 99.0)
    )
    expected = cells.features(batch.counts, batch.size, kept=kept)
    torch.testing.assert_close(cells.features(changed, batch.size, kept=kept), expected)
    assert (expected[~kept] == 0).all()


def test_a_cell_all_of_whose_genes_are_hidden_is_the_average_cell():
    assert (views.kept_of(torch.randn(2, 4), torch.zeros(2, 4, dtype=bool)) == 0).all()


# ------------------------------------------------------------------------------------------------- noise, mixup, labels


def test_noise_has_its_standard_deviation_and_no_bias():
    x = torch.randn(3000, 4)
    noise = views.add_noise(x, 0.7) - x
    assert noise.std() == pytest.approx(0.7, rel=0.03)
    assert abs(noise.mean()) < 0.03
    assert abs(np.corrcoef(noise[:, 0], x[:, 0])[0, 1]) < 0.06


def test_mixing_stays_on_the_nearer_half_of_the_way():
    x, neighbor = torch.zeros(5000, 2), torch.tensor([1.0, 3.0]).repeat(5000, 1)
    mixed = views.mix(x, neighbor)
    torch.testing.assert_close(mixed[:, 1], 3 * mixed[:, 0])
    assert mixed[:, 0].min() >= 0
    assert mixed[:, 0].max() <= 0.5
    assert ks_1samp(mixed[:, 0].numpy(), lambda u: np.clip(2 * u, 0, 1)).pvalue > 1e-3


def test_cells_of_the_same_label_are_drawn_evenly():
    labels = torch.tensor([0, -1, 2, 0, 2, 2, -1, 0, 0])
    same = views.SameLabel(labels)
    drawn = torch.stack([same.draw(torch.arange(9)) for _ in range(4000)])
    for cell in range(9):
        found = np.bincount(drawn[:, cell], minlength=9) / 4000
        allowed = (labels == labels[cell]).numpy() if labels[cell] >= 0 else np.arange(9) == cell
        np.testing.assert_allclose(found, allowed / allowed.sum(), atol=0.05)


def test_chance_is_its_rate():
    assert views.chance(torch.arange(10_000), 0.3).float().mean() == pytest.approx(0.3, abs=0.02)
    assert views.chance(torch.arange(100), 1.0).all()


# ---------------------------------------------------------------------------------------------------------- neighbours


def brute_force(x, y, k):
    """Partners of each cell by definition."""
    near = []
    for z in (x, y):
        d = ((z[:, None] - z) ** 2).sum(2)
        np.fill_diagonal(d, np.inf)
        near.append([set(row[:k]) for row in np.argsort(d, 1)])
    a, b = near
    return [{j for j in range(len(x)) if (j in a[i] and i in b[j]) or (j in b[i] and i in a[j])} for i in range(len(x))]


@pytest.mark.parametrize("two_views", [False, True])
def test_partners_are_mutual_neighbours_by_definition(two_views):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    y = x + rng.normal(scale=0.4, size=x.shape).astype(np.float32) if two_views else x
    found, expected = views.mutual(x, y, 6), brute_force(x, y, 6)
    assert found.shape == (80, max(map(len, expected)))
    alone = 0
    for cell, (row, partners) in enumerate(zip(found, expected, strict=True)):
        if not partners:
            assert set(row) == {cell}
            alone += 1
        else:
            assert set(row) == partners
    assert alone < 40


def test_halves_of_the_molecules_leave_less_of_what_noise_makes_neighbours():
    """Without structure, pairs found in the whole are kept by its own noise; independent halves find few."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400, 10)).astype(np.float32)
    alone = [np.mean((views.mutual(*two, 10) == np.arange(400)[:, None]).all(1)) for two in ((x, x), (x, y))]
    assert alone[1] > alone[0] + 0.3


def test_partners_are_drawn_from_their_row():
    partners = torch.tensor([[1, 2], [0, 0]])
    drawn = torch.stack([views.draw(partners) for _ in range(200)])
    assert set(drawn[:, 0].tolist()) == {1, 2}
    assert set(drawn[:, 1].tolist()) == {0}


def test_partners_of_a_run_are_of_the_same_type_and_found_again(types):
    def prepared():
        model = sdc.Model(types, "contrastive", n_clusters=3)
        raw = model._raw
        x = model._fit_inputs(raw)
        return model.method.prepare(model._cells(raw, 256, x), seed=3)

    cells, again = prepared(), prepared()
    assert torch.equal(cells.neighbors, again.neighbors)
    truth = types.obs["cell_type"].cat.codes.to_numpy()
    assert (truth[cells.neighbors.numpy()] == truth[:, None]).mean() > 0.98
    own = torch.arange(len(cells))[:, None]
    assert (cells.neighbors != own).any(1).float().mean() > 0.5
