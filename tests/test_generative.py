"""Generative methods: the mixture's divergence, clusters that do not collapse, cells drawn, and models of scvi-tools."""

from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

import scdeepclust as sdc
from scdeepclust import losses, networks
from scdeepclust.methods.scvi import _speed_up as speed_up
from scdeepclust.networks.counts import trained_weights

FAST = {"pretrain_steps": 120, "cluster_steps": 120, "warmup_steps": 40, "n_init": 5}


def drawn(seed=0, n=5, k=4, d=3):
    """Posterior and sample of some cells, and a mixture, in double precision."""
    make = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=make, dtype=torch.float64)

    return random(n, d), random(n, d), random(n, d), (random(k), random(k, d), random(k, d))


def components(mixture):
    _, means, log_variances = mixture
    return Independent(Normal(means, (log_variances / 2).exp()), 1)


# -------------------------------------------------------------------------------------------------------- divergence


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_posterior_of_clusters_is_that_of_torch(seed, k, d):
    _, _, z, mixture = drawn(seed, k=k, d=d)
    joint = components(mixture).log_prob(z[:, None]) + mixture[0].log_softmax(0)
    expected = joint - joint.logsumexp(1, keepdim=True)
    torch.testing.assert_close(losses.mixture_log_posterior(z, *mixture), expected)
    whole = MixtureSameFamily(Categorical(logits=mixture[0]), components(mixture)).log_prob(z)
    torch.testing.assert_close(joint.logsumexp(1), whole)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_divergence_is_that_of_its_definition(seed, k, d):
    """KL(q(c) || p(c)) + sum_c q(c) KL(q(z) || p(z | c)), by the formulas of torch."""
    mean, log_variance, z, mixture = drawn(seed, k=k, d=d)
    gamma = Categorical(logits=losses.mixture_log_posterior(z, *mixture))
    prior = Categorical(logits=mixture[0]).expand(gamma.batch_shape)
    posterior = Independent(Normal(mean[:, None], (log_variance / 2).exp()[:, None]), 1).expand((len(z), k))
    within = kl_divergence(posterior, components(mixture).expand((len(z), k)))
    expected = (kl_divergence(gamma, prior) + (gamma.probs * within).sum(1)).mean()
    torch.testing.assert_close(losses.mixture_divergence(mean, log_variance, z, mixture), expected)


def test_divergence_is_the_papers_sum():
    """Entry by entry, as in equation 12 of the paper (with the weight of a component outside of the sum over dimensions)."""
    mean, log_variance, z, mixture = drawn(n=2, k=3, d=2)
    logits, means, log_variances = mixture
    total = 0.0
    for i in range(2):
        gamma = losses.mixture_log_posterior(z, *mixture)[i].exp()
        for c in range(3):
            weight = logits.softmax(0)[c]
            total -= gamma[c] * (weight / gamma[c]).log()
            for j in range(2):
                variance, own = log_variances[c, j].exp(), log_variance[i, j].exp()
                total += gamma[c] / 2 * (variance.log() + own / variance + (mean[i, j] - means[c, j]) ** 2 / variance)
        total -= (1 + log_variance[i]).sum() / 2
    assert losses.mixture_divergence(mean, log_variance, z, mixture).item() == pytest.approx(float(total) / 2)


def test_a_single_component_is_the_usual_divergence():
    mean, log_variance, z, _ = drawn()
    unit = torch.zeros(1, dtype=torch.float64), *torch.zeros(2, 1, 3, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(losses.mixture_divergence(mean, log_variance, z, unit), expected)


def test_divergence_has_finite_gradients_far_away():
    mean, log_variance, z, mixture = (torch.randn(4, 3) * 1e3, torch.zeros(4, 3), torch.randn(4, 3) * 1e3, None)
    mixture = torch.zeros(2), torch.tensor([[-1e3] * 3, [1e3] * 3]), torch.full((2, 3), -6.0)
    given_ = [t.requires_grad_() for t in (mean, log_variance, z, *mixture)]
    losses.mixture_divergence(*given_[:3], tuple(given_[3:])).backward()
    assert all(t.grad.isfinite().all() for t in given_)


# ----------------------------------------------------------------------------------------------------------- mixture


def test_a_mixture_takes_the_moments_of_clusters():
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(900, 3)) * [0.5, 1, 2], np.arange(900) % 3
    z += np.array([[0, 0, 0], [5, 0, 0], [0, 5, 0]])[labels]
    mixture = networks.Mixture(3)
    mixture.set(z, labels)
    for k in range(3):
        np.testing.assert_allclose(mixture.means[k].detach(), z[labels == k].mean(0), atol=1e-4)
        np.testing.assert_allclose(mixture.log_variances[k].detach().exp(), z[labels == k].var(0), rtol=0.02)
    np.testing.assert_allclose(mixture.logits.detach().softmax(0), 1 / 3, atol=1e-6)
    expected = GaussianMixture(3, covariance_type="diag", means_init=mixture.means.detach().numpy(), random_state=0)
    found = losses.mixture_log_posterior(torch.tensor(z, dtype=torch.float32), *mixture).argmax(1).numpy()
    assert adjusted_rand_score(expected.fit_predict(z), found) > 0.98


