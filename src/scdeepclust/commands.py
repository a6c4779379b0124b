"""What the commands do: cells in, cells or a figure out. Heavy imports wait until one runs."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Mapping
from dataclasses import fields
from json import dumps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files, methods
from .described import front
from .options import about, readable, typed
from .session import Output, UsageError, logger, meant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from .model import Model

FIGURES = (".png", ".pdf", ".svg")
INPUTS = ("model", "input")
# Where results are stored that go by another name than the clusters which they are about.
KEYS = {"enrichment": "{}_enrichment"}


def writes_cells(command: Sequence[str], job: Callable[..., AnnData], tokens: Sequence[str]) -> Callable[..., None]:
    """A command that reads cells, lets `job` add to them, and writes them."""

    def run(**options: Any) -> None:
        to = Output.taken(options)
        key = options.get("key_added")
        key = KEYS.get(command[-1], "{}").format(options["key"]) if key is None else key
        path = _checked(to, key, options)
        start = time.perf_counter()
        adata = job(**options)
        files.write(adata, path)
        logger.info("added %r to %s", key, path)
        seconds = time.perf_counter() - start
        if to.report is not None:
            from . import report

            try:
                report.write(
                    adata, to.report, command=["scdeepclust", *tokens], cells=options["input"], seconds=seconds
                )
            except KeyboardInterrupt:
                msg = f"{path} is written, the report is not"
                raise KeyboardInterrupt(msg) from None
            logger.info("wrote the report %s", to.report)
        if to.json:
            found = {"output": path, "command": " ".join(command), "key_added": key}
            print(dumps(found | _found(adata, key) | {"seconds": round(seconds, 3)}))

    return run


def _checked(to: Output, key: str, options: Mapping[str, Any]) -> str:
    """Where cells go. What would fail after the work, or harm another file, is refused before it."""
    if to.in_place == (to.output is not None):
        what = "OUTPUT requires an argument" if to.output is None else f"OUTPUT is {to.output!r}"
        msg = f"{what}; give either a path or {typed('in_place')}."
        raise UsageError(msg)
    from .results import check_key

    meant(check_key, key)
    inputs = [options[name] for name in INPUTS if name in options]
    for name in inputs:
        files.check_there(name)
    path = options["input"] if to.in_place else to.output
    others = [options[name] for name in ("checkpoint", "save_model") if options.get(name) is not None]
    if to.in_place and Path(path).suffix.lower() != ".h5ad":
        msg = f"{typed('in_place')} is for .h5ad files, and {path!r} is none; give an OUTPUT."
        raise UsageError(msg)
    kept = [name for name in inputs if not (to.in_place and name == path)]
    meant(files.check_output, path, [*kept, *others])
    if to.report is not None:
        meant(files.check_output, to.report, [*inputs, path, *others], [".html"])
    return str(path)


def _found(adata: AnnData, key: str) -> dict[str, Any]:
    """What can be said of a result in a line."""
    from .results import clusters, sizes

    found: dict[str, Any] = {}
    if cells := sizes(adata, key):
        found |= {"n_clusters": len(clusters(adata, key).cat.categories), "sizes": cells}
    record = adata.uns.get(key, {})
    return found | {"record": _plain(record) if isinstance(record, Mapping) else {}}


def _plain(value: Any) -> Any:
    """A record without its tables, as JSON holds it: numbers that are not finite are null there."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if not _is_table(each)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    value = value.item() if hasattr(value, "item") else value  # numpy's
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _is_table(value: Any) -> bool:
    return hasattr(value, "shape") and len(value.shape) > 0


def cluster(
    input: str,
    *,
    kind: type[methods.Method],
    key_added: str,
    save_model: str | None = None,
    **options: Any,
) -> AnnData:
    """Train a method on a file of cells, as :func:`scdeepclust.tl.deepclust` does.

    Parameters
    ----------
    input
        Cells x genes: an .h5ad file, a zarr store, or 10x's .h5 file or matrix folder. It is not changed unless
        `in_place` is given.
    save_model
        New folder for the trained model, with which `scdeepclust assign` labels more cells.
    """
    params = {f.name: options.pop(f.name) for f in fields(kind)}
    method = meant(methods.get, kind.name(), **params)
    if save_model is not None:
        files.check_new(save_model)
    adata = files.read(input)
    model = trained(adata, method, options)
    if save_model is not None:
        model.save(save_model)
        logger.info("saved the model to %s", save_model)
    from . import results

    results.write_trained(adata, key_added, model, denoised_layer=options["denoised_layer"])
    return adata


def trained(adata: AnnData, method: methods.Method, options: dict[str, Any]) -> Model:
    """A model trained with these options of a run."""
    from . import results
    from .model import Model
    from .train import Interrupted

    known = inspect.signature(Model).parameters
    model = Model(adata, method, **{name: value for name, value in options.items() if name in known})
    results.check_denoised_layer(options["denoised_layer"], model, adata)
    with warnings.catch_warnings():
        # In a shell, Ctrl-C asks to stop, not to write down what there is.
        warnings.simplefilter("error", Interrupted)
        try:
            of_training = inspect.signature(Model.train).parameters
            model.train(**{name: value for name, value in options.items() if name in of_training})
        except Interrupted as error:
            raise KeyboardInterrupt from error
    return model


def assign(model: str, input: str, *, key_added: str, device: str) -> AnnData:
    """Label new cells with a saved model. Nothing is trained.

    Parameters
    ----------
    model
        Folder that --save-model wrote.
    input
        New cells, with the same kind of values in the same place as in training.
    """
    from .model import Model

    trained = Model.load(model, device=device)  # before the cells are read, which may take long
    adata = files.read(input)
    front("tl", "assign")(adata, trained, key_added=key_added)
    return adata


def add(input: str, *, function: Callable[..., None], **options: Any) -> AnnData:
    """Let a public function add its results to a file of cells.

    Parameters
    ----------
    input
        Cells: an .h5ad file, a zarr store, or 10x's .h5 file or matrix folder. It is not changed unless `in_place` is
        given.
    """
    adata = files.read(input)
    function(adata, **options)
    return adata


def plot(input: str, figure: str, *, function: Callable[..., Any], **options: Any) -> None:
    """Draw what a file of cells holds.

    Parameters
    ----------
    input
        Cells with results: an .h5ad file or a zarr store.
    figure
        Where the figure goes: .png, .pdf or .svg. Written whole or not at all.
    """
    files.check_there(input)
    meant(files.check_output, figure, [input], FIGURES)
    adata = files.read(input)
    import matplotlib as mpl

    mpl.use("Agg")
    with files.whole(figure) as new:
        function(adata, **options, show=False, save=new)
    logger.info("wrote the figure %s", figure)


def list_methods() -> None:
    """List the methods: what each of them is, and when to use it."""
    for name, kind in methods.registry().items():
        what, when, *_ = [*readable(about(kind)).split("\n\n"), ""]
        print(f"{name}\n    {what}\n    {when}")


def demo(
    *, folder: str = "demo", data: str | None = None, labels: str | None = None, n_clusters: int | None = None
) -> None:
    """Cluster real cells that need no download, 700 blood cells, and leave results, pictures and a report in a folder.

    Parameters
    ----------
    folder
        Where results go; made if it is not there.
    data
        Cells of your own instead.
    labels
        Column of `obs` to compare with, after clusters have been found without it.
    n_clusters
        Number of clusters; chosen by the data if not given.
    """
    from .demo import run

    run(folder, data=data, labels=labels, n_clusters=n_clusters)
