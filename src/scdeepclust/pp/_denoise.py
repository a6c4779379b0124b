from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData

    from ..data import Raw


def denoise(
    adata: AnnData,
    *,
    neighbors_key: str = "n2s",
    layer: str | None = None,
    genes: str | Sequence[str] | None = None,
    n_neighbors: int | None = None,
    n_steps: int | None = None,
    weights: str | None = None,
    self_loops: bool | None = None,
    average: Literal["rates", "log"] = "rates",
    local: bool = False,
    dense: bool = False,
    key_added: str = "denoised",
    random_state: int | np.random.Generator | None = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Denoise expression by averaging over neighbours, as many as predict held-out values best.

    Every cell becomes what a weighted mean of its neighbours, itself left out, says of it, once or several times: a
    row-stochastic kernel on the graph of :func:`scdeepclust.pp.neighbors`, which is run first where there is no such graph. Use it to
    look at genes, gene pairs and trends; to cluster, give the counts to :func:`scdeepclust.tl.deepclust`.

    Parameters
    ----------
    adata
        Cells x genes, counts or log-normalised values.
    neighbors_key
        Neighbours in `uns`, of :func:`scdeepclust.pp.neighbors` or of :func:`scanpy.pp.neighbors`. If it is `"n2s"`
        and not there, the former is run with its defaults.
    layer
        Layer with the values; `X` if None.
    genes
        Gene or genes to denoise. None takes all.
    n_neighbors, n_steps, weights, self_loops
        Instead of the choice in `uns`, or of all neighbours, one step, equal weights and no self-loops where the
        graph is scanpy's.
    average
        What is averaged. `"rates"` sums the counts of a cell's neighbours and divides by the sum of their depths: shallow
        neighbours count for as little as they know; the logarithm (of one plus the rate at median depth) is taken at
        the end. `"log"` averages log-normalised values, as DEWAKSS does: their mean is lower than the logarithm of
        the rate, the more so the shallower the cells. Log-normalised input is averaged as it is.
    local
        Whether each cell may take half or twice as many neighbours where that predicts its surroundings better.
    dense
        Whether the layer is a dense array. Sparse, it needs memory for what neighbours share.
    key_added
        Name of the layer, or, if `genes` are given, of a DataFrame in `obsm`.
    random_state, progress
        As in :func:`scdeepclust.pp.neighbors`.
    copy
        Whether to return a changed copy instead of changing `adata`.

    Returns
    -------
    `None`, or the copy. Sets:

    `adata.layers[key_added]` : :class:`scipy.sparse.csr_matrix` or :class:`numpy.ndarray` (float32)
        Log-normalised, denoised values of all genes; or `adata.obsm[key_added]`, a :class:`pandas.DataFrame`, of `genes`.
    `adata.uns[key_added]` : :class:`dict`
        Parameters.
    `adata.obs[key_added + "_n_neighbors"]` : :class:`pandas.Series`
        Neighbours of each cell, with `local=True`.

    `X` is never changed.

    Raises
    ------
    KeyError
        There are no such neighbours, or no such layer or gene.
    TypeError
        The matrix is not in memory.
    ValueError
        Values that cannot be averaged, or a gene's name repeats.

    Notes
    -----
    After DEWAKSS (Tjärnberg et al. 2021, doi 10.1371/journal.pcbi.1008569), with the graph chosen on values that it has
    not seen. Steps are plain powers of the kernel: they may lead back to the cell itself, which is honest because the
    number of steps was chosen on the other half of its molecules; with `scheme="self"` or `"gene_split"` no step does.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3, dispersion=0)
    >>> sdc.pp.denoise(adata, progress=False)
    >>> adata.layers["denoised"].shape
    (300, 100)
    """
    import numpy as np
    import pandas as pd

    from .. import diffusion, results
    from ..arguments import resolve_seed
    from ..data.checks import Offers, check_anndata, one_of, several_names
    from ..data.expression import need_genes
    from ..data.raw import median_depth
    from ..data.read import read_genes
    from ..selection.halves import log_normalised
    from ..train import kept_threads
    from ._neighbors import neighbors

    check_anndata(adata)
    results.check_key(key_added)
    _check_kept(key_added, neighbors_key, layer if genes is None else None)
    seed = resolve_seed(random_state)
    genes = None if genes is None else list(dict.fromkeys(several_names("genes", genes)))
    columns = np.arange(adata.n_vars) if genes is None else need_genes("genes", genes, adata.var_names)
    one_of("average", average, ["rates", "log"])
    given = {"n_neighbors": n_neighbors, "n_steps": n_steps, "weights": weights, "self_loops": self_loops}
    _choice({}, given)
    raw = read_genes(adata, layer, None, counts=False, offers=Offers(use_rep=False, drop_empty=False))
    _check_graph(adata, neighbors_key)
    if search := neighbors_key not in adata.uns:
        _check_unsearched(raw, given)
    adata = adata.copy() if copy else adata
    if search:
        neighbors(adata, layer=layer, random_state=seed, progress=progress)
    choice = _choice(adata.uns[neighbors_key], given)
    with kept_threads():
        ks = _local(adata, choice, neighbors_key, seed) if local else None
        matrix, n_steps = _kernel(adata, adata.uns[neighbors_key], choice, ks, seed)
        if average == "rates" and raw.kind == "counts":
            values = raw.values[:, columns]
            depth = diffusion.diffuse(matrix, raw.totals, n_steps) / median_depth(raw.totals)
        else:
            values, depth = log_normalised(raw)[:, columns], None
        found = _averaged(matrix, values, n_steps, depth, dense=dense or genes is not None)
    if genes is None:
        adata.layers[key_added] = found
    else:
        adata.obsm[key_added] = pd.DataFrame(found, index=adata.obs_names, columns=list(genes))
    results.forget(adata, key_added, obs=[f"{key_added}_n_neighbors"])
    if ks is not None:
        adata.obs[f"{key_added}_n_neighbors"] = ks
    params = {k: v for k, v in choice.items() if k != "loss" and v is not None}
    adata.uns[key_added] = {"params": {**params, "neighbors_key": neighbors_key, "average": average, "local": local}}
    return adata if copy else None


def _check_kept(key_added: str, neighbors_key: str, layer: str | None) -> None:
    """Refuse to overwrite what is read."""
    if key_added in {neighbors_key, layer}:
        what = "record of the neighbours" if key_added == neighbors_key else "layer that is read"
        msg = f"key_added={key_added!r} would overwrite the {what}; give another name."
        raise ValueError(msg)


def _check_graph(adata: AnnData, key: str) -> None:
    from collections.abc import Mapping

    from ..data.checks import listing, need_key

    if key == "n2s" and key not in adata.uns:
        return
    need_key("neighbors_key", key, adata.uns, "adata.uns", first="sdc.pp.neighbors(adata)")
    if not isinstance(adata.uns[key], Mapping) or "distances_key" not in adata.uns[key]:
        graphs = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "distances_key" in v]
        msg = f"neighbors_key={key!r} holds no neighbours; there are: {listing(graphs)}."
        raise ValueError(msg)
    if adata.uns[key]["distances_key"] not in adata.obsp:
        msg = (
            f"neighbors_key={key!r}: its graph, adata.obsp[{adata.uns[key]['distances_key']!r}], is gone, as after cells were "
            f"concatenated; find neighbours again, with {'sdc' if key == 'n2s' else 'sc'}.pp.neighbors(adata)"
            f"{'' if key == 'n2s' else ', or leave neighbors_key out'}."
        )
        raise KeyError(msg)


def _check_unsearched(raw: Raw, given: dict) -> None:
    """Refuse, before neighbours are searched, what no search of these values could serve."""
    if given["n_neighbors"] is not None and given["n_neighbors"] >= len(raw):
        msg = f"n_neighbors={given['n_neighbors']}, but there are {len(raw) - 1} other cells; give no more."
        raise ValueError(msg)
    _check_self_loops(given, "count_split" if raw.kind == "counts" else "gene_split")


def _check_self_loops(choice: dict, scheme: str) -> None:
    if choice["self_loops"] and scheme != "count_split":
        msg = (
            f"self_loops=True, but these neighbours are found with scheme={scheme!r}, for which no cell may average over "
            "itself; leave it out, or search neighbours of counts with scheme='count_split'."
        )
        raise ValueError(msg)


def _choice(graph: dict, given: dict) -> dict:
    """Neighbours, steps and weights: as given, else as chosen, else all that the graph has, once, alike."""
    choice = {"n_neighbors": None, "n_steps": 1, "weights": "uniform"} | dict(graph.get("choice", {}))
    choice["self_loops"] = bool(graph.get("search", {}).get("self_loops", False))
    choice |= {name: value for name, value in given.items() if value is not None}
    _check(choice)
    _check_self_loops(choice, graph.get("search", {}).get("scheme", "count_split"))
    return choice


def _check(choice: dict) -> None:
    from .. import diffusion
    from ..data.checks import one_of, whole_number

    one_of("weights", choice["weights"], diffusion.WEIGHTS)
    for name in ("n_neighbors", "n_steps"):
        if choice[name] is not None:
            choice[name] = whole_number(name, choice[name])


def _neighbors_of(adata: AnnData, graph: dict, k: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and distances: searched again in the components they were found in, else read off the stored graph."""
    import numpy as np

    from .. import diffusion

    rep = graph.get("params", {}).get("use_rep")
    if "choice" in graph and rep in adata.obsm:
        return diffusion.neighbors(adata.obsm[rep], max(k, diffusion.SCALE), random_state=seed)
    stored = adata.obsp[graph["distances_key"]].tocsr()
    length = np.diff(stored.indptr)
    most = int(length.max())
    indices, distances = np.full((adata.n_obs, most), -1), np.full((adata.n_obs, most), np.inf, dtype=np.float32)
    for i, (start, end) in enumerate(zip(stored.indptr[:-1], stored.indptr[1:], strict=True)):
        near = start + np.argsort(stored.data[start:end], kind="stable")[:most]
        near = near[stored.indices[near] != i]
        indices[i, : len(near)], distances[i, : len(near)] = stored.indices[near], stored.data[near]
    return indices, distances


