"""OUT: labels, memberships, embedding and a record of the run, into an AnnData."""

from __future__ import annotations

import copy
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .data.columns import separating_batches
from .data.raw import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from .model import Model

logger = logging.getLogger(__name__)

NOISE = "noise"  # the category of cells that belong nowhere
FORMS = ("X_{}", "X_{}_before", "{}_proba", "{}_heads", "{}_fine", "{}_confidence")  # of what is stored beside a key
ENRICHMENT = "{}_enrichment"  # of these clusters, in `uns`
RECORDED = (
    *("scdeepclust", "anndata", "igraph", "kmedoids", "numba", "numpy", "pandas", "scanpy"),
    *("scikit-learn", "scikit-misc", "scipy", "scvi-tools", "torch"),
)


def versions() -> dict[str, str]:
    """Versions on which labels may depend."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED}}


def check_key(
    key_added: str, *, argument: str = "key_added", reads: Iterable[Any] = (), forms: Iterable[str] = FORMS
) -> None:
    """Refuse a key that h5ad cannot store, and one whose results would take the place of what is read.

    Parameters
    ----------
    key_added
        Under which results are to be stored.
    argument
        What it is called.
    reads
        Names in `obs`, `obsm` or `uns` of what the results are made of; others, such as None, are passed over.
    forms
        Of the names that are written beside the key.

    Raises
    ------
    ValueError
        It is no string, empty, or has a "/" in it, or results would overwrite what is read.
    """
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        msg = f"{argument}={key_added!r} must be a non-empty string without '/': h5ad files cannot store such a key."
        raise ValueError(msg)
    written = {key_added, *(form.format(key_added) for form in forms)}
    lost = [name for name in reads if isinstance(name, str) and name in written]
    if lost:
        msg = f"{argument}={key_added!r} would overwrite {lost[0]!r}, which is read; give another name."
        raise ValueError(msg)


def read_by(model: Model) -> list[str]:
    """Names in `obs` and `obsm` of what a model reads beside values of genes."""
    keys = (model.source["use_rep"], model.source["batch_key"], model.method.labels_key)
    return [key for key in (*keys, *(model.source["categorical_covariate_keys"] or ())) if key is not None]


def write(
    adata: AnnData,
    key: str,
    *,
    labels: np.ndarray,
    memberships: np.ndarray,
    embedding: np.ndarray,
    before: np.ndarray | None,
    tables: dict[str, Any],
    categories: list[str],
    record: dict[str, Any],
    kept: Sequence[int] | np.ndarray,
) -> None:
    """Write results under `key`; cells that were dropped get no label, and NaN.

    Parameters
    ----------
    adata
        Where to.
    key
        `obs[key]`, `obsm["X_" + key]`, `obsm["X_" + key + "_before"]`, `obsm[key + "_proba"]`, `uns[key]`.
    labels
        Cluster of each kept cell, 0 the largest.
    memberships
        Kept cells x clusters.
    embedding
        Kept cells x latent.
    before
        Kept cells x latent, as the embedding was before the clustering stage.
    tables
        More with a row for each kept cell, by the ending of its key in `obsm`.
    categories
        Names of the clusters.
    record
        What goes to `uns`.
    kept
        Positions of these cells in `adata`.
    """
    tables = {name: _of_all(table, kept, adata) for name, table in tables.items()}
    forget_clusters(adata, key)
    adata.obs[key] = pd.Categorical.from_codes(spread(labels, kept, adata.n_obs, missing=-1), categories=categories)
    for name, z in (("", embedding), ("_before", before)):
        if z is not None:
            adata.obsm[f"X_{key}{name}"] = spread(z.astype(np.float32, copy=False), kept, adata.n_obs)
    proba = spread(memberships.astype(np.float32, copy=False), kept, adata.n_obs)
    adata.obsm[f"{key}_proba"] = pd.DataFrame(proba, index=adata.obs_names, columns=categories)
    for name, table in tables.items():
        adata.obsm[f"{key}_{name}"] = table
    adata.uns[key] = copy.deepcopy(record)


def write_neighbors(
    adata: AnnData, n_neighbors: int, *, use_rep: str, random_state: int, key_added: str | None = None
) -> None:
    """Neighbours and connectivities as `scanpy.pp.neighbors` writes them, for its tools to read.

    They are scanpy's (tested), but seconds earlier: scanpy lets umap-learn compile itself first, in every new process. And
    scanpy's default search fails on some releases.

    Parameters
    ----------
    adata
        Where they are written.
    n_neighbors
        Neighbours of a cell, itself counted, as scanpy does.
    use_rep, random_state, key_added
        As in :func:`scanpy.pp.neighbors`.
    """
    from . import diffusion
    from .diffusion.graph import n_others

    x = adata.obsm[use_rep]
    k = n_others(n_neighbors, len(x)) + 1
    indices, distances = diffusion.neighbors(x, k - 1, random_state=random_state)
    indices = indices.astype(np.int32)  # as scanpy has them
    starts = np.arange(len(x) + 1) * (k - 1)
    near = sparse.csr_matrix((distances.ravel(), indices.ravel(), starts), shape=(len(x), len(x)), copy=True)
    near.sort_indices()
    prefix = "" if key_added is None else f"{key_added}_"
    adata.obsp[f"{prefix}distances"] = near
    adata.obsp[f"{prefix}connectivities"] = sparse.csr_matrix(diffusion.umap_weights(indices, distances))
    params = {"n_neighbors": k, "method": "umap", "random_state": random_state, "metric": "euclidean"}
    adata.uns[key_added or "neighbors"] = {
        "connectivities_key": f"{prefix}connectivities",
        "distances_key": f"{prefix}distances",
        "params": params | {"use_rep": use_rep},
    }


def forget(adata: AnnData, key: str, *, obs: Sequence[str] = (), obsm: Sequence[str] = ()) -> None:
    """Remove what an earlier run under the same key has left and this one does not write; what is not from one stays."""
    if key not in adata.uns:
        return
    for name in obs:
        if name in adata.obs:
            del adata.obs[name]
    for name in obsm:
        if name in adata.obsm:
            del adata.obsm[name]


def forget_clusters(adata: AnnData, key: str) -> None:
    """Remove all that stands beside other clusters of the same name: it would be taken for that of the new ones."""
    record = adata.uns.get(key)
    if isinstance(record, Mapping) and "n_clusters" in record:
        beside = [form.format(key) for form in FORMS]
        forget(adata, key, obs=beside, obsm=beside)
        adata.uns.pop(ENRICHMENT.format(key), None)


def partitions(adata: AnnData, key: str, argument: str = "key") -> dict[str, pd.Series]:
    """Clusters under `key`, by head where there are several: columns of `obsm[key + "_heads"]`, else `obs[key]`.

    Raises
    ------
    KeyError
        There are neither.
    """
    from .data.checks import need_key

    heads = adata.obsm.get(f"{key}_heads")
    if isinstance(heads, pd.DataFrame):
        return {str(name): heads[name] for name in heads}
    need_key(argument, key, adata.obs, "adata.obs")
    return {key: clusters(adata, key)}


def clusters(adata: AnnData, key: str) -> pd.Series:
    """The cluster of each cell, missing for cells that an algorithm left out as noise: these are no cluster."""
    labels, record = adata.obs[key], adata.uns.get(key)
    params = record.get("params") if isinstance(record, Mapping) else None
    if not isinstance(params, Mapping) or params.get("cluster") != "hdbscan" or labels.dtype != "category":
        return labels
    return labels.cat.remove_categories([name for name in labels.cat.categories if name == NOISE])


def sizes(adata: AnnData, key: str) -> dict[str, int]:
    """Cells of each category of `obs[key]`; nothing where that is no category."""
    if key not in adata.obs or adata.obs[key].dtype != "category":
        return {}
    return {str(name): int(n) for name, n in adata.obs[key].value_counts(sort=False).items()}


def check_partition(argument: str, name: str, column: pd.Series) -> None:
    """Refuse a column without labels, and one that puts no cells together, such as one of numbers."""
    known = column.dropna()
    if not len(known):
        msg = f"{argument}={name!r} has no label for any cell; name another."
        raise ValueError(msg)
    if known.nunique() > max(1, len(known) / 2):
        msg = (
            f"{argument}={name!r} holds {known.nunique()} different values for {len(known)} cells, which is no partition; name "
            "a column with clusters."
        )
        raise ValueError(msg)


def codes_of_partitions(adata: AnnData, keys: Sequence[str], argument: str) -> dict[str, np.ndarray]:
    """Partitions under each key of an argument as numbers of clusters, -1 for none; of several heads by key and head.

    Raises
    ------
    KeyError
        A key names none.
    ValueError
        One has no label at all.
    """
    found = {}
    for key in keys:
        for name, column in partitions(adata, key, argument).items():
            check_partition(argument, name, column)
            used = column.astype("category").cat.remove_unused_categories()
            found[name if name == key else f"{key} {name}"] = used.cat.codes.to_numpy(dtype=np.int64)
    return found


def embedding_key(adata: AnnData, key: str, given: str | None, argument: str, *, before: bool = False) -> str:
    """Key of the embedding to read: the one that is given, else that of these clusters, `before` their stage where there is one.

    Raises
    ------
    KeyError
        There is none.
    """
    from .data.checks import listing, need_key

    if given is not None:
        need_key(argument, given, adata.obsm, "adata.obsm")
        return given
    if before and f"X_{key}_before" in adata.obsm:
        return f"X_{key}_before"
    if f"X_{key}" not in adata.obsm:
        msg = f"There is no embedding of key={key!r} in adata.obsm; name one with {argument}= ({listing(adata.obsm, most=20)})."
        raise KeyError(msg)
    return f"X_{key}"


def write_layer(adata: AnnData, name: str, values: pd.DataFrame, kept: np.ndarray) -> None:
    """Write values of some of the genes of the kept cells as a dense layer; all others are NaN."""
    place = {gene: i for i, gene in enumerate(adata.var_names)}
    layer = np.full(adata.shape, np.nan, dtype=np.float32)
    layer[np.ix_(kept, [place[gene] for gene in values.columns])] = values
    adata.layers[name] = layer


def _of_all(table: np.ndarray | pd.DataFrame, kept: Sequence[int] | np.ndarray, adata: AnnData) -> Any:
    """A row for every cell, missing for those that were dropped."""
    if isinstance(table, pd.DataFrame):
        place = spread(np.arange(len(table)), kept, adata.n_obs, missing=-1)
        return table.set_axis(pd.RangeIndex(len(table))).reindex(place).set_axis(adata.obs_names)
    return spread(table.astype(np.float32, copy=False), kept, adata.n_obs)


def check_denoised_layer(name: str | None, model: Model, adata: AnnData) -> None:
    """Refuse, before any training, a layer of denoised expression that could not be written after it.

    Raises
    ------
    ValueError
        The name cannot be stored, genes share names, the method does not denoise, or it reads a representation.
    """
    if name is None:
        return
    check_key(name, argument="denoised_layer")
    if name == model.source["layer"]:
        msg = f"denoised_layer={name!r} would overwrite the layer that is read; give another name."
        raise ValueError(msg)
    model.check_denoises()
    if not adata.var_names.is_unique:
        msg = "denoised_layer needs genes with names of their own; call adata.var_names_make_unique() first."
        raise ValueError(msg)


def write_trained(adata: AnnData, key: str, model: Model, *, denoised_layer: str | None = None) -> None:
    """Write what a trained model says of its training cells, and their denoised expression where that is wanted."""
    denoised = None if denoised_layer is None else model.denoise()
    write(adata, key, **of(model))
    if denoised is not None:
        write_layer(adata, denoised_layer, denoised, model.kept)
    if not model.covariate_categories:
        suggest_batches(adata, key)


def suggest_batches(adata: AnnData, key: str) -> None:
    """Say so where clusters follow a column of batches that nobody has named."""
    found = separating_batches(adata.obs, clusters(adata, key))
    if found:
        name, apart, share, one = found
        logger.warning(
            "Clusters %s (%.0f %% of the cells) are each of %s %s only (adata.obs[%r]). If these differ for technical reasons, "
            "give batch_key=%r; if they are other tissues or treatments, clusters ought to differ.",
            *(", ".join(apart), 100 * share, "one" if one else "some categories of", name, name, name),
        )


def of(model: Model, adata: AnnData | None = None) -> dict[str, Any]:
    """What :func:`write` needs of a trained model: for its training cells, or for new ones.

    Parameters
    ----------
    model
        A trained model.
    adata
        New cells; None stands for the training cells.
    """
    embedding = model.get_latent_representation(adata)
    memberships = model.memberships(embedding)
    labels, categories = memberships.argmax(1), model.categories
    params = {"method": model.method.name(), **model.method.params, **model.source, **model.selection}
    record = {
        "params": {**params, "random_state": model.seed, "batch_size": model.batch_size, "device": str(model.device)},
        "n_clusters": {**model.choice, "n_clusters": model.n_clusters},
        "sizes": dict(zip(categories, np.bincount(labels, minlength=len(categories)).tolist(), strict=True)),
        "history": model.history,
        "preservation": model.preservation,
        "seconds": model.seconds,
        "input": {
            "kind": model.inputs.kind,
            "n_vars": len(model.var_names),
            "n_features": model.inputs.n_features,
            **({} if model.inputs.batch_share is None else {"batch_share": model.inputs.batch_share}),
        },
        "versions": model.versions,
        **model.report,
    }
    before = model.latent_before if adata is None else None
    kept = model.kept if adata is None else np.arange(len(labels))
    return {
        "labels": labels,
        "memberships": memberships,
        "embedding": embedding,
        "before": before,
        "tables": model.tables if adata is None else {},
        "categories": categories,
        "record": record,
        "kept": kept,
    }
