"""Locality: the term against the trace form of the Laplacian, and what it and the clustering stage do to lineages."""

from __future__ import annotations

import functools
from dataclasses import fields
from itertools import product

import anndata as ad
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scdeepclust as sdc
from scdeepclust.checkpoint import Checkpoint
from scdeepclust.data import Batch, Cells
from scdeepclust.losses import locality

# A network of a few steps may lose a cluster, and says so; what it then does is another test's matter.
pytestmark = pytest.mark.filterwarnings("ignore::scdeepclust.losses.clustering.collapse.CollapseWarning")

HELD = [name for name, kind in sdc.methods.registry().items() if "locality" in {f.name for f in fields(kind)}]
# A clustering stage of the kind that tears continua.
STRONG = {"cluster_steps": 250, "cluster_lr": 3e-3, "target_power": 3.0, "tolerance": 0.0}
each_method = pytest.mark.parametrize("name", HELD)
quick = settings(max_examples=20, deadline=None, derandomize=True)


def trace_form(z, weights):
    """2 tr(Z' L Z) / (n d) with the Laplacian of the symmetric part of a row-stochastic graph, dense."""
    symmetric = (weights + weights.T) / 2
    laplacian = np.diag(symmetric.sum(1)) - symmetric
    return 2 * np.trace(z.T @ laplacian @ z) / z.size


# ----------------------------------------------------------------------------------------------------------- the term


@quick
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
def test_the_mean_over_all_draws_of_neighbours_is_the_trace_form(seed, n_cells, n_latent):
    rng = np.random.default_rng(seed)
    z, weights = rng.normal(size=(n_cells, n_latent)), rng.random((n_cells, n_cells))
    weights /= weights.sum(1, keepdims=True)
    expected = 0.0
    for drawn in product(range(n_cells), repeat=n_cells):
        chance = np.prod([weights[i, j] for i, j in enumerate(drawn)])
        expected += chance * float(locality(torch.from_numpy(z), torch.from_numpy(z[list(drawn)])))
    assert expected == pytest.approx(trace_form(z, weights))


def test_its_gradient_is_the_numerical_one():
    z, near = (torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.autograd.gradcheck(locality, (z.requires_grad_(), near.requires_grad_()))


def test_it_is_zero_where_neighbours_coincide_and_grows_with_the_square():
    z, shift = torch.randn(6, 4), torch.randn(4)
    assert locality(z, z) == 0
    assert locality(3 * z, 3 * (z + shift)) == pytest.approx(9 * float(shift.square().mean()), rel=1e-5)


class Identity:
    """A network whose embedding is what it sees."""

    def encode(self, x):
        return x


def cells_with(neighbors, x):
    return Cells(device=torch.device("cpu"), batch_size=8, x=x, neighbors=neighbors)


def test_what_a_method_adds_is_the_weighted_trace_form_on_average():
    rng = np.random.default_rng(0)
    x, near = rng.normal(size=(12, 3)), np.array([rng.permutation(np.delete(np.arange(12), i))[:4] for i in range(12)])
    weights = np.zeros((12, 12))
    np.put_along_axis(weights, near, 0.25, axis=1)
    method, cells = sdc.methods.get("dec", locality=0.5), cells_with(torch.from_numpy(near), torch.from_numpy(x))
    batch = cells[torch.arange(12)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        terms = [method.held_together(Identity(), cells, batch, batch.x)["locality"] for _ in range(3_000)]
    assert float(torch.stack(terms).mean()) == pytest.approx(0.5 * trace_form(x, weights), rel=0.02)


def test_only_neighbours_of_the_cell_itself_are_drawn():
    # cells are points on a line; neighbours of cell i are i + 1 and i + 2
    x, near = torch.arange(22.0)[:, None], torch.arange(20)[:, None] + torch.tensor([1, 2])
    near = torch.cat([near, near[:2]])
    method, cells, seen = sdc.methods.get("dec", locality=1.0), cells_with(near, x), set()
    for index in (torch.tensor([7]), torch.tensor([3]), torch.tensor([19])):
        batch = Batch(x[index], None, None, None, None, index)
        seen |= {float(method.held_together(Identity(), cells, batch, batch.x)["locality"]) for _ in range(30)}
    assert seen == {1.0, 4.0}


def test_neighbours_are_those_of_brute_force():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 5)))
    found = sdc.methods.get("idec", locality=1.0, n_neighbors=6).prepare(cells_with(None, x), seed=0).neighbors
    d = torch.cdist(x, x).fill_diagonal_(torch.inf)
    assert found.shape == (60, 6)
    for row, expected in zip(found.tolist(), d.argsort(1)[:, :6].tolist(), strict=True):
        assert set(row) == set(expected)