def _kernel(adata: AnnData, graph: dict, choice: dict, ks: np.ndarray | None, seed: int) -> tuple[object, int]:
    """The kernel, and how often to apply it."""
    import warnings

    import numpy as np
    from scipy import sparse

    from .. import diffusion

    k = choice["n_neighbors"] if ks is None else int(ks.max())
    indices, distances = _neighbors_of(adata, graph, k, seed)
    most = max(indices.shape[1], graph.get("params", {}).get("n_neighbors") or 0)  # before cells were left out
    if k is not None and k > most:
        msg = f"n_neighbors={k}, but no cell has more than {most} neighbours in this graph; give no more."
        raise ValueError(msg)
    if ks is not None:
        indices = np.where(np.arange(indices.shape[1]) < ks[:, None], indices, -1)
    matrix = diffusion.kernel(indices, distances, choice["weights"], n_neighbors=k, self_loops=choice["self_loops"])
    n_steps = choice["n_steps"]
    if graph.get("search", {}).get("scheme", "count_split") != "count_split":
        matrix, n_steps = diffusion.honest_power(matrix, n_steps), 1
    alone = np.diff(matrix.indptr) == 0
    if alone.any():
        msg = f"{int(alone.sum())} cells have no neighbour left in the graph; they keep their own values."
        warnings.warn(msg, UserWarning, stacklevel=3)
        matrix = (matrix + sparse.diags_array(alone.astype(matrix.dtype))).tocsr()
    return matrix, n_steps