def test_a_cluster_of_one_cell_has_the_variance_of_the_others():
    z = np.r_[np.random.default_rng(0).normal(size=(50, 2)), [[9.0, 9.0]]]
    mixture = networks.Mixture(2)
    mixture.set(z, np.r_[np.zeros(50, int), 1])
    assert mixture.log_variances.isfinite().all()
    np.testing.assert_allclose(mixture.log_variances[1].detach().exp(), z[:50].var(0) / 2, rtol=0.1)


def test_variances_are_bounded_and_the_weight_grows():
    mixture = networks.Mixture(2)
    mixture.set(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2)
    assert float(mixture.warmth(9)) == pytest.approx(0.1)
    mixture.log_variances.data += torch.tensor([[100.0, -100.0]])
    for _ in range(20):
        mixture.step()
    np.testing.assert_allclose(mixture.log_variances.detach(), [[4, -6]] * 2)
    assert float(mixture.warmth(9)) == 1


# ------------------------------------------------------------------------------------------------------ no collapse


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("likelihood", ["nb", "mse"])
def test_no_cluster_is_lost(seed, likelihood):
    shares = [0.4, 0.25, 0.15, 0.1, 0.1]
    adata = sdc.datasets.simulate_types(300, 80, n_types=5, separation=1.5, proportions=shares, random_state=seed)
    model = sdc.Model(adata, "vade", n_clusters=5, likelihood=likelihood, drop_empty=True, random_state=seed, **FAST)
    model.train(progress=False)
    sizes = np.unique(model.predict(), return_counts=True)[1]
    assert len(sizes) == 5
    assert sizes.min() >= 10
    assert adjusted_rand_score(adata.obs["cell_type"].iloc[model.kept], model.predict()) > 0.8


def test_more_clusters_than_there_are_types_do_not_end_in_one(types):
    model = sdc.Model(types, "vade", n_clusters=12, **FAST)
    model.train(progress=False)
    sizes = np.unique(model.predict(), return_counts=True)[1]
    assert len(sizes) >= 6
    assert sizes.max() < 200


def test_more_clusters_than_cells(counts):
    with pytest.raises(ValueError, match=r"n_clusters=400 is more than the 300 cells"):
        sdc.tl.deepclust(counts, "vade", n_clusters=400, progress=False)


def test_a_singular_mixture_falls_back_on_k_means_with_a_warning(types, monkeypatch):
    def singular(self, z):
        msg = "ill-defined empirical covariance"
        raise ValueError(msg)

    monkeypatch.setattr(GaussianMixture, "fit_predict", singular)
    model = sdc.Model(types, "vade", n_clusters=3, start="gmm", **FAST)
    with pytest.warns(UserWarning, match=r"singular \(ill-defined.*k-means.*kept"):
        model.train(progress=False)
    assert adjusted_rand_score(types.obs["cell_type"], model.predict()) > 0.9


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fewer_distinct_cells_than_clusters(counts):
    """Twenty times the same cell and ten others: there are eleven different ones for twelve clusters."""
    x = counts.X.toarray()
    x[:290] = x[0]
    counts.X = x
    assert issubclass(ConvergenceWarning, UserWarning)
    model = sdc.Model(counts, "vade", n_clusters=12, drop_empty=True, n_pcs=5, **FAST)
    model.train(progress=False)
    assert np.isfinite(model.predict(soft=True)).all()


@pytest.mark.parametrize("start", ["kmeans", "gmm", pytest.param("leiden", marks=pytest.mark.slow)])
def test_every_start_finds_separated_types(types, start):
    model = sdc.Model(types, "vade", n_clusters=3, start=start, **FAST)
    model.train(progress=False)
    assert adjusted_rand_score(types.obs["cell_type"], model.predict()) > 0.95


