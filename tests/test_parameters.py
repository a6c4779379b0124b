"""Every parameter of every method does something: another value gives another network, or other clusters."""

from __future__ import annotations

import typing
from dataclasses import fields

import pytest
import torch

import scdeepclust as sdc
from scdeepclust import datasets, methods
from scdeepclust.methods.parameters import hints

pytestmark = [
    pytest.mark.filterwarnings("ignore::scdeepclust.losses.clustering.collapse.CollapseWarning"),
    pytest.mark.filterwarnings("ignore:In no minibatch did a cell have a negative"),
]

HEADS = {"n_heads": 2}
CHOSEN = {"n_clusters": None}
LEIDEN = CHOSEN | {"cluster": "leiden", "resolution": 2.0}
LONG = {"pretrain_steps": 60, "lr": 0.01}
# Another value than the default, where it is not half of a number, the next option of several, or the other of two.
OTHER = {
    "n_clusters": 4,
    "n_pcs": 10,
    "n_latent": 5,
    "n_layers": 2,
    "hidden": (16,),
    "noise": 0.5,
    "n_diffusion": 2,
    "n_init": 20,
    "patience": 1,
    "tolerance": 1.0,
    "update_interval": 2,
    "resolution": 0.5,
    "min_cluster_size": 2,
    "views": ("noise",),
    "projection": (8,),
    "cluster_weight": 0.5,
    "cluster_prior": (0.6, 0.3, 0.1),
    "locality": 0.5,
    "head_dropout": 0.5,
    "n_heads": 2,
    "n_blocks": 2,
    "partition_weight": 3.0,
    "max_epochs": 1,
    "pretrain_steps": 2,
    "cluster_steps": 2,
    "split": "gene_split",
}
# What else has to be set for it to matter.
WHERE = {
    "patience": LONG,
    "partition_weight": CHOSEN,
    "resolution": LEIDEN,
    "min_cluster_size": CHOSEN | {"cluster": "hdbscan"},
    "mask_rate": {"views": ("mask",)},
    "neighbor_rate": {"views": ("neighbors", "thin")},
    "cluster_prior": {"cluster_weight": 0.5},
    "pooling": HEADS,
    "consensus": HEADS,
    "independence": HEADS,
    "head_dropout": HEADS,
    "prune": {"n_clusters": 12},
    "n_init": {"n_clusters": 12, "n_init": 1},
    "tolerance": {"n_clusters": 12, "cluster_steps": 60, "cluster_lr": 0.01},
    "update_interval": {"update_interval": 8},
    "start": {"n_clusters": 12},
}
# The same, of single methods.
OF = {
    ("contrastive", "noise"): {"views": ("noise",)},
    ("triplet", "noise"): {"views": ("noise",), "positives": "views"},
    ("triplet", "mask_rate"): {"views": ("mask",), "positives": "views"},
    ("triplet", "depth"): {"views": ("thin",), "positives": "views"},
    ("triplet", "views"): {"positives": "views"},
    ("dino", "noise"): {"views": ("noise",)},
    ("dino", "n_init"): {"cluster": "kmeans", "n_clusters": 12, "n_init": 1},
    ("deepwak", "n_neighbors"): {"n_clusters": 12},
    ("deepwak", "n_diffusion"): {"n_clusters": 12},
    ("vade", "dropout"): {"network_type": "batchnorm", "hidden": (32, 32)},
    ("scdeepcluster", "n_neighbors"): {"n_diffusion": 1},
    ("scdeepcluster", "network_type"): {"n_pcs": 10},
    ("scdeepcluster", "locality"): {"n_pcs": 10},
    ("scdeepcluster", "patience"): {"pretrain_steps": 150, "lr": 0.02},
    ("mae", "mask_rate"): {},
    ("mae", "patience"): {"pretrain_steps": 200, "lr": 0.05},
    **{("scvi", name): {"cluster": "hardening"} for name in ("alpha", "target_power", "frequency_power", "cluster_lr")},
    ("scvi", "cluster_steps"): {"cluster": "hardening"},
    ("scvi", "tolerance"): {"cluster": "hardening", "cluster_steps": 60},
    ("scvi", "update_interval"): {"cluster": "hardening", "update_interval": 8},
    **{(name, "n_neighbors"): LEIDEN for name in ("mae", "none", "scvi", "dino")},
}
UNTRIED = {
    ("triplet", "labels_key"),  # names a column, without which positives="labels" is refused
}
FEW = {"n_clusters": 3, "pretrain_steps": 8, "cluster_steps": 12, "update_interval": 4, "n_init": 3, "max_epochs": 2}


def pairs():
    return [
        pytest.param(name, f.name, id=f"{name}-{f.name}")
        for name, kind in methods.registry().items()
        for f in fields(kind)
        if (name, f.name) not in UNTRIED
    ]


def another(kind, name, present):
    """A value of a parameter that is not the present one."""
    if name in OTHER:
        return OTHER[name]
    if isinstance(present, bool):
        return not present
    options = typing.get_args(hints(kind)[name])
    if isinstance(present, str):
        return next(option for option in options if option != present)
    return present // 2 if isinstance(present, int) else present / 2


@pytest.fixture(scope="module")
def cells():
    """A continuum, so that no run comes to the same end as another."""
    return datasets.simulate_lineage(160, 80, n_branches=4)


@pytest.fixture(scope="module")
def found(cells):
    """What a method comes to, as one vector; each run once."""
    known = {}

    def run(name, settings):
        key = name, tuple(sorted(settings.items(), key=str))
        if key not in known:
            model = sdc.Model(cells, name, **settings)
            model.train(batch_size=64, progress=False)
            parts = [value.detach().double().ravel() for value in model.net.state_dict().values()]
            parts.append(torch.as_tensor(model.predict(soft=True)).double().ravel())
            known[key] = torch.cat([*parts, torch.tensor([len(model.history), model.n_clusters])])
        return known[key]

    return run


@pytest.mark.parametrize(("kind", "name"), pairs())
def test_another_value_gives_another_result(found, kind, name):
    of = methods.registry()[kind]
    context = OF.get((kind, name), WHERE.get(name, {}))
    base = {key: value for key, value in FEW.items() if key in hints(of)} | context
    if base.get("cluster") == "hdbscan":
        base["n_clusters"] = None
    changed = base | {name: another(of, name, base.get(name, getattr(of(**base), name)))}
    assert changed != base
    one, other = found(kind, base), found(kind, changed)
    assert one.shape != other.shape or not torch.equal(one, other)
