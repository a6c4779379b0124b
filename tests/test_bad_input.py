"""What a user can get wrong: one clear error before any work, and an AnnData as it was."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import shutil
import typing
from dataclasses import fields, replace
from types import SimpleNamespace

import anndata as ad
import annotated_types
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import scdeepclust as sdc
from scdeepclust.arguments import check_batch_size
from scdeepclust.methods.parameters import ELSEWHERE, OF_ALL, hints


def spoiled(adata, value, *, layer=None):
    """`adata` with one value replaced, in X or a layer."""
    x = adata.X.toarray()
    x[5, 7] = value
    if layer is None:
        adata.X = x
    else:
        adata.layers[layer] = x
    return adata


def text(error):
    """Of a KeyError, str() would give the repr of the message."""
    return str(error.value.args[0])


def advice(variant):
    """What a user without counts is told to do: a setting of the method that needs none, else another method."""
    accepted = typing.get_type_hints(sdc.methods.registry()[variant.name])
    for name, value in {"likelihood": "mse", "split": "gene_split"}.items():
        if value in typing.get_args(accepted.get(name)):
            return f"give {name}={value!r}"
    return "take a method that needs none"


@pytest.fixture
def refused(same, few):
    """Call `deepclust`; expect an error that names all `words`, and an AnnData as it was."""

    def check(adata, error, *words, method="idec", **arguments):
        before = adata.copy()
        if isinstance(method, str) and method in sdc.methods.registry():
            method = few(method)
        with pytest.raises(error) as raised:
            sdc.tl.deepclust(adata, method, progress=False, **arguments)
        for word in words:
            assert word in text(raised)
        same(adata, before)

    return check


# -------------------------------------------------------------------------------------------------------- the values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("where", ["X", "layer", "sparse"])
def test_values_that_are_not_finite(counts, refused, value, where):
    found = "1 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 1 infinite"
    if where == "layer":
        refused(spoiled(counts, value, layer="raw"), ValueError, "adata.layers['raw']", found, "remove", layer="raw")
        return
    spoiled(counts, value)
    if where == "sparse":
        counts.X = sparse.csc_matrix(counts.X)
    refused(counts, ValueError, "adata.X", found, "remove")


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_representation_that_is_not_finite(counts, refused, value):
    counts.obsm["pcs"] = np.ones((300, 4))
    counts.obsm["pcs"][3, 2] = value
    refused(counts, ValueError, "use_rep='pcs'", "1", "impute", use_rep="pcs")


@pytest.mark.parametrize("value", [-1.5, 0.25], ids=["negative", "fractional"])
class TestCountsAreNeeded:
    """By every method and likelihood that explains counts."""

    def test_the_layer_that_holds_them_is_named(self, counts, refused, counting, value):
        counts.layers["raw"] = counts.X.copy()
        found = "negative" if value < 0 else "fractional"
        refused(
            spoiled(counts, value), ValueError, "adata.X", found, f"{value:.3g}", "layer='raw'", method=counting.small()
        )

    def test_raw_is_named(self, counts, refused, counting, value):
        counts.raw = counts.copy()
        refused(spoiled(counts, value), ValueError, "adata.X", "adata.raw", method=counting.small())

    def test_where_there_are_none(self, counts, refused, counting, value):
        counts.layers["bad"] = spoiled(counts.copy(), value).X
        counts.X = counts.layers["bad"]
        words = ["adata.layers['bad']", "No layer holds counts", advice(counting)]
        refused(counts, ValueError, *words, method=counting.small(), layer="bad")


def test_counts_are_needed_but_a_representation_is_given(counts, refused, counting):
    counts.obsm["pcs"] = np.ones((300, 4))
    words = ["use_rep='pcs' holds no counts", advice(counting)]
    refused(counts, ValueError, *words, method=counting.small(), use_rep="pcs")


def test_what_is_advised_where_there_are_no_counts_can_be_done(lognorm, counting):
    setting = re.fullmatch(r"give (\w+)='(\w+)'", advice(counting))
    if setting is not None:
        sdc.Model(lognorm, replace(counting.small(), **dict([setting.groups()])), n_clusters=3)


def test_negative_values_are_taken_only_when_asked(counts, refused):
    refused(spoiled(counts, -2.0), ValueError, "adata.X", "smallest -2", "use_rep='X'", "layer")


def test_large_fractional_values_are_neither_counts_nor_logs(counts, refused):
    refused(spoiled(counts, 9876.25), ValueError, "adata.X", "9876", "sc.pp.log1p", "np.rint")


@pytest.mark.parametrize("n", [1, 7], ids=lambda n: f"{n} cells")
def test_empty_cells(counts, refused, n):
    x = counts.X.toarray()
    x[:n] = 0
    counts.X = x
    refused(counts, ValueError, f"{n} cells", "'cell0'", "filter_cells", "drop_empty=True")


@pytest.mark.parametrize("n", [1, 7], ids=lambda n: f"{n} genes")
def test_genes_without_counts(counts, refused, n):
    x = counts.X.toarray()
    x[:, :n] = 0
    counts.X = x
    refused(counts, ValueError, f"{n} genes", "'gene0'", "filter_genes", "drop_empty=True")


def test_normalised_values_without_their_logarithm(counts, refused):
    sc.pp.normalize_total(counts, target_sum=1e4)
    refused(counts, ValueError, "all cells sum to 10000", "normalised, but not logged", "sc.pp.log1p", "layer=...")


def test_no_cells(counts, refused):
    refused(counts[:0].copy(), ValueError, "no cell")


def test_drop_empty_is_no_word(counts, refused):
    refused(counts, ValueError, "drop_empty='no'", "True or False", drop_empty="no")


@pytest.mark.parametrize("drop_empty", [False, True])
def test_nothing_but_zeros(counts, refused, drop_empty):
    counts.X = sparse.csr_matrix(counts.shape, dtype=np.float32)
    refused(counts, ValueError, "genes are zero" if not drop_empty else "too few", drop_empty=drop_empty)


def test_one_gene(counts, refused):
    one = counts[:, :1].copy()
    one.X = np.ones((300, 1))
    refused(one, ValueError, "gene")


def test_x_is_missing(types, refused):
    refused(ad.AnnData(obs=types.obs), ValueError, "adata.X is None", "layer", "use_rep")


def test_x_is_missing_and_named(types, refused):
    refused(ad.AnnData(obs=types.obs), ValueError, "use_rep='X'", "None", use_rep="X")


def test_words_in_a_representation(counts, refused):
    counts.obsm["words"] = pd.DataFrame({"a": ["x"] * 300, "b": 1.0}, index=counts.obs_names)
    refused(counts, ValueError, "use_rep='words'", use_rep="words")


@pytest.mark.parametrize("shape", [(300, 0), (300, 2, 2)], ids=str)
def test_a_representation_that_is_no_matrix(counts, refused, shape):
    counts.obsm["bad"] = np.ones(shape)
    refused(counts, ValueError, "use_rep='bad'", "cells x features", use_rep="bad")


def test_too_few_cells_for_the_clusters(counts, refused):
    refused(counts[:30].copy(), ValueError, "n_clusters=31", "30 cells", "fewer", n_clusters=31, drop_empty=True)


def test_too_few_cells(counts, refused):
    refused(counts[:6].copy(), ValueError, "6 cells", "10", drop_empty=True, n_clusters=2)


def test_backed(counts, tmp_path, few):
    counts.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"a\.h5ad.*to_memory"):
        sdc.tl.deepclust(backed, few("idec"), progress=False)
    assert list(backed.obs.columns) == list(counts.obs.columns)
    backed.file.close()


def test_a_copy_of_what_is_on_disk(counts, tmp_path):
    counts.obsm["X_c"], counts.obs["c"] = counts.X.toarray()[:, :5], np.repeat(["0", "1"], counts.n_obs // 2)
    counts.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for job in (
        functools.partial(sdc.tl.lineage, key="c", root={"cluster": "0"}),
        functools.partial(sdc.tl.enrichment, key="c", annotations="c"),
    ):
        with pytest.raises(
            TypeError, match=r"copy=True, but adata is backed by .*a\.h5ad.*to_memory.*or leave copy out"
        ):
            job(backed, copy=True)
    backed.file.close()


def test_several_modalities(counts):
    both = SimpleNamespace(mod={"rna": counts})
    with pytest.raises(TypeError, match=r"adata must be an AnnData, not SimpleNamespace; give one of its modalities"):
        sdc.tl.deepclust(both)
    with pytest.raises(
        TypeError, match=r"must be an AnnData, not DataFrame; make one .* with anndata.AnnData\(table\)"
    ):
        sdc.tl.deepclust(counts.to_df())


def test_genes_marked_by_objects_that_are_true_or_false(counts, few):
    marked = np.arange(counts.n_vars) < 60
    counts.var["highly_variable"] = pd.Series(marked, counts.var_names).astype(object)
    sdc.tl.deepclust(counts, few("idec"), drop_empty=True, progress=False)
    assert counts.uns["deepclust"]["input"]["n_vars"] == 60


def test_sparse_on_disk(counts, tmp_path, few):
    h5py = pytest.importorskip("h5py")
    counts.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as file:
        lazy = ad.AnnData(ad.io.sparse_dataset(file["X"]), counts.obs, counts.var)
        with pytest.raises(TypeError, match=r"adata\.X is a .*not in memory.*to_memory"):
            sdc.tl.deepclust(lazy, few("idec"), progress=False)


def test_dask(counts, few):
    array = pytest.importorskip("dask.array", reason="dask is not installed")
    counts.X = array.from_array(counts.X.toarray(), chunks=100)
    with pytest.raises(TypeError, match=r"adata\.X is a dask.*to_memory"):
        sdc.tl.deepclust(counts, few("idec"), progress=False)


@pytest.mark.parametrize("value", [np.ones((300, 20)), "a.h5ad", None], ids=["array", "path", "None"])
def test_no_anndata(few, value):
    with pytest.raises(TypeError, match="AnnData"):
        sdc.tl.deepclust(value, few("idec"), progress=False)


# ----------------------------------------------------------------------------------------------------- keys and masks


@pytest.mark.parametrize(
    ("argument", "value", "where", "there"),
    [
        ("layer", "count", "adata.layers", "'counts'"),
        ("use_rep", "X_pcs", "adata.obsm", "'X_pca'"),
        ("batch_key", "batches", "adata.obs", "'cell_type'"),
        ("mask_var", "hvg", "adata.var", "'used'"),
    ],
)
def test_missing_keys_list_those_there_are(counts, refused, argument, value, where, there):
    counts.layers["counts"], counts.obsm["X_pca"] = counts.X.copy(), np.ones((300, 4))
    counts.var["used"] = True
    refused(counts, KeyError, f"{argument}={value!r}", where, there, **{argument: value})


def test_layer_and_use_rep(counts, refused):
    counts.layers["counts"], counts.obsm["X_pca"] = counts.X.copy(), np.ones((300, 4))
    refused(counts, ValueError, "layer='counts'", "use_rep='X_pca'", "not both", layer="counts", use_rep="X_pca")


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        pytest.param([True] * 99, "(99,)", id="too short"),
        pytest.param(np.ones((100, 1), bool), "(100, 1)", id="a column"),
        pytest.param(np.arange(100), "int64", id="numbers of genes"),
        pytest.param(np.ones(100), "float64", id="floats"),
        pytest.param(["gene1", "gene2"], "(2,)", id="names"),
    ],
)
def test_masks_of_the_wrong_kind(counts, refused, mask, found):
    refused(counts, ValueError, "mask_var", found, "100 genes", mask_var=mask)


def test_a_mask_in_another_order(counts, refused):
    mask = pd.Series(np.arange(100) < 50, index=counts.var_names)
    refused(counts, ValueError, "mask_var is a pandas.Series", "mask_var.loc[adata.var_names]", mask_var=mask[::-1])
    assert sdc.Model(counts, mask_var=mask).var_names == list(counts.var_names[:50])
    assert sdc.Model(counts, mask_var=mask.reset_index(drop=True)).var_names == list(counts.var_names[:50])


def test_a_mask_column_of_the_wrong_kind(counts, refused):
    counts.var["used"] = "yes"
    refused(counts, ValueError, "mask_var='used'", "True or False", mask_var="used")


@pytest.mark.parametrize("n", [0, 1])
def test_masks_that_leave_too_few_genes(counts, refused, n):
    refused(counts, ValueError, "mask_var", f"{n} genes", "at least 2", mask_var=np.arange(100) < n)


def test_cells_without_a_batch(counts, refused):
    counts.obs["batch"] = pd.Categorical([None, *["a"] * 299])
    refused(counts, ValueError, "batch_key='batch'", "1 cells", "drop", batch_key="batch")


@pytest.mark.parametrize("key", ["", "a/b", None, 3], ids=repr)
def test_keys_that_h5ad_cannot_store(counts, refused, key):
    refused(counts, ValueError, f"key_added={key!r}", "non-empty string without '/'", key_added=key)


# -------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("value", [0, 1, -3, 2.5, "8", True, np.nan], ids=repr)
def test_n_clusters(counts, refused, value):
    refused(counts, ValueError, f"n_clusters={value!r}", "an integer at least 2", n_clusters=value)


@pytest.mark.parametrize("value", [301, 1, 0, -4, 64.5, "64", True], ids=repr)
def test_batch_size(counts, refused, value):
    refused(
        counts, ValueError, f"batch_size={value!r}", "300 cells" if value == 301 else "at least 2", batch_size=value
    )


@pytest.mark.parametrize("value", ["0", 1.5, True, -1, 2**32, np.random.RandomState(0)], ids=str)
def test_random_state(counts, refused, value):
    refused(counts, ValueError, "random_state=", "Generator", random_state=value)


@pytest.mark.parametrize(("n_cells", "size"), [(100, 100), (300, 256), (19_999, 256), (20_000, 1024), (10**6, 1024)])
def test_minibatches_grow_with_the_cells(n_cells, size):
    assert check_batch_size(None, n_cells) == size
    assert check_batch_size(64, n_cells) == 64


@pytest.mark.parametrize("value", ["cuda:99", "gpu", "xpu", 77, 1.5], ids=repr)
def test_device(counts, refused, value):
    refused(counts, ValueError, f"device={value!r}", "'cpu' or 'auto'", device=value)


def test_a_device_that_computes_nothing(counts, refused):
    refused(counts, ValueError, "device='meta' is not supported", "'cpu', 'cuda' or 'auto'", device="meta")


def test_a_wish_about_shifts_in_words(counts, refused):
    refused(counts, ValueError, "join_shifted='no'", "True or False", join_shifted="no")


@pytest.mark.parametrize(
    ("lost", "arguments"),
    [
        ("X_deepclust", {"use_rep": "X_deepclust"}),
        ("deepclust", {"batch_key": "deepclust"}),
        ("deepclust", {"categorical_covariate_keys": ["deepclust"]}),
        ("deepclust", {"method": "triplet", "positives": "labels", "labels_key": "deepclust"}),
    ],
)
def test_results_do_not_take_the_place_of_what_is_read(counts, refused, lost, arguments):
    counts.obsm["X_deepclust"] = np.random.default_rng(0).normal(size=(300, 4))
    counts.obs["deepclust"] = ["a", "b", "c"] * 100
    if arguments.get("method") == "triplet":
        arguments = {"method": sdc.methods.get(**arguments)}
    refused(counts, ValueError, "key_added='deepclust' would overwrite", repr(lost), "another name", **arguments)


def test_a_lineage_does_not_take_the_place_of_its_clusters(counts, few):
    sdc.tl.deepclust(counts, few("idec"), progress=False)
    embedding = counts.obsm["X_deepclust"].copy()
    with pytest.raises(ValueError, match="key_added='deepclust' would overwrite"):
        sdc.tl.lineage(counts, key_added="deepclust", root="0")
    np.testing.assert_array_equal(counts.obsm["X_deepclust"], embedding)


@pytest.mark.parametrize("front", [sdc.tl.n_clusters, sdc.pp.neighbors, sdc.tl.deepclust])
def test_cells_that_are_all_the_same(counts, front):
    counts.X = np.tile(counts.X[:1].toarray() + 1, (300, 1))
    with pytest.raises(ValueError, match="All 300 cells have the same values in the genes used"):
        front(counts, progress=False) if front is not sdc.tl.n_clusters else front(counts)


def test_a_sparse_matrix_of_far_too_many_columns_is_not_made_dense(counts, refused, monkeypatch):
    wide = ad.AnnData(sparse.csr_matrix((300, 40_000), dtype=np.float32))
    monkeypatch.setattr(sparse.csr_matrix, "toarray", lambda *_: pytest.fail("made dense"))
    with pytest.raises(ValueError, match="has 40000 columns; take principal components first"):
        sdc.Model(wide, use_rep="X")


def test_an_embedding_that_is_none_of_the_models(counts, trained):
    with pytest.raises(ValueError, match=r"embedding has shape \(5, 3\), which this model did not make"):
        trained.memberships(np.zeros((5, 3)))


def test_unknown_method(counts, refused):
    refused(counts, ValueError, "method='idek'", "Did you mean 'idec'?", "'dec'", method="idek")


@pytest.mark.parametrize("value", [None, 3, sdc.methods.Method], ids=str)
def test_no_method(counts, refused, value):
    refused(counts, ValueError, "method=", "There are: ", method=value)


def test_unknown_parameter(counts, refused, method):
    name = fields(method.small())[-1].name
    words = [f"Method {method.name!r}", f"{name + 'x'!r}", f"Did you mean {name!r}?", "There are: ", "'n_clusters'"]
    refused(counts, TypeError, *words, method=method.name, **{f"{name}x": 1})


@pytest.mark.parametrize(
    ("asked", "name", "hint"),
    [
        ("idec", "learning_rate", "Here it is 'lr' or 'cluster_lr'."),
        ("aekmeans", "learning_rate", "Here it is 'lr'."),
        ("idec", "max_epochs", "Here it is 'pretrain_steps' or 'cluster_steps'."),
        ("idec", "resolution", "Here it is 'min_signal' or 'n_clusters'."),
        ("idec", "seed", "Here it is 'random_state'."),
        ("idec", "use_gpu", "Here it is 'device'."),
        ("idec", "batchkey", "Did you mean 'batch_key'?"),
        ("idec", "dropout", "'dropout'. There are: "),
    ],
)
def test_a_name_that_other_packages_use(counts, refused, asked, name, hint):
    refused(counts, TypeError, hint, method=asked, **{name: 1})


@pytest.mark.parametrize("name", ["random_state", "batch_key"])
def test_a_parameter_of_a_run_is_none_of_a_method(name):
    with pytest.raises(TypeError, match=f"has no parameter '{name}'. It is one of sdc.tl.deepclust. There are: "):
        sdc.methods.get("dec", **{name: 1})


def test_hints_name_parameters_that_exist():
    of_a_run = set(inspect.signature(sdc.tl.deepclust).parameters) - {"adata", "method", "n_clusters", "params"}
    assert of_a_run == set(OF_ALL)
    known = of_a_run.union(*(hints(kind) for kind in sdc.methods.registry().values()))
    assert {name for names in ELSEWHERE.values() for name in names} <= known


def numbers(hint):
    """Innermost bounds of a field's type, and whether it is a sequence."""
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, annotated_types.Ge | annotated_types.Gt):
            return getattr(part, "ge", getattr(part, "gt", None))
    found = [numbers(part) for part in getattr(hint, "__args__", ())]
    return next((bound for bound in found if bound is not None), None)


