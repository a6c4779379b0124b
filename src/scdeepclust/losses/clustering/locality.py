"""Locality preservation: cells that are neighbours in the input stay near in the embedding.

Source: the locality-preserving loss in Aljalbout, Golkov, Siddiqui, Cremers, "Clustering with deep learning: taxonomy
and new methods", arXiv 1801.07648 (2018), after Huang, Huang, Wang, Wang, "Deep embedding network for clustering",
ICPR 2014, doi 10.1109/ICPR.2014.272.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def locality(z: Tensor, z_neighbor: Tensor) -> Tensor:
    r"""Mean over cells and dimensions of :math:`(z_i - z_j)^2`, with one neighbour j of each cell i.

    Where j is drawn with the probability of its weight :math:`w_{ij}` in a row-stochastic graph, this is an unbiased
    estimate of :math:`\sum_{ij} w_{ij} \lVert z_i - z_j \rVert^2 / (n d)`, the trace form of Laplacian eigenmaps. Alone it
    would shrink the embedding to a point; a reconstruction holds it up.

    Parameters
    ----------
    z
        Embedding of cells, cells x latent.
    z_neighbor
        Embedding of a neighbour of each.
    """
    return (z - z_neighbor).square().mean()