def test_labels_are_those_of_the_posterior_mean(types):
    model = sdc.Model(types, "vade", n_clusters=3, **FAST)
    model.train(progress=False)
    z, mixture = model.get_latent_representation(), model.mixture
    assert sorted(mixture) == ["means", "variances", "weights"]
    assert mixture["weights"].sum() == pytest.approx(1, abs=1e-5)
    distance = ((z[:, None] - mixture["means"]) ** 2 / mixture["variances"] + np.log(mixture["variances"])).sum(2)
    log_density = np.log(mixture["weights"]) - distance / 2
    expected = np.exp(log_density - np.logaddexp.reduce(log_density, axis=1)[:, None])
    np.testing.assert_allclose(model.predict(soft=True), expected, atol=1e-4)


def test_counts_are_needed_unless_the_error_is_squared(lognorm):
    with pytest.raises(ValueError, match=r"Counts .* are needed.*likelihood='mse'"):
        sdc.tl.deepclust(lognorm, "vade", n_clusters=3, progress=False)
    found = sdc.tl.deepclust(lognorm, "vade", n_clusters=3, likelihood="mse", copy=True, progress=False, **FAST)
    assert adjusted_rand_score(lognorm.obs["cell_type"], found.obs["deepclust"]) > 0.95


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_a_library_of_zero(counts, likelihood):
    x = counts.X.toarray()
    x[4] = 0
    counts.X = x
    with pytest.raises(ValueError, match="1 cells have no counts in the genes used"):
        sdc.tl.deepclust(counts, "vade", n_clusters=3, likelihood=likelihood, progress=False)


# ------------------------------------------------------------------------------------------------------------ sampling


@pytest.fixture(scope="module")
def generative():
    """Three types in two batches, one of them with twice the depth of the other in the first ten genes."""
    adata = sdc.datasets.simulate_types(400, 60, n_types=3, separation=2.0, random_state=1)
    adata.obs["batch"] = ["a", "b"] * 200
    x = adata.X.toarray()
    x[1::2, :10] *= 3
    adata.X = x
    model = sdc.Model(adata, "vade", n_clusters=3, batch_key="batch", drop_empty=True, **FAST | {"pretrain_steps": 400})
    model.train(progress=False)
    return adata, model


def test_cells_drawn_look_like_those_of_their_cluster(generative):
    adata, model = generative
    labels, x = model.predict(), adata[:, model.var_names].X.toarray()
    scale = np.median(x.sum(1)) / x.sum(1, keepdims=True)
    means = {cluster: (x * scale)[labels == cluster].mean(0) for cluster in model.categories}
    for cluster in model.categories:
        drawn_ = model.sample(cluster, 500)
        assert drawn_.shape == (500, len(model.var_names))
        assert np.issubdtype(drawn_.dtype, np.integer)
        assert drawn_.min() >= 0
        correlation = {k: np.corrcoef(np.log1p(drawn_.mean(0)), np.log1p(v))[0, 1] for k, v in means.items()}
        assert max(correlation, key=correlation.get) == cluster
        assert correlation[cluster] > 0.9
        assert drawn_.sum(1).mean() == pytest.approx(means[cluster].sum(), rel=0.25)
    predicted = model.predict(soft=False)
    assert set(predicted) == set(model.categories)


def test_depth_and_batch_of_cells_drawn(generative):
    _, model = generative
    once, twice = (model.sample("0", 400, size_factor=factor).sum() for factor in (1.0, 2.0))
    assert twice / once == pytest.approx(2, rel=0.1)
    of_a, of_b = (model.sample("0", 400, covariates={"batch": batch})[:, :10].mean() for batch in "ab")
    assert of_b / of_a > 1.5