def _local(adata: AnnData, choice: dict, key: str, seed: int) -> np.ndarray:
    from .. import selection
    from ..data import Inputs, read
    from ..data.raw import spread

    graph = adata.uns[key]
    if "search" not in graph:
        msg = f"local=True needs neighbours of scdeepclust.pp.neighbors; neighbors_key={key!r} holds others."
        raise ValueError(msg)
    search = graph["search"]
    if search.get("mask_var") == "array":
        msg = "local=True must read the genes that the search read; store them in a column of adata.var and name that."
        raise ValueError(msg)
    # Cells may have been left out since, and with them all that had a gene.
    source = {name: search.get(name) for name in ("layer", "use_rep", "mask_var")}
    raw = read(adata, **source, drop_empty=True)
    inputs = Inputs(raw.kind, search["transform"], search["gene_scaling"], None)
    found = selection.local_neighbors(raw, inputs, choice, scheme=search["scheme"], seed=seed)
    return spread(found, raw.kept, adata.n_obs, missing=choice["n_neighbors"])


def _averaged(matrix: object, values: object, n_steps: int, depth: np.ndarray | None, *, dense: bool) -> object:
    """All columns, some at a time; together they are dense only where asked.

    With a `depth` the values are counts, of which rates and their logarithm are taken.
    """
    import numpy as np
    from scipy import sparse

    from .. import diffusion

    found = np.empty(values.shape, dtype=np.float32) if dense else []
    for part, block in diffusion.diffused_columns(matrix, values, n_steps):
        if depth is not None:
            block = np.log1p(block / np.maximum(depth, 1e-12)[:, None])  # noqa: PLW2901
        if dense:
            found[:, part] = block
        else:
            found.append(sparse.csc_matrix(block))
    return found if dense else sparse.hstack(found, format="csr", dtype=np.float32)