def test_parameters_out_of_bounds(counts, refused, method):
    bounded = {
        name: bound for name, hint in hints(type(method.small())).items() if (bound := numbers(hint)) is not None
    }
    assert bounded
    for name, bound in bounded.items():
        value = (bound - 1,) if isinstance(getattr(method.small(), name), tuple) else bound - 1
        refused(counts, ValueError, f"{name}={value!r}", "must be", method=method.name, **{name: value})


def test_parameters_of_the_wrong_type(counts, refused, method):
    for field in fields(method.small()):
        refused(counts, ValueError, f"{field.name}={{}}", "must be", method=method.name, **{field.name: {}})


# -------------------------------------------------------------------------------------------------------- new cells


@pytest.fixture(scope="module")
def trained(types):
    """A model of counts."""
    return model_of(types)


def model_of(adata, **arguments):
    few = {"n_clusters": 3, "pretrain_steps": 4, "cluster_steps": 4}
    model = sdc.Model(adata, "idec", **few, **arguments)
    model.train(progress=False)
    return model


@pytest.fixture
def unassigned(same):
    def check(adata, model, error, *words):
        before = adata.copy()
        with pytest.raises(error) as raised:
            sdc.tl.assign(adata, model)
        for word in words:
            assert word in text(raised)
        same(adata, before)

    return check


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_new_cells_with_names_of_genes_twice(counts, trained, unassigned):
    counts.var_names = ["gene1", *counts.var_names[1:]]
    unassigned(counts, trained, ValueError, "'gene1'", "var_names_make_unique")


