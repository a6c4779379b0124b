"""A trained model as a folder of JSON and safetensors: loading it executes nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from . import methods
from .data import Inputs
from .seeding import forked

if TYPE_CHECKING:
    import os

    from .model import Model

FORMAT = 7
SETTINGS, WEIGHTS, HISTORY = "model.json", "weights.safetensors", "history.json"
TABLE = "table"  # the only key of what stands for a table in a record


def save(model: Model, folder: str | os.PathLike, *, overwrite: bool) -> None:
    """Write the folder; it appears whole or not at all."""
    from safetensors.torch import save_file

    folder = Path(folder)
    if folder.exists() and not overwrite:
        msg = f"{str(folder)!r} exists; give overwrite=True, or another folder."
        raise FileExistsError(msg)
    if folder.exists() and not _replaceable(folder):
        msg = f"{str(folder)!r} is not a saved model, so it is not overwritten; give another folder."
        raise FileExistsError(msg)
    if not folder.parent.is_dir():
        msg = f"The folder {str(folder.parent)!r} does not exist; create it first."
        raise FileNotFoundError(msg)
    settings = {
        "format": FORMAT,
        "method": model.method.name(),
        "params": model.method.params,
        "inputs": model.inputs.config,
        "batch_share": model.inputs.batch_share,
        "source": model.source,
        "var_names": model.var_names,
        "columns": model._columns,
        "covariate_categories": model.covariate_categories,
        "seed": model.seed,
        "seconds": model.seconds,
        "batch_size": model.batch_size,
        "selection": model.selection,
        "versions": model.versions,
        "preservation": model.preservation,
        "report": _as_json(model.report),
        "choice": _as_json(model.choice),
    }
    weights = {f"net.{k}": v for k, v in model.net.state_dict().items()}
    weights |= {f"inputs.{k}": v for k, v in model.inputs.state_dict().items()}
    weights["order"] = model.order
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as part:
        new = Path(part) / "model"
        new.mkdir()
        (new / SETTINGS).write_text(json.dumps(settings, indent=1))
        model.history.to_json(new / HISTORY, orient="split", double_precision=15)
        save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, new / WEIGHTS)
        if folder.exists():
            shutil.rmtree(folder)
        new.replace(folder)


def _replaceable(folder: Path) -> bool:
    """Whether nothing is lost but a model."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {SETTINGS, WEIGHTS, HISTORY}


def load(cls: type[Model], folder: str | os.PathLike, device: torch.device) -> Any:
    """Make a trained model of what :func:`save` wrote."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if not folder.is_dir():
        msg = f"There is no folder {str(folder)!r} with a saved model."
        raise FileNotFoundError(msg)
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        if settings["format"] != FORMAT:
            msg = f"format {settings['format']}, not {FORMAT}"
            raise ValueError(msg)
        weights = load_file(folder / WEIGHTS)
        return _restore(cls, settings, weights, _history(folder / HISTORY), device)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        msg = f"{str(folder)!r} is not a model saved by this version of scdeepclust, or is damaged ({error})."
        raise ValueError(msg) from error


def _history(path: Path) -> pd.DataFrame:
    found = json.loads(path.read_text())
    return pd.DataFrame(found["data"], columns=found["columns"])


def _as_json(record: dict[str, Any]) -> dict[str, Any]:
    """A record, its tables as what JSON can hold."""
    return {
        name: {TABLE: value.to_dict(orient="list"), "dtypes": value.dtypes.astype(str).to_dict()}
        if isinstance(value, pd.DataFrame)
        else value
        for name, value in record.items()
    }


def _with_tables(record: dict[str, Any]) -> dict[str, Any]:
    """The reverse."""
    return {
        name: pd.DataFrame(value[TABLE]).astype(value["dtypes"])
        if isinstance(value, dict) and set(value) == {TABLE, "dtypes"}
        else value
        for name, value in record.items()
    }


def _restore(cls: type[Model], settings: dict, weights: dict, history: pd.DataFrame, device: torch.device) -> Any:
    model = cls.__new__(cls)
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["params"].items()}
    model.method = methods.get(settings["method"], **params)
    model.seed, model.device, model.source = settings["seed"], device, settings["source"]
    model.var_names, model.covariate_categories = settings["var_names"], settings["covariate_categories"]
    model.batch_size, model._columns = settings["batch_size"], settings["columns"]
    model.seconds, model.history, model.order = settings["seconds"], history, weights["order"]
    model.inputs = Inputs(**settings["inputs"])
    model.inputs.load_state_dict(_part(weights, "inputs."))
    model.inputs.batch_share = settings["batch_share"]
    model.inputs.to(device)
    model.kept, model.cell_names, model._raw, model._initial = None, None, None, {}
    model._latent, model.latent_before = None, None
    model.selection, model.versions = settings["selection"], settings["versions"]
    model.choice, model.report = _with_tables(settings["choice"]), _with_tables(settings["report"])
    model.preservation, model.tables = settings["preservation"], {}
    n_genes, n_categories = len(model.var_names), sum(map(len, model.covariate_categories))
    with forked(torch.device("cpu")):
        model.net = model.method.network(model.inputs, n_genes=n_genes, n_categories=n_categories).to(device)
    model.net.load_state_dict(_part(weights, "net."))
    model.net.requires_grad_(requires_grad=False).eval()
    return model


def _part(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
