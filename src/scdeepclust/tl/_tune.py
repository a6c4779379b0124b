from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import torch
    from anndata import AnnData

    from ..methods import Method


def tune(
    adata: AnnData,
    method: str | Method,
    grid: Mapping[str, Sequence[Any]],
    *,
    tolerance: float = 0.02,
    layer: str | None = None,
    use_rep: str | None = None,
    batch_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    mask_var: str | Sequence[bool] | np.ndarray | None = "auto",
    drop_empty: bool = False,
    random_state: int | np.random.Generator | None = 0,
    device: str | torch.device = "auto",
    batch_size: int | None = None,
    progress: bool = True,
    **params: Any,
) -> pd.DataFrame:
    """Compare settings of a method by how well they predict what they have not seen of cells held out.

    For methods whose loss is honest: `"deepwak"`, which predicts the other half of a cell's molecules, and `"mae"`, which
    predicts hidden genes. The method is trained once with every combination; no label is read. Use it to choose the number
    of clusters, of heads, or of dimensions.

    The loss asks what predicts best, not how many types there are: it falls a little with every cluster that cuts a
    continuum finer. So of settings that predict nearly as well as the best, the simplest is chosen.
    :func:`scdeepclust.tl.n_clusters` judges the partitions themselves (`partitions`), those of several heads too.

    Parameters
    ----------
    adata
        Cells x genes, as in :func:`scdeepclust.tl.deepclust`.
    method
        Name of a method, or a method object.
    grid
        Values to try, by the name of a parameter, the simplest first: `{"n_heads": [1, 2], "n_clusters": [4, 8, 16]}`.
        Every combination is trained. Parameters that decide what is predicted, such as `transform`, cannot be
        compared by the loss.
    tolerance
        Share of what the best setting explains that a simpler one may leave unexplained. One whose loss is within a
        standard error (over cells) of the smallest is as good in any case.
    layer, use_rep, batch_key, categorical_covariate_keys, mask_var, drop_empty
        What is read, as in :func:`scdeepclust.tl.deepclust`.
    random_state
        Seed of every run: the same cells are held out, and the same molecules or genes hidden.
    device, batch_size
        As in :func:`scdeepclust.tl.deepclust`.
    progress
        Whether to show a progress bar on standard error.
    **params
        Other parameters of the method, the same in every run.

    Returns
    -------
    A row for each setting, in the order tried (the last parameter of `grid` varies fastest): its values, `loss` on cells
    held out, its standard error `loss_se`, the share `explained` of the loss of predicting the mean, `seconds`, and
    whether it is `chosen`. `adata` is not changed.

    Raises
    ------
    ValueError
        The method has no loss of what it has not seen, `grid` is empty, or a parameter decides what is predicted.
    TypeError
        The method has no such parameter, or its values are no list.

    References
    ----------
    Batson and Royer, ICML 2019, arXiv 1901.11365.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> adata = sdc.datasets.simulate_types(n_obs=300, n_vars=100, n_types=3, separation=2.0)
    >>> steps = {"pretrain_steps": 20, "cluster_steps": 40}
    >>> table = sdc.tl.tune(adata, "deepwak", {"n_clusters": [2, 3]}, progress=False, **steps)
    >>> table.loc[table["chosen"], "n_clusters"].tolist()
    [3]
    """
    from functools import partial
    from itertools import product

    import pandas as pd

    from .. import methods
    from ..arguments import check_enough_cells, resolve_seed
    from ..data.checks import check_anndata
    from ..model import Model
    from ..progress import bar

    check_anndata(adata)
    if not isinstance(tolerance, Real) or not 0 <= tolerance < 1:
        msg = f"tolerance={tolerance!r} must be a number of at least 0 and below 1."
        raise ValueError(msg)
    grid = _checked(grid, params)
    settings = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    tried = [methods.get(method, **params, **setting) for setting in settings]
    for each in tried:
        if not each.scores_unseen:
            can = [repr(name) for name, kind in methods.registry().items() if kind.predicts_by]
            msg = (
                f"Method {each.name()!r}, as set, has no loss of what it has not seen, by which settings could be compared; "
                f"{', '.join(can)} have one in their usual form."
            )
            raise ValueError(msg)
    fixed = [name for name in grid if name in tried[0].predicts_by and len(grid[name]) > 1]
    if fixed:
        msg = f"grid has {fixed[0]!r}, which decides what is predicted: losses of its values are of different things."
        raise ValueError(msg)
    made = partial(
        Model,
        adata,
        layer=layer,
        use_rep=use_rep,
        batch_key=batch_key,
        categorical_covariate_keys=categorical_covariate_keys,
        mask_var=mask_var,
        drop_empty=drop_empty,
        random_state=resolve_seed(random_state),
        device=device,
    )
    n_cells = len(made(tried[0]).kept)
    for each in tried:  # before the first has trained for hours
        check_enough_cells(n_cells, each)
    rows, losses_of_mean = [], []
    shown = bar(settings, desc="settings", disable=not progress, leave=False)
    for each, setting in zip(tried, shown, strict=True):
        model = made(each)
        model.train(batch_size=batch_size, progress=False)
        held_out = model.report["held_out"]
        losses_of_mean.append(held_out["loss_of_mean"])
        explained = 1 - held_out["loss"] / held_out["loss_of_mean"]
        rows.append(
            setting
            | {"loss": held_out["loss"], "loss_se": held_out["loss_se"], "explained": explained}
            | {"seconds": model.seconds}
        )
    table = pd.DataFrame(rows)
    best = table.loc[table["loss"].idxmin()]
    left = tolerance * max(best["explained"], 0) * losses_of_mean[best.name]
    most = best["loss"] + max(best["loss_se"], left)
    return table.assign(chosen=table.index == (table["loss"] <= most).idxmax())


def _checked(grid: Mapping[str, Sequence[Any]], params: Mapping[str, Any]) -> dict[str, list]:
    """Lists of values to try, by parameter."""
    import numpy as np

    if not isinstance(grid, Mapping):
        msg = f"grid={grid!r} must be a dictionary of values to try, as {{'n_latent': [10, 20]}}."
        raise TypeError(msg)
    for name, values in grid.items():
        if isinstance(values, str) or not np.iterable(values):
            msg = f"grid[{name!r}]={values!r} must be a list of values to try."
            raise TypeError(msg)
    grid = {name: list(values) for name, values in grid.items()}
    if not grid or not all(grid.values()):
        msg = f"grid={grid!r} has nothing to compare; give values to try by the name of a parameter, as {{'n_latent': [10, 20]}}."
        raise ValueError(msg)
    twice = sorted(set(grid) & set(params))
    if twice:
        msg = f"{twice[0]!r} is given both in grid and by itself; give it once."
        raise ValueError(msg)
    return grid
