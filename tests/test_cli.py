"""The command line: every method's options and labels are the package's own, and files are safe."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import get_args

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import io, sparse

import scdeepclust as sdc
from scdeepclust import cli, commands, files, options, session
from scdeepclust.methods.parameters import checked, hints

NAMES = list(sdc.methods.registry())
FEW = {"n_clusters": 3, "pretrain_steps": 30, "cluster_steps": 20, "n_init": 3, "max_epochs": 5}
QUOTE = chr(34)  # put by some versions of cyclopts only
START = ["in.h5ad", "out.h5ad"]
each = pytest.mark.parametrize("name", NAMES)


def few(name: str) -> dict[str, int]:
    return {f.name: FEW[f.name] for f in fields(sdc.methods.registry()[name]) if f.name in FEW}


def as_options(params: dict[str, object]) -> list[str]:
    return [word for name, value in params.items() for word in (options.typed(name), str(value))]


def line(err: str) -> str:
    """The only line of an error."""
    assert err.startswith("scdeepclust: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def present() -> list[str]:
    """Names of all files here, hidden ones too."""
    return sorted(path.name for path in Path().iterdir())


@pytest.fixture(scope="session")
def cells() -> ad.AnnData:
    """Small counts; not to be changed."""
    return sdc.datasets.simulate_types(n_obs=200, n_vars=60, n_types=3)


@pytest.fixture
def folder(tmp_path, monkeypatch, cells) -> Path:
    """An empty folder with in.h5ad in it, to work in."""
    cells.write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fast(monkeypatch):
    """Training does nothing but note how it was called."""
    calls = []

    def trained(adata, method, options):
        calls.append((method, options))
        message = "stopped before training"
        raise ValueError(message)

    monkeypatch.setattr(commands, "trained", trained)
    return calls


@each
def test_a_command_gives_the_labels_of_the_api(folder, cells, name, capfd, same):
    before = Path("in.h5ad").read_bytes()
    assert cli.main([name, *START, *as_options(few(name))]) == 0
    found, expected = ad.read_h5ad("out.h5ad"), cells.copy()
    sdc.tl.deepclust(expected, name, progress=False, **few(name))
    pd.testing.assert_series_equal(found.obs["deepclust"], expected.obs["deepclust"])
    np.testing.assert_array_equal(found.obsm["X_deepclust"], expected.obsm["X_deepclust"])
    assert found.uns["deepclust"]["params"].keys() == expected.uns["deepclust"]["params"].keys()
    same(found.X, cells.X)
    assert Path("in.h5ad").read_bytes() == before
    assert present() == ["in.h5ad", "out.h5ad"]
    out, err = capfd.readouterr()
    assert out == ""
    assert f"running {name} on 200 cells" in err
    assert "added 'deepclust' to out.h5ad" in err
    assert ("epoch" in err.lower()) == bool({"pretrain_steps", "max_epochs"} & set(few(name)))  # of the progress bar


def test_a_process_of_its_own(folder, cells):
    command = [
        sys.executable,
        "-m",
        "scdeepclust",
        "idec",
        *START,
        *as_options(few("idec")),
        "--json",
        "--threads",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sizes = ad.read_h5ad("out.h5ad").obs["deepclust"].value_counts()
    assert found.pop("seconds") > 0
    assert found.pop("record")["params"]["method"] == "idec"
    expected = {"output": "out.h5ad", "command": "idec", "key_added": "deepclust", "n_clusters": 3}
    assert found == expected | {"sizes": sizes.to_dict()}


def test_a_process_that_fails(folder):
    command = [sys.executable, "-m", "scdeepclust", "idec", "none.h5ad", "out.h5ad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert line(done.stderr) == "scdeepclust: error: There is no file or folder 'none.h5ad'.\n"


def test_entry_points():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for name in ("scdeepclust", "scanpy-deepclust"):
        assert EntryPoint(name, project["scripts"][name], "console_scripts").load() is cli.main


# Options


@each
def test_help_has_a_line_for_every_field(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for field in fields(sdc.methods.registry()[name]):
        assert re.search(rf"{options.typed(field.name)}\b[^│]*? {{2,}}[\w\"]", text), field.name
    for option in (
        "layer",
        "use_rep",
        "batch_key",
        "mask_var",
        "drop_empty",
        "key_added",
        "random_state",
        "save_model",
    ):
        assert options.typed(option) in text
    for group in ("Input", "Method", "Run", "Output"):
        assert f"─ {group} ─" in text
    assert "--no-progress" in text
    assert "--copy" not in text
    assert "--init " not in text
    assert "`" not in text
    assert ":class:" not in text


@pytest.mark.parametrize(
    "source", [*sdc.methods.registry().values(), session.Session, session.Output], ids=lambda kind: kind.__name__
)
def test_every_field_is_documented(source):
    documented = options.documented(source)
    assert {f.name for f in fields(source)} <= {name for name, text in documented.items() if text}


@each
def test_every_default_and_choice_can_be_typed(folder, fast, name):
    """A field's default, typed out, gives the method that the default gives."""
    kind = sdc.methods.registry()[name]
    words = []
    for field in fields(kind):
        value = field.default
        if value is None and str in get_args(hints(kind)[field.name]):
            continue  # a column may be called "none"
        if isinstance(value, bool):
            words += [f"{options.typed(field.name)}={value}"]
        else:
            words += [options.typed(field.name), *map(str, value if isinstance(value, tuple) else (value,))]
    assert cli.main([name, *START, *words]) == 1
    assert fast[0][0] == kind()