def test_nothing_is_prepared_and_nothing_added_without_it():
    x = torch.randn(40, 3)
    method, cells = sdc.methods.get("idec"), cells_with(None, x)
    assert method.locality == 0
    assert method.prepare(cells, seed=0).neighbors is None
    assert method.held_together(Identity(), cells, cells[torch.arange(5)], x[:5]) == {}


# -------------------------------------------------------------------------------------------------------- every method


def run(adata, method, **arguments):
    return sdc.tl.deepclust(adata, method, copy=True, progress=False, **arguments)


@each_method
def test_every_method_trains_with_it(types, few, name):
    found = run(types, few(name, locality=1.0, n_pcs=10))
    history = found.uns["deepclust"]["history"]
    assert found.uns["deepclust"]["params"]["locality"] == 1
    assert np.isfinite(history["locality"]).all()
    assert (history["locality"] > 0).all()
    assert set(history["phase"]) == ({"pretrain"} if name == "aekmeans" else {"pretrain", "cluster"})
    assert "locality" not in run(types, few(name, n_pcs=10)).uns["deepclust"]["history"]


@each_method
def test_it_is_never_left_out_in_silence(types, few, name):
    # a method may read genes, among which it has no neighbours; then it has to say so
    try:
        found = run(types, few(name, locality=1.0, n_pcs=None))
    except ValueError as error:
        assert "locality" in str(error)  # noqa: PT017
    else:
        assert "locality" in found.uns["deepclust"]["history"]


@each_method
def test_a_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match="locality"):
        sdc.methods.get(name, locality=-1.0)


@each_method
def test_resumed_from_every_other_state_gives_the_same_bits(types, few, name, tmp_path, monkeypatch, same):
    states = []
    save = Checkpoint.save

    def recording(self, state):
        save(self, state)
        states.append(self.path.read_bytes())

    def trained(path):
        model = sdc.Model(types, few(name, locality=1.0, n_pcs=10))
        model.train(batch_size=128, checkpoint=path, progress=False)
        return model, {k: v.numpy() for k, v in model.net.state_dict().items()}

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", recording)
        whole, weights = trained(tmp_path / "whole.ckpt")
    for i, state in list(enumerate(states))[::2]:
        path = tmp_path / f"{i}.ckpt"
        path.write_bytes(state)
        again, weights_again = trained(path)
        same(weights_again, weights, f"from state {i}")
        same(again.history, whole.history, f"from state {i}")
        same(again.latent_before, whole.latent_before, f"from state {i}")
        same(again.preservation, whole.preservation, f"from state {i}")


# ------------------------------------------------------------------------------------- before and after the clustering


@pytest.fixture(scope="module")
def tree():
    """Counts of a lineage of five segments; not to be changed."""
    return sdc.datasets.simulate_lineage(400, 100, n_branches=3, separation=2, mean_depth=5000)


@pytest.fixture(scope="module")
def trained(tree):
    """Results on it, computed once; not to be changed."""

    @functools.cache
    def found(name, **params):
        return run(tree, name, n_clusters=5, **{"pretrain_steps": 60, "n_init": 3} | params)

    return found


def settled(name):
    """Parameters of the clustering stage, as far as a method has one; few steps of the one that is slow."""
    few_steps = {"cluster_steps": 60, "n_pcs": 20}
    known = {f.name for f in fields(sdc.methods.registry()[name])}
    strong = {k: v for k, v in STRONG.items() if k in known}
    return {"aekmeans": {}, "scdeepcluster": few_steps}.get(name, strong)