def test_new_cells_with_too_few_genes_of_the_model(counts, trained, unassigned):
    unassigned(counts[:, :40].copy(), trained, ValueError, "40 of the model's 100 genes", "'gene40'", "gene names")


def test_new_cells_lognormalised_for_a_model_of_counts(lognorm, trained, unassigned):
    unassigned(lognorm, trained, ValueError, "adata.X", "fractional", "counts")


def test_advice_on_new_cells_names_no_parameter_of_training(lognorm, counts, trained):
    with pytest.raises(ValueError, match="Counts") as raised:
        sdc.tl.assign(lognorm, trained)
    assert "likelihood" not in str(raised.value)
    counts.X = sparse.csr_matrix(counts.X.toarray() * (np.arange(300) > 0)[:, None])
    with pytest.raises(ValueError, match="1 cells have no counts") as raised:
        sdc.tl.assign(counts, trained)
    assert "drop_empty" not in str(raised.value)


def test_new_counts_for_a_model_of_lognormalised_values(types, lognorm, unassigned):
    unassigned(types.copy(), model_of(lognorm), ValueError, "log-normalised", "sc.pp.log1p")


def test_new_cells_with_another_number_of_columns(types, unassigned):
    cells = ad.AnnData(obs=types.obs, obsm={"pcs": types.X[:, :8].toarray()})
    model = model_of(cells, use_rep="pcs")
    cells.obsm["pcs"] = cells.obsm["pcs"][:, :6]
    unassigned(cells, model, ValueError, "use_rep='pcs'", "6 columns", "trained on 8")