@each
def test_every_field_that_may_be_none_takes_none(folder, fast, name):
    kind = sdc.methods.registry()[name]
    nullable = []
    for field, hint in hints(kind).items():
        try:
            checked(field, None, hint)
        except ValueError:
            continue
        if str not in get_args(hint):  # a column may be called "none"
            nullable.append(field)
    assert nullable
    assert cli.main([name, *START, *as_options(dict.fromkeys(nullable, "none"))]) == 1
    assert fast[0][0] == kind(**dict.fromkeys(nullable))


@pytest.mark.parametrize("words", [["--hidden", "32", "16"], ["--hidden", "32", "--hidden", "16"]], ids=" ".join)
def test_sequences(folder, fast, words):
    assert cli.main(["idec", *START, *words]) == 1
    assert fast[0][0].hidden == (32, 16)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"mask_var": "auto", "layer": None, "drop_empty": False, "progress": True, "random_state": 0}),
        (["--mask-var", "none", "--layer", "none"], {"mask_var": None, "layer": "none"}),
        (["--drop-empty", "--no-progress"], {"drop_empty": True, "progress": False}),
        (["--drop-empty=True", "--quiet"], {"drop_empty": True, "progress": False}),
        (["--random-state", "7", "--batch-size", "64"], {"random_state": 7, "batch_size": 64}),
        (["--use-rep", "X_pca", "--batch-key", "b", "--device", "cpu"], {"use_rep": "X_pca", "batch_key": "b", "device": "cpu"}),
        (["--categorical-covariate-keys", "donor", "none"], {"categorical_covariate_keys": ("donor", "none")}),
        (["--categorical-covariate-keys", "donor"], {"categorical_covariate_keys": ("donor",)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_options_of_the_run(folder, fast, words, expected):
    assert cli.main(["idec", *START, *words]) == 1
    options = fast[0][1]
    assert {name: options[name] for name in expected} == expected


def test_names_of_methods_in_any_case(folder, fast):
    assert cli.main([NAMES[0].upper(), *START]) == 1
    assert fast[0][0].name() == NAMES[0]


def test_list_of_methods(capsys):
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::3] == NAMES
    assert all(len(what.split()) > 3 for what in lines[1::3])
    assert all(len(when.split()) > 3 for when in lines[2::3])
    assert not any(re.search(r"doi|arXiv|\b(19|20)\d\d\b", when) for when in lines[2::3])


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"scdeepclust {sdc.__version__}\n"
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*NAMES, "assign", "methods"])
    assert cli.main([]) == 2
    assert capsys.readouterr().out == text