@each_method
def test_a_lineage_held_together_is_kept_better_than_by_plain_dec(trained, name):
    plain = trained("dec", **STRONG).uns["deepclust"]["preservation"]["after"]
    held = trained(name, locality=1.0, **settled(name)).uns["deepclust"]["preservation"]["after"]
    assert held > plain + 0.1


def test_more_weight_keeps_more(trained):
    kept = [trained("dec", **STRONG), *(trained("dec", locality=weight, **STRONG) for weight in (1.0, 10.0))]
    kept = [found.uns["deepclust"]["preservation"]["after"] for found in kept]
    assert kept[0] + 0.1 < kept[1]
    assert kept[1] + 0.05 < kept[2]


@each_method
def test_preservation_is_recorded_before_and_after(trained, name):
    found = trained(name, locality=1.0, **settled(name)).uns["deepclust"]["preservation"]
    assert set(found) == ({"after"} if name == "aekmeans" else {"before", "after"})
    assert all(0 <= value <= 1 for value in found.values())
    assert found.get("before", found["after"]) > 0.7


@each_method
def test_the_embedding_before_the_clustering_stage_is_kept(trained, name):
    found = trained(name, locality=1.0, **settled(name))
    if name == "aekmeans":  # it has none
        assert "X_deepclust_before" not in found.obsm
        return
    before, after = found.obsm["X_deepclust_before"], found.obsm["X_deepclust"]
    assert before.dtype == np.float32
    assert before.shape == after.shape
    assert np.isfinite(before).all()
    assert not np.array_equal(before, after)


def test_a_method_that_only_pretrains_gives_the_embedding_before(tree, trained):
    found = trained("dec", **STRONG)
    never = run(tree, "dec", n_clusters=5, pretrain_steps=60, n_init=3, cluster_steps=0)
    np.testing.assert_array_equal(never.obsm["X_deepclust"], found.obsm["X_deepclust_before"])
    assert np.abs(found.obsm["X_deepclust"] - found.obsm["X_deepclust_before"]).max() > 0.1


def test_what_is_recorded_is_the_metric_in_the_space_that_the_network_reads(few):
    rng = np.random.default_rng(0)
    t = np.linspace(0, 6, 200)
    x = np.column_stack([t, np.sin(t), np.cos(2 * t), 0.1 * rng.normal(size=(200, 3))]).astype(np.float32)
    found = run(ad.AnnData(obsm={"x": x}), few("dec"), use_rep="x")
    for when, key in (("before", "X_deepclust_before"), ("after", "X_deepclust")):
        expected = sdc.metrics.lineage_preservation(found.obsm[key], x)["score"]
        assert found.uns["deepclust"]["preservation"][when] == pytest.approx(expected, abs=0.01)


def test_a_stage_that_tears_a_lineage_is_warned_of_and_the_default_is_not(tree, caplog):
    def said(method, **params):
        caplog.clear()
        kept = run(tree, method, n_clusters=5, pretrain_steps=60, **params).uns["deepclust"]["preservation"]
        return kept, [r for r in caplog.records if r.name == "scdeepclust.model" and r.levelname == "WARNING"]

    kept, warned = said("dec", **STRONG)
    assert kept["before"] - kept["after"] > 0.1
    assert len(warned) == 1
    text = warned[0].getMessage()
    assert f"from {kept['before']:.2f} to {kept['after']:.2f}" in text
    assert "locality" in text
    kept, warned = said("idec")
    assert kept["before"] - kept["after"] < 0.1
    assert warned == []


def test_too_few_cells_are_not_compared(types, few):
    found = run(types[:40].copy(), few("dec", locality=1.0, n_pcs=5, n_neighbors=3), drop_empty=True)
    assert found.uns["deepclust"]["preservation"] == {}
    assert "X_deepclust_before" in found.obsm


def test_cells_that_were_left_out_have_no_embedding_before(counts, few):
    x = counts.X.toarray()
    x[[0, 7]] = 0
    counts.X = x
    found = run(counts, few("dec", locality=1.0), drop_empty=True)
    empty = np.isin(np.arange(300), [0, 7])
    np.testing.assert_array_equal(np.isnan(found.obsm["X_deepclust_before"]).all(1), empty)
