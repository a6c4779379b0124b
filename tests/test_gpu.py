"""The same clusters on a GPU, and a model that moves between devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scdeepclust as sdc

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]


def test_separated_types_are_found(method):
    adata = sdc.datasets.simulate_types(600, 100, n_types=3, separation=2.0)
    sdc.tl.deepclust(adata, method.name, n_clusters=3, device="cuda", progress=False)
    assert sdc.metrics.ari(adata.obs["cell_type"], adata.obs["deepclust"]) > 0.95


def test_same_twice(variant, types):
    first, second = (sdc.tl.deepclust(types, variant.small(), device="cuda", copy=True, progress=False) for _ in "ab")
    assert (first.obs["deepclust"] == second.obs["deepclust"]).all()


def test_a_model_moves_to_the_cpu(variant, types, tmp_path):
    model = sdc.Model(types, variant.small(), device="cuda")
    model.train(progress=False)
    model.save(tmp_path / "model")
    moved = sdc.Model.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(moved.predict(types, soft=True), model.predict(types, soft=True), atol=1e-4)
