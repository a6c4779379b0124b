"""First axis of the taxonomy: networks. Loaded on first use, so that reading a method's parameters needs no torch."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "affinity": ["Affinity"],
        "autoencoder": ["Autoencoder", "encoder", "linear", "mlp"],
        "centroids": ["Centroids"],
        "counts": ["CountAutoencoder", "MeanEncoder", "trained_weights"],
        "embedding": ["Identity", "embed"],
        "head": ["Head"],
        "masked": ["MaskedAutoencoder"],
        "mixture": ["Mixture"],
        "projector": ["ClusterHead", "Projector", "Prototypes", "SelfDistilled"],
        "target": ["SharpenedTarget", "farthest"],
        "variational": ["VariationalAutoencoder"],
    },
)
