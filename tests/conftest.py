"""What several test files share: small data, the variants of every method, few steps, and a deep comparison."""

from __future__ import annotations

import os

# Threads cost more than they save on matrices of this size; to be said before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from scipy import sparse

from scdeepclust import datasets, methods, tl

# The same examples in every run, in whatever order files are collected.
settings.register_profile("plain", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("plain")

FEW = {"n_clusters": 3, "pretrain_steps": 6, "cluster_steps": 6, "update_interval": 4, "n_init": 3, "max_epochs": 2}


def small(method: str, **extra: Any) -> methods.Method:
    """A method object that trains for a few steps; `extra` overrides, and must be fields of the method."""
    kind = methods.registry()[method]
    names = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in FEW.items() if k in names} | extra)


class Variant(NamedTuple):
    """A registered method, with one of the likelihoods that it accepts or its default."""

    name: str
    likelihood: str | None = None

    def __str__(self) -> str:
        return self.name if self.likelihood is None else f"{self.name}-{self.likelihood}"

    def small(self, **extra: Any) -> methods.Method:
        likelihood = {} if self.likelihood is None else {"likelihood": self.likelihood}
        return small(self.name, **likelihood | extra)

    def of_features(self, **extra: Any) -> methods.Method:
        """The method on values that are no counts."""
        method = self.small(**({"likelihood": "mse"} if "mse" in likelihoods(self.name) else {}) | extra)
        if method.needs_counts:
            pytest.skip(f"{self.name} needs counts")
        return method


def likelihoods(method: str) -> tuple[str, ...]:
    hint = typing.get_type_hints(methods.registry()[method]).get("likelihood")
    return typing.get_args(hint)


def plain() -> list[Variant]:
    return [Variant(name) for name in methods.registry()]


def trained() -> list[Variant]:
    """Methods that train a network of ours."""
    return [v for v in plain() if "pretrain_steps" in {f.name for f in fields(methods.registry()[v.name])}]


def variants() -> list[Variant]:
    return [Variant(name, each) for name in methods.registry() for each in likelihoods(name) or (None,)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "takes long; give --slow to run it"
    if "SCDEEPCLUST_DATASETS" not in os.environ:
        reasons["public"] = "SCDEEPCLUST_DATASETS names no folder with the public data sets"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `method`, `variant`, `training` or `counting` with every one there is."""
    tables = {
        "method": plain,
        "variant": variants,
        "training": trained,
        "counting": lambda: [v for v in variants() if v.small().needs_counts],
    }
    for name, table in tables.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, table(), ids=str)


@pytest.fixture(scope="session")
def types() -> ad.AnnData:
    """Counts of three types of unequal size; not to be changed."""
    return datasets.simulate_types(300, 100, n_types=3, separation=2.0, proportions=[0.5, 0.3, 0.2])


@pytest.fixture
def counts(types: ad.AnnData) -> ad.AnnData:
    """The same, to be changed at will."""
    return types.copy()


@pytest.fixture
def lognorm(types: ad.AnnData) -> ad.AnnData:
    """Log-normalised values in X, nothing else."""
    logged = types.copy()
    x = logged.X.astype(np.float64)
    logged.X = sparse.csr_matrix(np.log1p(x.toarray() / np.asarray(x.sum(1)) * 1e3), dtype=np.float32)
    return logged


@pytest.fixture(scope="session")
def clustered(types: ad.AnnData):
    """Result of a variant on `types`, computed once; not to be changed."""

    @functools.cache
    def run(variant: Variant) -> ad.AnnData:
        return tl.deepclust(types, variant.small(), copy=True, progress=False)

    return run


def assert_same(a: Any, b: Any, where: str = "adata") -> None:
    """Deep comparison: containers, kinds, dtypes and every bit of the values."""
    assert type(a) is type(b), f"{where}: {type(a)} and {type(b)}"
    if isinstance(a, ad.AnnData):
        for part in ("X", "obs", "var", "uns", "layers", "obsm", "varm", "obsp", "varp", "raw"):
            assert_same(getattr(a, part), getattr(b, part), f"{where}.{part}")
    elif isinstance(a, ad.Raw):
        assert_same(a.X, b.X, f"{where}.X")
        assert_same(a.var, b.var, f"{where}.var")
    elif isinstance(a, Mapping):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True, obj=where)
    elif sparse.issparse(a):
        assert a.shape == b.shape, where
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(a, part), getattr(b, part), f"{where}.{part}")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        np.testing.assert_array_equal(a, b, err_msg=where)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert a == b, where


@pytest.fixture(scope="session")
def same():
    """The deep comparison, as a fixture because test modules cannot import this file."""
    return assert_same


@pytest.fixture(scope="session")
def few():
    """`small`, for the same reason."""
    return small
