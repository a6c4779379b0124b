"""Probabilities of ending in each tip of a tree, by a package that computes them."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

from ..data.checks import one_of

logger = logging.getLogger(__name__)

N_NEIGHBORS = 30  # palantir's own default
N_LAST = 20  # cells at the end of a tip that cellrank takes for its terminal state


def check_fates(asked: str | None) -> None:
    """Refuse a package that is not there.

    Raises
    ------
    ImportError
        The package asked for cannot be imported.
    ValueError
        It is none that could be asked.
    """
    one_of("fates", asked, ["auto", *PACKAGES, None])
    if asked in PACKAGES and not _imported(asked):
        msg = f"fates={asked!r} needs {asked}, which cannot be imported; install it or give fates=None."
        raise ImportError(msg)


def find_fates(
    bare: AnnData, tips: list[str], iroot: int, seed: int, asked: str
) -> tuple[str, pd.DataFrame] | tuple[None, None]:
    """The package that told, and cells x tips, NaN for cells that pseudotime does not reach.

    Twice None where none is installed or can tell.
    """
    name = next(filter(_imported, PACKAGES), None) if asked == "auto" else asked
    if name is None:
        return None, None
    time = bare.obs["dpt_pseudotime"]
    last = {}
    for tip in tips:
        there = time[(bare.obs["cluster"] == tip).to_numpy()].dropna().drop(bare.obs_names[iroot], errors="ignore")
        if len(there):
            last[tip] = there.sort_values(kind="stable").index[-N_LAST:]
    reached = bare[time.notna().to_numpy()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = PACKAGES[name](reached, last, bare.obs_names[iroot], seed)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        if asked != "auto":
            raise
        logger.warning("%s found no fates (%s); give fates=None to leave them out.", name, error)
        return None, None
    return name, found.reindex(bare.obs_names)


def _imported(package: str) -> bool:
    try:
        # They bring plotting and jax with them, whose deprecations are no concern of ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(package)
    except ImportError:
        return False
    return True


def _by_palantir(cells: AnnData, last: dict[str, pd.Index], root: str, seed: int) -> pd.DataFrame:
    import palantir

    k = min(N_NEIGHBORS, cells.n_obs - 1)
    rep = pd.DataFrame(cells.obsm["rep"], index=cells.obs_names)
    components = palantir.utils.run_diffusion_maps(rep, n_components=10, knn=k)
    space = palantir.utils.determine_multiscale_space(components)
    ends = {names[-1]: tip for tip, names in last.items()}
    waypoints = min(1200, cells.n_obs)
    with contextlib.redirect_stdout(io.StringIO()):
        found = palantir.core.run_palantir(
            space, root, terminal_states=list(ends), knn=k, num_waypoints=waypoints, seed=seed
        )
    return found.branch_probs.rename(columns=ends)


def _by_cellrank(cells: AnnData, last: dict[str, pd.Index], root: str, seed: int) -> pd.DataFrame:
    import cellrank
    from anndata import AnnData

    # It reads the type of X, whatever X is.
    cells = AnnData(cells.obsm["rep"], obs=cells.obs, obsp=dict(cells.obsp), uns=dict(cells.uns))
    kernel = cellrank.kernels.PseudotimeKernel(cells, time_key="dpt_pseudotime")
    kernel.compute_transition_matrix(show_progress_bar=False)
    estimator = cellrank.estimators.GPCCA(kernel)
    estimator.set_terminal_states({tip: list(names) for tip, names in last.items()})
    estimator.compute_fate_probabilities(show_progress_bar=False)
    found = estimator.fate_probabilities
    return pd.DataFrame(np.asarray(found), index=cells.obs_names, columns=list(found.names))


PACKAGES = {"palantir": _by_palantir, "cellrank": _by_cellrank}
