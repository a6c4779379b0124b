"""Public data sets with labels, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _scanpy
from ._find import NAMES, finder, where

if TYPE_CHECKING:
    from anndata import AnnData


def pbmc68k() -> AnnData:
    """Return 700 blood cells of scanpy's wheel: no download, for examples and quick tests.

    ``X`` is log-normalised (scanpy's ``raw``), not counts; :func:`pbmc68k_reduced` finds the counts of the
    same cells. The labels come from correlation to bulk profiles and are noisy.

    Returns
    -------
    700 cells x 765 genes with ``obs["cell_type"]`` (10 types), ``obs["louvain"]``, ``obs["phase"]`` and
    ``uns["source"]``.

    References
    ----------
    Zheng et al. (2017), Nature Communications 8:14049, doi:10.1038/ncomms14049.

    Examples
    --------
    >>> from scdeepclust.datasets import pbmc68k
    >>> pbmc68k().shape
    (700, 765)
    """
    return _scanpy.pbmc68k()


def available() -> dict[str, str]:
    """List the public data sets and where each was found.

    Returns
    -------
    Name of the function -> path of its file, how scanpy has it, or ``"not found"``.

    Raises
    ------
    FileNotFoundError
        If the environment variable ``SCDEEPCLUST_DATASETS`` names no folder.

    Examples
    --------
    >>> from scdeepclust.datasets import available
    >>> available()["pbmc68k"]
    'scanpy has it in its wheel'
    """
    return {"pbmc68k": "scanpy has it in its wheel", **{name: where(name) for name in NAMES}}


_ZHENG = "Zheng et al. (2017), Nature Communications 8:14049, doi:10.1038/ncomms14049."
_TIAN = "Tian et al. (2019), Nature Methods 16:479-487, doi:10.1038/s41592-019-0425-8."
_PAUL = "Paul et al. (2015), Cell 163:1663-1677, doi:10.1016/j.cell.2015.11.013."
_MYELOID = 'Labels are the paper\'s 19 clusters; files also hold ``obs["branch"]`` and ``uns["lineage_edges"]``.'

paul15 = finder("paul15", "Find 2,730 mouse myeloid progenitors (MARS-seq counts), a lineage.", _MYELOID, _PAUL)
paul15_mini = finder("paul15_mini", "Find 695 cells x 1,000 genes of paul15, for quick tests.", _MYELOID, _PAUL)
pbmc3k = finder(
    "pbmc3k",
    "Find 2,638 blood cells of the scanpy tutorial (10x counts).",
    "Labels are the tutorial's annotated louvain clusters (8), so they favour louvain and leiden.",
    _ZHENG,
)
pbmc4k_10x = finder(
    "pbmc4k_10x",
    "Find 4,271 blood cells (10x counts, 2,000 genes), a benchmark of scDeepCluster.",
    "Labels are 8 graph clusters of 10x, without names.",
    _ZHENG,
)
pbmc68k_reduced = finder(
    "pbmc68k_reduced",
    "Find the counts of the 700 blood cells of pbmc68k.",
    "Labels (10) come from correlation to bulk profiles of purified cells: noisy.",
    _ZHENG,
)
worm_neuron = finder(
    "worm_neuron",
    "Find 4,186 neurons of C. elegans (sci-RNA-seq counts, very sparse).",
    "Labels are the authors' 10 types, without names.",
    "Cao et al. (2017), Science 357:661-667, doi:10.1126/science.aam8940.",
)
cbmc_citeseq = finder(
    "cbmc_citeseq",
    "Find 8,617 cord blood cells (CITE-seq counts, 2,000 genes).",
    'Labels are the authors\' 15 types, without names; 10 proteins in ``obsm["protein_counts"]``.',
    "Stoeckius et al. (2017), Nature Methods 14:865-868, doi:10.1038/nmeth.4380.",
)
kang18_pbmc_ifnb = finder(
    "kang18_pbmc_ifnb",
    "Find 1,556 blood cells of two donors, control and interferon-beta (counts).",
    'Labels are the authors\' 5 types; ``obs["batch"]`` is the sample, with a strong effect.',
    "Kang et al. (2018), Nature Biotechnology 36:89-94, doi:10.1038/nbt.4042.",
)
pollen14 = finder(
    "pollen14",
    "Find 299 cells of 11 origins (Smart-seq read counts), small and deep.",
    "Labels are the origins of the cells: independent of expression.",
    "Pollen et al. (2014), Nature Biotechnology 32:1053-1058, doi:10.1038/nbt.2967.",
)
cellbench_cell_lines = finder(
    "cellbench_cell_lines",
    "Find 1,021 cells of 5 lung cancer lines (counts, 5 batches of 2 technologies).",
    'Labels are genotypes: ground truth, independent of expression. ``obs["batch"]`` has a strong effect.',
    _TIAN,
)
cellbench_rnamix = finder(
    "cellbench_rnamix",
    "Find 636 pseudo-cells: RNA of 3 cell lines mixed in 7 known proportions (counts).",
    "Labels are the mixtures: ground truth of a continuum.",
    _TIAN,
)
tusi18_bonemarrow = finder(
    "tusi18_bonemarrow",
    "Find 4,790 Kit+ mouse bone marrow cells (inDrops counts), a lineage without published labels.",
    'There is no ``obs["cell_type"]``: ``obs["cell_type_weak"]`` is a marker argmax, for plots, never for a score.',
    "Tusi et al. (2018), Nature 555:54-60, doi:10.1038/nature25741.",
    labelled=False,
)
krumsiek11 = finder(
    "krumsiek11",
    "Find 640 simulated myeloid cells of 11 genes (continuous expression, not counts).",
    "Labels are the 4 fates and the progenitors of the simulation.",
    "Krumsiek et al. (2011), PLoS ONE 6:e22649, doi:10.1371/journal.pone.0022649.",
)
bodenmiller12_cytof = finder(
    "bodenmiller12_cytof",
    "Find 172,791 blood cells x 24 proteins (CyTOF, arcsinh of intensity / 5, dense), large.",
    "Labels are 9 weak threshold gates made for this collection, not expert gating.",
    "Bodenmiller et al. (2012), Nature Biotechnology 30:858-867, doi:10.1038/nbt.2317.",
)