def test_new_cells_without_the_layer_of_training(types, counts, unassigned):
    counts.layers["raw"] = counts.X.copy()
    unassigned(types.copy(), model_of(counts, layer="raw"), KeyError, "layer='raw'", "adata.layers")


def test_an_untrained_model(types, counts, unassigned, tmp_path, few):
    model = sdc.Model(types, few("idec"))
    unassigned(counts, model, RuntimeError, "model.train()")
    with pytest.raises(RuntimeError, match=r"model\.train\(\)"):
        model.save(tmp_path / "model")


def test_training_twice(trained):
    with pytest.raises(RuntimeError, match="make a new one"):
        trained.train(progress=False)


def test_a_model_says_what_it_is(trained, counts, tmp_path):
    assert re.fullmatch(r"<Model '\w+' of counts of \d+ genes: 3 clusters>", repr(trained))
    trained.save(tmp_path / "model")
    assert repr(sdc.Model.load(tmp_path / "model")) == repr(trained)
    assert repr(sdc.Model(counts)).endswith("not trained>")


def test_a_loaded_model_has_no_training_cells(trained, tmp_path):
    trained.save(tmp_path / "model")
    with pytest.raises(ValueError, match="give adata"):
        sdc.Model.load(tmp_path / "model").predict()


# ----------------------------------------------------------------------------------------------------- saved models


