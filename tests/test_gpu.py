"""The same clusters on a GPU, and a model that moves between devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scdeepclust as sdc
from scdeepclust import diffusion
from scdeepclust.data.components import principal_components
from scdeepclust.replay import Replay
from scdeepclust.train import Interrupted, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]


def trained(adata, method, **options):
    model = sdc.Model(adata, method, device="cuda")
    model.train(progress=False, **options)
    return model


def test_separated_types_are_found(method):
    adata = sdc.datasets.simulate_types(600, 100, n_types=3, separation=2.0)
    sdc.tl.deepclust(adata, method.name, n_clusters=3, device="cuda", progress=False)
    assert sdc.metrics.ari(adata.obs["cell_type"], adata.obs["deepclust"]) > 0.95


def test_same_twice(variant, types):
    first, second = (sdc.tl.deepclust(types, variant.small(), device="cuda", copy=True, progress=False) for _ in "ab")
    assert (first.obs["deepclust"] == second.obs["deepclust"]).all()


def test_a_model_moves_to_the_cpu(variant, types, tmp_path):
    model = trained(types, variant.small())
    model.save(tmp_path / "model")
    moved = sdc.Model.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(moved.predict(types, soft=True), model.predict(types, soft=True), atol=1e-4)


def test_recorded_steps_are_the_plain_ones(variant, types, monkeypatch):
    """One kernel after the other, and replayed: the same embedding after some hundred steps, what is drawn included."""
    names = {"pretrain_steps": 60, "cluster_steps": 60, "update_interval": 10}
    steps = {name: n for name, n in names.items() if hasattr(variant.small(), name)}
    recorded, take = [], Replay._record
    monkeypatch.setattr(Replay, "_record", lambda self, index: recorded.append(len(index)) or take(self, index))
    # Minibatches of two sizes; where the method can, with the clusters that the data choose.
    options = steps | ({"n_clusters": None} if variant.name in {"dec", "idec"} else {})
    replayed = trained(types, variant.small(**options), batch_size=45)
    assert recorded or variant.name in {"deepwak", "none", "scvi"}
    monkeypatch.setattr(Trainer, "_replays", lambda *_: False)
    plain = trained(types, variant.small(**options), batch_size=45)
    found, expected = (model.get_latent_representation() for model in (replayed, plain))
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())


def test_an_interrupted_run_goes_on(training, types, tmp_path, monkeypatch):
    """From its checkpoint, with steps recorded anew."""
    method = training.small(pretrain_steps=40)
    whole = trained(types, method, batch_size=128)
    epoch, left = Trainer._epoch, iter([1, 1, 1, 1, 1])

    def stop(*given):
        if not next(left, 0):
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(Trainer, "_epoch", stop)
    with pytest.warns(Interrupted):
        trained(types, method, batch_size=128, checkpoint=tmp_path / "run.ckpt")
    monkeypatch.setattr(Trainer, "_epoch", epoch)
    rest = trained(types, method, batch_size=128, checkpoint=tmp_path / "run.ckpt")
    found, expected = (model.get_latent_representation() for model in (rest, whole))
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())


def test_neighbours_and_their_average_are_those_of_the_cpu():
    x = np.random.default_rng(0).normal(size=(3000, 10)).astype(np.float32)
    indices, _ = diffusion.neighbors(x, 15)
    found = diffusion.neighbors_of(torch.as_tensor(x, device="cuda"), 15)
    assert (found.cpu().numpy() == indices).mean() > 0.999  # the order of two that are equally far may differ
    averaged = diffusion.average_of(torch.as_tensor(x, device="cuda"), found, 2).cpu()
    np.testing.assert_allclose(averaged, diffusion.average_over(x, indices, 2), atol=0.05)


def test_components_are_those_of_the_cpu():
    values = sdc.datasets.simulate_types(2000, 300, n_types=6).X.tocsr().astype(np.float32)
    there, here = (principal_components(values, 5, device=torch.device(name), seed=0) for name in ("cuda", "cpu"))
    for found, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * float(expected.std()))


def test_the_number_of_clusters_is_that_of_the_cpu():
    adata = sdc.datasets.simulate_types(3000, 300, n_types=6)
    here, there = (sdc.tl.deepclust(adata, "none", device=name, copy=True, progress=False) for name in ("cpu", "cuda"))
    assert here.obs["deepclust"].nunique() == there.obs["deepclust"].nunique()
    assert sdc.metrics.ari(here.obs["deepclust"], there.obs["deepclust"]) > 0.98
