"""Kernels of partitions against their dense definition: values, gradients, sums in parts, and cells that are alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scdeepclust import diffusion

quick = settings(max_examples=40, deadline=None, derandomize=True)
forms = pytest.mark.parametrize("normalize", ["row", "column", "symmetric"])


def dense(c, e, normalize="row"):
    """The definition: P without its diagonal, divided by its sums, times the values."""
    p = c @ c.T
    p = p - torch.diag(torch.diag(p))
    s = p.sum(1)
    rows = {"row": s[:, None], "column": s[None], "symmetric": (s[:, None] * s[None]).sqrt()}[normalize]
    return (p / rows) @ e


def drawn(seed, n, k, d, sharpness=1.0):
    generator = torch.Generator().manual_seed(seed)
    c = (sharpness * torch.randn(n, k, generator=generator, dtype=torch.float64)).softmax(1)
    return c, torch.randn(n, d, generator=generator, dtype=torch.float64)


def hard(labels, k):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), k).double()


sizes = {"n": st.integers(2, 12), "k": st.integers(1, 6), "d": st.integers(1, 4)}


@forms
@quick
@given(seed=st.integers(0, 10_000), sharpness=st.floats(0, 4), **sizes)
def test_soft_partitions_average_as_the_dense_kernel_does(normalize, seed, sharpness, n, k, d):
    c, e = drawn(seed, n, k, d, sharpness)
    torch.testing.assert_close(diffusion.wak(c, e, normalize), dense(c, e, normalize), rtol=1e-6, atol=1e-6)


@forms
@quick
@given(seed=st.integers(0, 10_000), n=st.integers(3, 12), k=st.integers(1, 4), d=st.integers(1, 3))
def test_gradients_are_those_of_the_dense_kernel(normalize, seed, n, k, d):
    found = []
    for form in (diffusion.wak, dense):
        c, e = (x.requires_grad_() for x in drawn(seed, n, k, d))
        found.append(torch.autograd.grad(form(c, e, normalize).square().sum(), (c, e)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@quick
@given(st.lists(st.integers(0, 2), min_size=6, max_size=15), st.integers(0, 1000))
def test_hard_clusters_give_the_mean_of_the_others(labels, seed):
    e = drawn(seed, len(labels), 1, 3)[1]
    found = diffusion.wak(hard(labels, 3), e)
    for i, label in enumerate(labels):
        others = [j for j, other in enumerate(labels) if j != i and other == label]
        # Who is alone takes the mean of all others.
        others = others or [j for j in range(len(labels)) if j != i]
        torch.testing.assert_close(found[i], e[others].mean(0))


@forms
@quick
@given(seed=st.integers(0, 10_000), **sizes)
def test_the_order_of_cells_does_not_matter(normalize, seed, n, k, d):
    c, e = drawn(seed, n, k, d)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(diffusion.wak(c[order], e[order], normalize), diffusion.wak(c, e, normalize)[order])


def test_rows_are_averages_and_columns_are_not():
    c, _ = drawn(0, 30, 4, 1, 2.0)
    ones = torch.ones(30, 1, dtype=torch.float64)
    torch.testing.assert_close(diffusion.wak(c, ones), ones)
    assert (diffusion.wak(c, ones, "column") - 1).abs().max() > 0.05
    with pytest.raises(ValueError, match=r"normalize='col' must be one of 'row', 'column', 'symmetric'"):
        diffusion.wak(c, ones, "col")


def test_one_cluster_is_the_mean_of_the_others_and_clusters_of_one_fall_back():
    e = drawn(0, 5, 1, 2)[1]
    others = (e.sum(0) - e) / 4
    torch.testing.assert_close(diffusion.wak(torch.ones(5, 1, dtype=torch.float64), e), others)
    for form in ("row", "column", "symmetric"):
        torch.testing.assert_close(diffusion.wak(torch.eye(5, dtype=torch.float64), e, form), others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_cell_alone_gives_no_nan_forwards_or_backwards(dtype):
    logits = torch.tensor([[80.0, 0, 0], [0, 80, 0], [0, 80, 0], [0, 79, 1]], dtype=dtype, requires_grad=True)
    e = torch.arange(8, dtype=dtype).reshape(4, 2).requires_grad_()
    found = diffusion.wak(logits.softmax(1), e)
    torch.testing.assert_close(found[0], e[1:].mean(0))
    found.square().sum().backward()
    assert logits.grad.isfinite().all()
    assert e.grad.isfinite().all()


def test_a_single_cell_keeps_its_values():
    e = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(diffusion.wak(torch.tensor([[0.3, 0.7]]), e), e)


@quick
@given(seed=st.integers(0, 10_000), parts=st.integers(1, 5))
def test_sums_over_parts_of_the_cells_add_up_to_those_of_all(seed, parts):
    c, e = drawn(seed, 20, 3, 2)
    pieces = [diffusion.cluster_sums(*part) for part in zip(c.tensor_split(parts), e.tensor_split(parts), strict=True)]
    sums = pieces[0]
    for piece in pieces[1:]:
        sums = sums.plus(piece)
    by_parts = [
        diffusion.average_within(a, b, sums) for a, b in zip(c.tensor_split(parts), e.tensor_split(parts), strict=True)
    ]
    torch.testing.assert_close(torch.cat(by_parts), dense(c, e), rtol=1e-6, atol=1e-6)


def test_new_cells_get_the_means_of_clusters():
    c, e = hard([0, 0, 1, 1, 1], 3), drawn(1, 5, 1, 2)[1]
    new = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0], [0, 0, 1]], dtype=torch.float64)
    found = diffusion.average_within(new, torch.zeros(3, 2).double(), diffusion.cluster_sums(c, e), inside=False)
    weights = torch.tensor([[0.5, 0.5, 0, 0, 0], [0.25, 0.25, 0.75, 0.75, 0.75], [0.2] * 5], dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)  # of the third cluster nothing is known: the mean of all
    torch.testing.assert_close(found, weights @ e)


# -------------------------------------------------------------------------------------------------------------- graphs


def graph(seed=0, n=12):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return diffusion.kernel(*diffusion.neighbors(x, 5), "distance")


@forms
def test_a_graph_is_normalised_as_its_dense_form(normalize):
    matrix = sparse.csr_array(np.random.default_rng(0).random((9, 9)) * (np.random.default_rng(1).random((9, 9)) > 0.4))
    p = matrix.toarray()
    np.fill_diagonal(p, 0)
    rows, columns = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    expected = {"row": p / rows, "column": p / columns, "symmetric": p / np.sqrt(rows * columns)}[normalize]
    np.testing.assert_allclose(diffusion.normalized(matrix, normalize).toarray(), expected, atol=1e-12)


def test_a_graph_form_that_is_none():
    with pytest.raises(ValueError, match="normalize='both' must be one of"):
        diffusion.normalized(graph(), "both")


def test_a_graph_within_hard_clusters_keeps_the_edges_inside():
    matrix, labels = graph(), np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, -1, -1])
    p = matrix.toarray() * ((labels[:, None] == labels) & (labels >= 0))
    total = p.sum(1, keepdims=True)
    np.testing.assert_allclose(diffusion.within(matrix, labels).toarray(), p / np.where(total > 0, total, 1), atol=1e-6)


def test_a_graph_within_soft_clusters_weighs_edges_by_shared_membership():
    matrix, c = graph(), drawn(0, 12, 3, 1)[0].numpy()
    p = matrix.toarray() * (c @ c.T)
    np.testing.assert_allclose(diffusion.within(matrix, c).toarray(), p / p.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
