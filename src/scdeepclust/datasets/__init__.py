"""Labelled public data to try a method on, and simulated cells whose truth is known."""

from __future__ import annotations

from .discrete import simulate_types
from .lineage import simulate_lineage
from .public import (
    available,
    bodenmiller12_cytof,
    cbmc_citeseq,
    cellbench_cell_lines,
    cellbench_rnamix,
    kang18_pbmc_ifnb,
    krumsiek11,
    paul15,
    paul15_mini,
    pbmc3k,
    pbmc4k_10x,
    pbmc68k,
    pbmc68k_reduced,
    pollen14,
    tusi18_bonemarrow,
    worm_neuron,
)

__all__ = [
    "available",
    "bodenmiller12_cytof",
    "cbmc_citeseq",
    "cellbench_cell_lines",
    "cellbench_rnamix",
    "kang18_pbmc_ifnb",
    "krumsiek11",
    "paul15",
    "paul15_mini",
    "pbmc3k",
    "pbmc4k_10x",
    "pbmc68k",
    "pbmc68k_reduced",
    "pollen14",
    "simulate_lineage",
    "simulate_types",
    "tusi18_bonemarrow",
    "worm_neuron",
]