def test_drawing_repeats_itself_and_touches_no_global_state(generative):
    _, model = generative
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    np.testing.assert_array_equal(model.sample("1", 20), model.sample(1, 20, random_state=0))
    assert (model.sample("1", 20) != model.sample("1", 20, random_state=1)).any()
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_a_loaded_model_draws_the_same(generative, tmp_path):
    _, model = generative
    model.save(tmp_path / "model")
    loaded = sdc.Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.sample("2", 10), model.sample("2", 10))
    for name, value in model.mixture.items():
        np.testing.assert_array_equal(loaded.mixture[name], value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cluster": "7"}, ["cluster='7'", "'0', '1', '2'"]),
        ({"n": 0}, ["n=0", "at least 1"]),
        ({"n": 2.5}, ["n=2.5", "an integer"]),
        ({"size_factor": 0}, ["size_factor=0", "positive"]),
        ({"covariates": {"donor": "a"}}, ["'donor'", "'batch'"]),
        ({"covariates": {"batch": "c"}}, ["covariates['batch']='c'", "'a', 'b'"]),
    ],
    ids=str,
)
def test_what_cannot_be_drawn(generative, arguments, words):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, words))):
        generative[1].sample(**{"cluster": "0", "n": 3} | arguments)


def test_methods_without_a_model_of_cells_say_so(types, few):
    model = sdc.Model(types, few("idec"))
    model.train(progress=False)
    for ask in (lambda: model.sample("0", 3), lambda: model.mixture):
        with pytest.raises(TypeError, match=r"'idec' is no model of cells.*'vade'"):
            ask()


def test_zero_inflation_adds_zeros_to_cells_drawn(types):
    model = sdc.Model(types, "vade", n_clusters=3, likelihood="zinb", **FAST)
    model.train(progress=False)
    plain = (model.sample("0", 300) == 0).mean()
    model.net.zero_logits.weight.zero_()
    model.net.zero_logits.bias.fill_(3.0)
    assert (model.sample("0", 300) == 0).mean() > max(0.8, plain)


def test_features_are_drawn_where_no_counts_are_explained(types):
    types = types.copy()
    types.obsm["pcs"] = sdc.methods.get("idec").inputs("counts").fit(sdc.data.read(types), seed=0).numpy()
    model = sdc.Model(types, "vade", use_rep="pcs", n_clusters=3, likelihood="mse", **FAST)
    model.train(progress=False)
    assert model.sample("0", 7).shape == (7, model.inputs.n_features)


# ------------------------------------------------------------------------------------------------- models of scvi-tools


@pytest.fixture(scope="module")
def scvi():
    with warnings.catch_warnings():  # on import, its dependencies warn of each other
        warnings.simplefilter("ignore")
        return pytest.importorskip("scvi")


def batched(types):
    adata = types.copy()
    adata.X = adata.X.astype(np.float32)
    adata.obs["lane"], adata.obs["donor"] = ["x", "y", "z"] * 100, ["p", "q"] * 150
    return adata


@pytest.fixture(scope="module")
def peer(scvi, types):
    """A model trained by scvi-tools itself, and its cells."""
    return trained_peer(scvi, batched(types))


def trained_peer(scvi, adata, *, batch_key="lane", donor="donor", **options):
    options = {"n_latent": 5, "n_hidden": 16, "n_layers": 2, "gene_likelihood": "nb"} | options
    level = logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        scvi.model.SCVI.setup_anndata(adata, batch_key=batch_key, categorical_covariate_keys=[donor])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = scvi.model.SCVI(adata, **options)
            model.train(15, accelerator="cpu", enable_progress_bar=False)
        logging.getLogger("lightning.pytorch").setLevel(level)
    return adata, model


COVARIATES = {"batch_key": "lane", "categorical_covariate_keys": ["donor"]}