def rewritten(change):
    def spoil(folder):
        settings = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(change(settings)))

    return spoil


def shortened(name):
    def spoil(folder):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return spoil


SPOILED = {
    "empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "no history": lambda folder: (folder / "history.json").unlink(),
    "JSON cut off": shortened("model.json"),
    "weights cut off": shortened("weights.safetensors"),
    "history cut off": shortened("history.json"),
    "JSON of another kind": rewritten(lambda _: [1, 2]),
    "JSON of another program": rewritten(lambda _: {"hello": 1}),
    "JSON with half of it": rewritten(lambda s: {"format": s["format"], "params": []}),
    "another format": rewritten(lambda s: s | {"format": 99}),
    "unknown method": rewritten(lambda s: s | {"method": "nope"}),
    "unknown parameter": rewritten(lambda s: s | {"params": s["params"] | {"nope": 1}}),
    "parameters are a list": rewritten(lambda s: s | {"params": [1]}),
    "genes are missing": rewritten(lambda s: s | {"inputs": s["inputs"] | {"kind": "nope", "n_pcs": None}}),
    "weights of another network": rewritten(lambda s: s | {"params": s["params"] | {"n_latent": 3}}),
    "not JSON": lambda folder: (folder / "model.json").write_bytes(b"\xff\x00\x01"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_folders_that_are_no_models(trained, tmp_path, spoil):
    trained.save(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model' is not a model saved by this version of scdeepclust, or is damaged"):
        sdc.Model.load(tmp_path / "model")


def test_a_folder_that_is_not_there(counts, tmp_path, unassigned):
    unassigned(counts, tmp_path / "nowhere", FileNotFoundError, "nowhere", "There is no folder")


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "model").write_text("hello")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        sdc.Model.load(tmp_path / "model")


def test_saving_does_not_overwrite_unasked(trained, tmp_path):
    trained.save(tmp_path / "model")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        trained.save(tmp_path / "model")
    trained.save(tmp_path / "model", overwrite=True)
    assert sdc.Model.load(tmp_path / "model").n_clusters == 3


def test_saving_overwrites_nothing_but_a_model(trained, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("ten years")
    with pytest.raises(FileExistsError, match="thesis"):
        trained.save(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "ten years"


def test_saving_into_a_folder_that_is_not_there(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        trained.save(tmp_path / "nowhere" / "model")


def test_saving_without_permission(trained, tmp_path, monkeypatch):
    """Root may write everywhere, so the system's answer is put in."""

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path))):
        trained.save(tmp_path / "model")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def checkpointed(few):
    def start(adata, path, **arguments):
        sdc.tl.deepclust(adata, few("idec"), checkpoint=path, progress=False, **arguments)

    return start


def test_checkpoint_in_a_folder_that_is_not_there(counts, refused, tmp_path):
    path = tmp_path / "nowhere" / "run.ckpt"
    refused(counts, FileNotFoundError, f"checkpoint={str(path)!r}", "create it first", checkpoint=path)


def test_checkpoint_is_a_folder(counts, refused, tmp_path):
    refused(counts, IsADirectoryError, f"checkpoint={str(tmp_path)!r}", "path of a file", checkpoint=tmp_path)


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_checkpoint_without_permission(counts, refused, tmp_path, monkeypatch, there):
    path = tmp_path / "run.ckpt"
    if there:
        path.write_bytes(b"x")
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    refused(counts, PermissionError, f"checkpoint={str(path)!r}", "write permission", checkpoint=path)


FOREIGN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("cell,label\n1,2\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "a tensor": lambda path: torch.save(torch.ones(3), path),
    "a list": lambda path: torch.save([1, 2], path),
    "another dictionary": lambda path: torch.save({"net": 1}, path),
    "an AnnData": lambda path: ad.AnnData(np.ones((2, 2))).write_h5ad(path),
    "a zip": lambda path: shutil.move(shutil.make_archive(str(path), "zip", path.parent), path),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_checkpoint_of_another_program(counts, refused, tmp_path, make):
    path = tmp_path / "run.ckpt"
    make(path)
    before = path.read_bytes()
    words = [f"checkpoint={str(path)!r}", "not a checkpoint of scdeepclust or is damaged", "another path"]
    refused(counts, ValueError, *words, checkpoint=path)
    assert path.read_bytes() == before


def test_checkpoint_cut_off(counts, refused, checkpointed, tmp_path):
    path = tmp_path / "run.ckpt"
    checkpointed(counts.copy(), path)
    path.write_bytes(path.read_bytes()[:-500])
    refused(counts, ValueError, f"checkpoint={str(path)!r}", "is damaged", checkpoint=path)


OTHER_RUNS = {
    "seed": dict(random_state=1),
    "batch size": dict(batch_size=100),
    "parameter": dict(lr=0.01),
    "clusters": dict(n_clusters=4),
    "genes": dict(mask_var=np.arange(100) < 60),
    "batches": dict(batch_key="cell_type"),
}


@pytest.mark.parametrize("other", OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_checkpoint_of_another_run(counts, refused, checkpointed, tmp_path, other):
    path = tmp_path / "run.ckpt"
    checkpointed(counts.copy(), path)
    refused(
        counts,
        ValueError,
        f"checkpoint={str(path)!r}",
        "other data, parameters",
        "another path",
        checkpoint=path,
        **other,
    )


def test_checkpoint_of_other_values(counts, refused, checkpointed, tmp_path):
    path = tmp_path / "run.ckpt"
    checkpointed(counts.copy(), path)
    refused(spoiled(counts, 99), ValueError, "other data", checkpoint=path)


def test_checkpoint_of_cells_of_another_depth(counts, refused, checkpointed, tmp_path):
    """The genes used are the same, but size factors are those of all genes."""
    path, some = tmp_path / "run.ckpt", np.arange(100) < 60
    checkpointed(counts.copy(), path, mask_var=some)
    refused(counts[:, some].copy(), ValueError, "other data", checkpoint=path)


# --------------------------------------------------------------------------------------------------------- wrong places


@pytest.mark.parametrize("source", ["X", "pcs"])
def test_genes_are_not_chosen_where_a_representation_is_read(counts, refused, source):
    counts.obsm["pcs"] = counts.X[:, :8].toarray()
    counts.var["mine"] = np.arange(100) < 50
    refused(
        counts, ValueError, "mask_var", f"use_rep={source!r}", "leave mask_var out", use_rep=source, mask_var="mine"
    )


def test_a_layer_that_is_read_is_not_overwritten(counts, refused):
    counts.layers["counts"] = counts.X.copy()
    refused(counts, ValueError, "overwrite", method="deepwak", layer="counts", denoised_layer="counts")
    with pytest.raises(ValueError, match="key_added='counts' would overwrite"):
        sdc.pp.denoise(counts, layer="counts", key_added="counts")


@pytest.mark.parametrize(
    "front", [sdc.pp.denoise, sdc.pp.neighbors, sdc.tl.n_clusters, sdc.tl.partition_loss, sdc.tl.recut]
)
def test_what_is_no_anndata(front):
    with pytest.raises(TypeError, match=r"must be an AnnData, not ndarray; make one .* with anndata.AnnData\(table\)"):
        front(np.ones((20, 20)))


def test_advice_names_no_argument_that_is_not_there(counts, few):
    """Whoever calls, in whatever state the values are."""
    model = sdc.Model(counts, few("idec"))
    model.train(progress=False)
    x = counts.X.toarray()
    x[:, 3] = 0
    empty, scaled, none = counts.copy(), counts.copy(), counts.copy()
    empty.X, scaled.X, none.X = x, x - x.mean(0), None
    none.layers["counts"] = counts.X
    logged = ad.AnnData(np.log1p(counts.X.toarray()), obs=counts.obs, var=counts.var, layers={"counts": counts.X})
    for front, adata in [
        (sdc.pp.neighbors, empty),
        (sdc.pp.neighbors, scaled),
        (sdc.pp.denoise, empty),
        (sdc.pp.denoise, scaled),
        (sdc.pp.denoise, none),
        (functools.partial(sdc.tl.assign, model=model), logged),
        (functools.partial(sdc.tl.assign, model=model), none),
    ]:
        known = inspect.signature(front).parameters
        with pytest.raises(ValueError, match=r"\w") as error:
            front(adata)
        advised = set(re.findall(r"(\w+)=", text(error))) - {"min_cells", "min_counts"}
        assert advised <= set(known), text(error)


def test_new_cells_may_have_far_more_columns_than_a_representation_may(types):
    """Those that the model was trained on are taken by name."""
    rng = np.random.default_rng(0)
    small = ad.AnnData(rng.normal(size=(60, 5)).astype(np.float32), var=pd.DataFrame(index=[f"p{i}" for i in range(5)]))
    model = model_of(small, use_rep="X")
    wide = ad.AnnData(np.full((60, 5100), np.nan, dtype=np.float32))
    wide.var_names = [f"q{i}" for i in range(5095)] + list(small.var_names)
    wide.X[:, 5095:] = small.X
    sdc.tl.assign(wide, model)
    assert list(wide.obs["deepclust"]) == list(model.predict().astype(str))


def test_a_list_where_one_name_is_meant(counts, refused):
    refused(counts, TypeError, "batch_key=['a']", "categorical_covariate_keys", batch_key=["a"])
    refused(counts, TypeError, "use_rep=['a']", "one name", use_rep=["a"])


def test_neighbours_to_hold_together_need_components(counts):
    with pytest.raises(ValueError, match=r"locality=1.0 needs principal components"):
        sdc.Model(counts, "scdeepcluster", locality=1.0)


def test_a_result_that_cannot_be_cut_anew(counts, few):
    sdc.tl.deepclust(counts, few("idec"), progress=False)
    with pytest.raises(KeyError, match=r"tl\.n_clusters"):
        sdc.tl.recut(counts, n_clusters=2, key="deepclust")


@pytest.mark.parametrize("model", [None, 3, ad.AnnData(np.ones((2, 2)))], ids=["None", "a number", "cells"])
def test_what_is_no_model(counts, model):
    with pytest.raises(TypeError, match=r"model must be a trained sdc.Model or the folder.*assign\(new_cells, model\)"):
        sdc.tl.assign(counts, model)


def test_genes_marked_in_some_cells_only(counts, refused):
    """As concatenated cells have them."""
    counts.var["highly_variable"] = np.array([True] * 60 + [None] * 40, dtype=object)
    refused(counts, ValueError, "adata.var['highly_variable'] has 40 missing values", "mask_var=None")


def test_no_gene_to_denoise(counts):
    with pytest.raises(ValueError, match="genes is empty"):
        sdc.pp.denoise(counts, genes=[])


@pytest.mark.parametrize(
    ("front", "first"),
    [
        (sdc.pl.history, "sdc.tl.deepclust(adata)"),
        (sdc.pl.lineage, "sdc.tl.lineage(adata)"),
        (sdc.pl.denoise, "sdc.pp.neighbors(adata)"),
        (sdc.pl.enrichment, "sdc.tl.enrichment(adata)"),
        (sdc.tl.lineage, "sdc.tl.deepclust(adata)"),
    ],
)
def test_what_has_to_be_run_first_is_said(counts, front, first):
    with pytest.raises(KeyError, match=re.escape(f"Run {first} first")):
        front(counts)


def test_a_model_in_the_place_of_the_cells(counts, trained):
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        sdc.tl.assign(trained, counts)


def test_a_threshold_in_words(counts):
    with pytest.raises(ValueError, match="min_signal='high'"):
        sdc.Model(counts, min_signal="high")