# Mistakes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["idek", *START], 2, 'Did you mean "idec"?'),
        (["idec", "in.h5ad"], 2, "OUTPUT requires an argument"),
        (["idec", *START, "more"], 2, "more"),
        (["idec", *START, "--n-cluster", "3"], 2, "Did you mean --n-clusters?"),
        (["idec", *START, "--seed", "1"], 2, "Unknown option: --seed. Here it is --random-state."),
        (["idec", *START, "--resolution=1"], 2, "Here it is --min-signal or --n-clusters."),
        (["idec", *START, "--n-clusters", "3", "--no-join-shifted"], 1, "--no-join-shifted decides nothing"),
        (["idec", *START, "--n-clusters", "1"], 2, "--n-clusters=1 must be an integer at least 2 or None."),
        (["idec", *START, "--n-clusters", "2.5"], 2, "Invalid value for --n-clusters: '2.5' is not an integer."),
        (["idec", *START, "--n-clusters", "two"], 2, 'Invalid value for --n-clusters: unable to convert "two"'),
        (["idec", *START, "--hidden", "32", "0"], 2, "--hidden=(32, 0) must be a sequence"),
        (["idec", *START, "--likelihood", "zimb"], 2, "--likelihood"),
        (["idec", *START, "--lr", "nan"], 2, "--lr=nan must be a number above 0"),
        (["idec", *START, "--threads", "0"], 2, "--threads=0 must be an integer at least 1"),
        (["idec", *START, "--key-added", "a/b"], 2, "--key-added='a/b' must be"),
        (["idec", "in.h5ad", "in.h5ad"], 2, "same as 'in.h5ad'"),
        (["idec", "in.h5ad", "./link.h5ad"], 2, "same as 'in.h5ad'"),
        (["idec", "in.h5ad", "hard.h5ad"], 2, "same as 'in.h5ad'"),
        (["idec", "in.zarr", "in.zarr/out.h5ad"], 2, "same as 'in.zarr', or lies in it"),
        (["idec", *START, "--save-model", "out.h5ad"], 2, "same as 'out.h5ad'"),
        (["idec", *START, "--checkpoint", "out.h5ad"], 2, "same as 'out.h5ad'"),
        (["idec", "in.h5ad", "out.csv"], 2, "must end in .h5ad"),
        (["idec", "none.h5ad", "out.h5ad"], 1, "There is no file or folder 'none.h5ad'."),
        (["idec", "text.h5ad", "out.h5ad"], 1, "'text.h5ad' cannot be read as an h5ad file"),
        (["idec", "empty.h5ad", "out.h5ad"], 1, "'empty.h5ad' cannot be read as an h5ad file"),
        (["idec", "half.h5ad", "out.h5ad"], 1, "'half.h5ad' cannot be read as an h5ad file"),
        (["idec", "in.h5", "out.h5ad"], 1, "'in.h5' cannot be read as a 10x .h5 file (is it an .h5ad?)"),
        (["idec", "folder.h5ad", "out.h5ad"], 1, "neither a zarr store nor a matrix folder"),
        (["idec", "in.h5ad", "missing/out.h5ad"], 1, "create it first"),
        (["idec", "in.h5ad", "text.h5ad/out.h5ad"], 1, "create it first"),
        (["idec", "in.h5ad", "folder.h5ad"], 1, "is not a file"),
        (["idec", *START, "--save-model", "folder.h5ad"], 1, "'folder.h5ad' exists"),
        (["idec", *START, "--save-model", "missing/model"], 1, "create it first"),
        (["idec", *START, "--layer", "cnts"], 1, "--layer='cnts' is not in adata.layers"),
        (["idec", *START, "--batch-key", "sample"], 1, "--batch-key='sample' is not in adata.obs"),
        (["idec", *START, "--device", "abacus"], 1, "--device='abacus' cannot be used here"),
        (["idec", *START, "--random-state", "-1"], 1, "--random-state=-1 must be"),
        (["assign", "missing", "in.h5ad", "out.h5ad"], 1, "There is no file or folder 'missing'."),
        (["assign", "folder.h5ad", "in.h5ad", "out.h5ad"], 1, "is not a model saved by"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_take_one_line(folder, words, code, message, capsys):
    content = Path("in.h5ad").read_bytes()
    Path("text.h5ad").write_text("no cells here")
    Path("empty.h5ad").touch()
    Path("half.h5ad").write_bytes(content[: len(content) // 2])
    Path("folder.h5ad").mkdir()
    Path("in.zarr").mkdir()
    Path("link.h5ad").symlink_to("in.h5ad")
    os.link("in.h5ad", "hard.h5ad")
    shutil.copy("in.h5ad", "in.h5")
    before = present()
    assert cli.main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message.replace(QUOTE, "") in line(err).replace(QUOTE, "")
    assert present() == before
    assert Path("in.h5ad").read_bytes() == content


def test_debug_shows_the_traceback(folder, capsys):
    assert cli.main(["idec", *START, "--layer", "cnts", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("scdeepclust: error: --layer='cnts'")


def test_a_write_protected_folder(folder, monkeypatch, capsys):
    monkeypatch.setattr(files.os, "access", lambda path, mode: not mode & os.W_OK)
    assert cli.main(["idec", *START]) == 1
    assert "write-protected" in line(capsys.readouterr().err)


# Files


def test_a_failed_write_leaves_nothing(folder, monkeypatch, capsys):
    def fail(self, path):
        Path(path).write_text("half")
        message = "No space left on device"
        raise OSError(message)

    monkeypatch.setattr(ad.AnnData, "write_h5ad", fail)
    assert cli.main(["aekmeans", *START, *as_options(few("aekmeans")), "--quiet"]) == 1
    assert "No space left on device" in line(capsys.readouterr().err)
    assert present() == ["in.h5ad"]


def test_a_failed_write_leaves_the_old_file(folder, cells, monkeypatch):
    Path("out.h5ad").write_text("old")
    monkeypatch.setattr(Path, "replace", lambda self, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.write(cells, "out.h5ad")
    assert Path("out.h5ad").read_text() == "old"
    assert present() == ["in.h5ad", "out.h5ad"]


def test_an_existing_output_is_replaced_through_its_link(folder, cells):
    Path("there.h5ad").write_text("old")
    Path("out.h5ad").symlink_to("there.h5ad")
    files.write(cells, "out.h5ad")
    assert Path("out.h5ad").is_symlink()
    assert files.read("there.h5ad").shape == cells.shape


def test_text_columns_of_pandas_can_be_written_again(folder, cells):
    cells = cells.copy()
    cells.obs["barcode"] = pd.array([f"b{i}" for i in range(cells.n_obs)], dtype="string")
    files.write(cells, "text.h5ad")
    files.write(files.read("text.h5ad"), "again.h5ad")
    assert list(files.read("again.h5ad").obs["barcode"]) == list(cells.obs["barcode"])


def write_mtx(cells: ad.AnnData) -> Path:
    """A folder as Cell Ranger 2 wrote it, with one gene name twice."""
    folder = Path("mtx")
    folder.mkdir()
    names = ["same", "same", *cells.var_names[2:]]
    io.mmwrite(folder / "matrix.mtx", sparse.csc_matrix(cells.X.T.astype(int)))
    (folder / "genes.tsv").write_text("".join(f"id{i}\t{name}\n" for i, name in enumerate(names)))
    (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.obs_names))
    return folder


def write_10x_h5(cells: ad.AnnData) -> Path:
    """A file as Cell Ranger 3 writes it, with one gene name twice."""
    import h5py

    matrix = sparse.csr_matrix(cells.X.astype(np.int32))
    with h5py.File("ten.h5", "w") as file:
        group = file.create_group("matrix")
        for name, values in {
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "shape": np.array(matrix.shape[::-1]),
            "barcodes": cells.obs_names.to_numpy().astype("S"),
            "features/name": np.array(["same", "same", *cells.var_names[2:]], dtype="S"),
            "features/id": np.array([f"id{i}" for i in range(cells.n_vars)], dtype="S"),
            "features/feature_type": np.array(["Gene Expression"] * cells.n_vars, dtype="S"),
            "features/genome": np.array(["g"] * cells.n_vars, dtype="S"),
        }.items():
            group[name] = values
    return Path("ten.h5")


def write_zarr(cells: ad.AnnData) -> Path:
    cells.write_zarr("in.zarr")
    return Path("in.zarr")


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")
@pytest.mark.parametrize("writer", [write_mtx, write_10x_h5, write_zarr], ids=lambda writer: writer.__name__[6:])
def test_other_formats_are_read(folder, cells, writer):
    found = files.read(writer(cells))
    np.testing.assert_array_equal(found.X.toarray(), cells.X.toarray())
    assert found.var_names.is_unique
    assert list(found.obs_names) == list(cells.obs_names)


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")
def test_a_zarr_store_out_and_repeated_gene_names(folder, cells, capsys):
    cells = cells.copy()
    cells.var_names = ["g"] * cells.n_vars
    cells.write_h5ad("in.h5ad")
    assert cli.main(["aekmeans", "in.h5ad", "out.zarr", *as_options(few("aekmeans")), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert "deepclust" in ad.read_zarr("out.zarr").obs


# What is said, and how it ends


def test_quiet_says_nothing_but_warnings_in_the_words_of_the_command_line(folder, monkeypatch, capsys):
    true = commands.trained

    def warns(*args):
        warnings.warn("beware\nof this", UserWarning, stacklevel=1)
        warnings.warn("of no use", FutureWarning, stacklevel=1)
        session.logger.warning("and of that; give join_shifted=False or n_clusters=3")
        session.logger.info("all is well")
        return true(*args)

    monkeypatch.setattr(commands, "trained", warns)
    assert cli.main(["aekmeans", *START, *as_options(few("aekmeans")), "--quiet"]) == 0
    said = [
        "scdeepclust: warning: beware of this",
        "scdeepclust: warning: and of that; give --no-join-shifted or --n-clusters=3",
    ]
    assert capsys.readouterr() == ("", "\n".join(said) + "\n")
    assert not session.logger.handlers


@pytest.mark.parametrize("stopped", ["train", "read"])
def test_ctrl_c(folder, monkeypatch, capsys, stopped):
    def stop(*_, **__):
        raise KeyboardInterrupt

    if stopped == "train":
        from scdeepclust.train import Trainer

        monkeypatch.setattr(Trainer, "_epoch", stop)
    else:
        monkeypatch.setattr(files, "read", stop)
    assert cli.main(["idec", *START, *as_options(few("idec")), "--quiet"]) == 130
    assert capsys.readouterr() == ("", "scdeepclust: interrupted; the output was not written\n")
    assert present() == ["in.h5ad"]


def test_a_saved_model_labels_new_cells(folder, cells, capsys):
    assert cli.main(["idec", *START, *as_options(few("idec")), "--save-model", "model", "--key-added", "k"]) == 0
    cells[:50].copy().write_h5ad("new.h5ad")
    words = ["model", "new.h5ad", "labelled.h5ad", "--key-added", "mine", "--json", "--quiet", "--device", "cpu"]
    capsys.readouterr()
    assert cli.main(["assign", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    labels = ad.read_h5ad("labelled.h5ad").obs
    assert (found["output"], found["command"], found["n_clusters"]) == ("labelled.h5ad", "assign", 3)
    assert sum(found["sizes"].values()) == 50
    assert list(labels["mine"]) == list(ad.read_h5ad("out.h5ad").obs["k"][:50])
    assert "mine_confidence" in labels


def test_threads(folder, fast, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    assert cli.main(["idec", *START, "--threads", "1"]) == 1
    assert used == [1]
