"""What `scdeepclust demo` and `make demo` do: cluster real cells, look at them, and say what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import files, report
from .described import front
from .options import typed
from .session import logger, meant

if TYPE_CHECKING:
    from anndata import AnnData

SURE = "deepclust_confidence"  # as tl.assign calls it


def run(folder: str, *, data: str | None, labels: str | None, n_clusters: int | None) -> None:
    """Leave cells with clusters, a UMAP, the history of the training and a report in `folder`."""
    where = Path(folder)
    _check(where)
    given = {"data": data, "labels": labels, "n_clusters": n_clusters}
    options = [word for name, value in given.items() if value is not None for word in (typed(name), str(value))]
    command = ["scdeepclust", "demo", folder, *options]
    if data is None:
        from . import datasets

        adata, name, labels = datasets.pbmc68k(), "pbmc68k", labels or "cell_type"
        logger.info("700 blood cells from scanpy's wheel; X is their log-normalised `raw`.")
    else:
        adata, name = files.read(data), Path(data).stem
    if labels is not None:
        from .data.checks import need_key

        need_key("labels", labels, adata.obs, "adata.obs")
    where.mkdir(exist_ok=True)
    path = where / f"{name}.h5ad"
    meant(files.check_output, path, [] if data is None else [data])
    front("tl", "deepclust")(adata, n_clusters=n_clusters)
    adata.obs[SURE] = adata.obsm["deepclust_proba"].max(axis=1).to_numpy()
    files.write(adata, path)  # first, so that nothing is lost if the rest fails
    color = ["deepclust", *([labels] if labels else []), SURE]
    figures = {"umap": {"color": color}, "history": {}}
    for figure, options in figures.items():
        with files.whole(where / f"{name}_{figure}.png") as new:
            front("pl", figure)(adata, **options, show=False, save=new)
    for line in _table(adata, labels):
        logger.info("%s", line)
    page = where / f"{name}.html"
    report.write(adata, page, command=command, cells=data or name)
    written = [path, page, *(where / f"{name}_{figure}.png" for figure in figures)]
    logger.info("written: %s", ", ".join(map(str, written)))


def _check(folder: Path) -> None:
    """Refuse, before any work, a folder that is a file, or cannot be made."""
    if folder.is_dir():
        return
    if folder.exists():
        msg = f"{str(folder)!r} exists and is not a folder; remove it, or give another folder."
        raise NotADirectoryError(msg)
    files.check_folder(folder.resolve())


def _table(adata: AnnData, labels: str | None) -> list[str]:
    """Size, mean membership and, with labels, the commonest label of each cluster, and the agreement."""
    lines = [f"{'cluster':>8}{'cells':>8}{'membership':>12}" + (f"  commonest {labels}" if labels else "")]
    for cluster in adata.obs["deepclust"].cat.categories:
        rows = (adata.obs["deepclust"] == cluster).to_numpy()
        line = f"{cluster:>8}{rows.sum():>8}{adata.obs.loc[rows, SURE].mean():>12.2f}"
        if labels and rows.any():
            share = adata.obs.loc[rows, labels].value_counts(normalize=True)
            line += f"  {share.index[0]} ({share.iloc[0]:.0%})" if len(share) else ""
        lines.append(line)
    if labels:
        from . import metrics

        known = adata.obs[labels].notna()
        scores = metrics.scores(adata.obs.loc[known, labels], adata.obs.loc[known, "deepclust"])
        lines.append(f"agreement with obs[{labels!r}]: " + ", ".join(f"{k} {v:.2f}" for k, v in scores.items()))
    return lines