def test_our_network_with_its_weights_is_theirs(scvi, peer):
    adata, model = peer
    started = sdc.Model(batched(adata), "vade", n_clusters=3, init=model, cluster_steps=0, **COVARIATES)
    started.train(progress=False)
    z = model.get_latent_representation()
    np.testing.assert_allclose(started.get_latent_representation(), z, atol=1e-5)
    cells = started._cells(sdc.data.read(adata, **COVARIATES), 64)
    batch = next(cells.chunks())
    with torch.no_grad():
        decoded = started.net.decode(started.net.encode(batch.x), batch.covariates)
        rate = decoded.log_counts(batch.size).exp().numpy()
    expected = model.get_likelihood_parameters(n_samples=1, give_mean=False)
    # theirs are at a sample of the latent variables; those of a decoder at their mean come from the module
    with torch.inference_mode():
        lanes, donors = (
            torch.tensor(adata.obs[key].astype("category").cat.codes.to_numpy().copy())[:, None].long()
            for key in ("lane", "donor")
        )
        library = torch.tensor(adata.X.sum(1)).float().reshape(-1, 1).log()
        theirs = model.module.decoder("gene", torch.tensor(z), library, lanes, donors)[2].numpy()
    np.testing.assert_allclose(rate, theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(started.net.log_dispersion.exp(), np.asarray(expected["dispersions"])[0], rtol=1e-4)


def test_vade_from_a_trained_model_clusters_and_is_saved(peer, tmp_path):
    adata, model = peer
    options = {"cluster_steps": 40, "warmup_steps": 10, "n_init": 3}
    found = sdc.tl.deepclust(
        adata, "vade", n_clusters=3, init=model, copy=True, progress=False, **options, **COVARIATES
    )
    params = found.uns["deepclust"]["params"]
    assert (params["network_type"], params["hidden"], params["n_latent"]) == ("batchnorm", [16, 16], 5)
    started = sdc.Model(adata, "vade", n_clusters=3, init=model, **options, **COVARIATES)
    started.train(progress=False)
    started.save(tmp_path / "model")
    new = batched(adata)
    np.testing.assert_allclose(
        sdc.Model.load(tmp_path / "model").get_latent_representation(new),
        started.get_latent_representation(),
        atol=1e-5,
    )
    assert started.sample("0", 4).shape == (4, 100)


def test_what_vade_cannot_start_from(scvi, peer):
    adata, model = peer

    def refused(error, *words, cells=adata, init=model, method="vade", **arguments):
        with pytest.raises(error) as raised:
            sdc.tl.deepclust(cells, method, n_clusters=3, init=init, progress=False, **COVARIATES | arguments)
        for word in words:
            assert word in str(raised.value)

    refused(TypeError, "init", "not dict", init={})
    refused(TypeError, "'idec' does not start from", "'vade'", method="idec")
    refused(ValueError, "other genes", "100 there, 90 here", cells=adata[:, 10:].copy())
    refused(ValueError, "categories", "batch_key", batch_key=None)
    untrained = scvi.model.SCVI(adata)
    refused(ValueError, "not trained", init=untrained)


def test_layers_and_likelihoods_that_cannot_be_taken_over(scvi, types):
    adata, model = trained_peer(scvi, batched(types), use_batch_norm="none")
    with pytest.raises(ValueError, match="layers that are not scvi-tools' default"):
        sdc.tl.deepclust(adata, "vade", n_clusters=3, init=model, progress=False, **COVARIATES)
    adata, model = trained_peer(scvi, batched(types), gene_likelihood="poisson")
    with pytest.raises(ValueError, match="likelihood 'poisson'"):
        sdc.tl.deepclust(adata, "vade", n_clusters=3, init=model, progress=False, **COVARIATES)


def test_layers_with_batch_normalisation_train_on_their_own(types):
    options = FAST | {"network_type": "batchnorm", "hidden": (32,), "n_latent": 6}
    found = sdc.tl.deepclust(types, "vade", n_clusters=3, copy=True, progress=False, **options)
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.95


@pytest.mark.parametrize(
    "given", [{"likelihood": "mse"}, {"hidden": (8, 4)}, {"hidden": ()}, {"locality": 1.0}], ids=str
)
def test_layers_that_cannot_be(given):
    with pytest.raises(ValueError, match="network_type='batchnorm' explains counts by layers of one width"):
        sdc.methods.get("vade", network_type="batchnorm", **{"hidden": (8,)} | given)


def test_the_embedding_is_that_of_the_model_that_scvi_tools_trained(scvi, types, monkeypatch):
    taken = []

    def recording(module, n_categories):
        taken.append({k: v.clone() for k, v in module.state_dict().items()})
        return trained_weights(module, n_categories)

    adata = batched(types)
    model = sdc.Model(adata, "scvi", n_clusters=3, max_epochs=10, n_hidden=16, **COVARIATES)
    monkeypatch.setattr(networks, "trained_weights", recording)
    model.train(progress=False)
    _, theirs = trained_peer(scvi, adata, n_latent=10, n_layers=1, gene_likelihood="zinb")
    theirs.module.load_state_dict(taken[0])
    np.testing.assert_allclose(model.get_latent_representation(), theirs.get_latent_representation(), atol=1e-5)
    history = model.history[model.history["phase"] == "train"]
    assert len(history) == 10
    assert history["elbo_train"].iloc[-1] < history["elbo_train"].iloc[0]


def test_a_covariate_of_one_category_beside_another(scvi, types):
    """scvi-tools gives it no column."""
    adata = batched(types)
    adata.obs["site"] = "one"
    covariates = {"batch_key": "site", "categorical_covariate_keys": ["lane"]}
    model = sdc.Model(adata, "scvi", n_clusters=3, max_epochs=2, **covariates)
    model.train(progress=False)
    _, theirs = trained_peer(scvi, adata.copy(), batch_key="site", donor="lane")
    started = sdc.Model(adata, "vade", n_clusters=3, init=theirs, cluster_steps=0, **covariates)
    started.train(progress=False)
    np.testing.assert_allclose(started.get_latent_representation(), theirs.get_latent_representation(), atol=1e-5)
    z = torch.as_tensor(theirs.get_latent_representation())
    lane = torch.as_tensor(pd.Categorical(adata.obs["lane"]).codes.astype(np.int64))
    told = torch.nn.functional.one_hot(lane, 3).float()
    theirs.module.eval()
    with torch.no_grad():
        share = started.net.decode(z, torch.cat([torch.ones(len(z), 1), told], 1)).mean.exp()
        scale, *_ = theirs.module.decoder("gene", z, torch.ones(len(z), 1), lane[:, None] * 0, lane[:, None])
    np.testing.assert_allclose(share, scale, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_scvi_learns_from_the_loss_and_gradients_of_scvi_tools(scvi, types, likelihood):
    adata = types.copy()
    adata.X = (adata.X.multiply(np.random.default_rng(0).integers(1, 300, (300, 1)))).tocsr().astype(np.float32)
    scvi.model.SCVI.setup_anndata(adata)
    # From some weights theirs, in float32, is itself off by 1e-5 of what it is in float64.
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = scvi.model.SCVI(adata, gene_likelihood=likelihood)
    cells = next(iter(scvi.dataloaders.AnnDataLoader(model.adata_manager, batch_size=128)))

    def loss_and_gradients():
        model.module.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found = model.module.train()(cells, loss_kwargs={"kl_weight": 0.5})[2]
        found.loss.backward()
        assert found.reconstruction_loss_sum.item() > 0
        return found, [w.grad.clone() for w in model.module.parameters() if w.grad is not None]

    expected, gradients = loss_and_gradients()
    speed_up(model.module)
    found, ours = loss_and_gradients()
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    assert found.reconstruction_loss_sum.item() == pytest.approx(expected.reconstruction_loss_sum.item(), rel=1e-5)
    assert len(ours) == len(gradients) > 10
    for mine, theirs in zip(ours, gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * max(1.0, theirs.abs().max().item()))


def test_scvi_shows_its_progress_on_standard_error(types, few, capsys):
    sdc.Model(types, few("scvi")).train(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Epoch" in err


@pytest.mark.parametrize("cluster", ["gmm", "leiden"])
def test_scvi_with_other_algorithms(types, few, cluster):
    found = sdc.tl.deepclust(types, few("scvi", max_epochs=40, cluster=cluster), copy=True, progress=False)
    assert adjusted_rand_score(types.obs["cell_type"], found.obs["deepclust"]) > 0.9


def test_clusters_of_scvi_can_be_sharpened(types, few, tmp_path):
    models = {}
    for cluster in ("kmeans", "hardening"):
        models[cluster] = sdc.Model(types, few("scvi", max_epochs=40, cluster=cluster, cluster_steps=60))
        models[cluster].train(progress=False)
    plain, sharp = models["kmeans"], models["hardening"]
    assert adjusted_rand_score(types.obs["cell_type"], sharp.predict()) > 0.9
    # it begins with what k-means has, and only moves it
    np.testing.assert_array_equal(sharp.latent_before, plain.get_latent_representation())
    losses = sharp.history.query("phase == 'cluster'")["hardening"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert sharp.predict(soft=True).max(1).mean() > sharp.memberships(sharp.latent_before).max(1).mean()
    kept = {name: w for name, w in plain.net.state_dict().items() if "running" in name or name.startswith("decoder.")}
    assert kept
    for name, weights in kept.items():
        assert torch.equal(sharp.net.state_dict()[name], weights), name
    sharp.save(tmp_path / "model")
    np.testing.assert_array_equal(sdc.Model.load(tmp_path / "model").predict(types), sharp.predict())


def test_scvi_has_no_use_for_what_is_no_counts(lognorm):
    with pytest.raises(ValueError, match="Counts"):
        sdc.tl.deepclust(lognorm, "scvi", n_clusters=3, progress=False)
