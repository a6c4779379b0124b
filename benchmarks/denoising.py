"""How near denoised values come to what is true (simulations) or held out (real counts), whatever smooths them.

    python benchmarks/denoising.py                                  everything, as in docs/benchmarks.md
    python benchmarks/denoising.py --quick                          two simulations and one set, one seed
    python benchmarks/denoising.py --peer magic=OTHER/bin/python    a Python that has magic-impute (with numpy below 2)
    python benchmarks/denoising.py --peer scself=OTHER/bin/python   ... that has scself

Rows already in the CSV are kept, so an interrupted run goes on; delete the file to start afresh.

**Simulations**: `simulate_types` and `simulate_lineage`, 1,500 cells x 500 genes, expected depth 200, 1,000 or 5,000,
dispersion 0 or 0.2, three seeds. A cell's true expression is log1p(rate x median total / sum of the cell's rates): its
expected counts, had it the depth of the median cell. `rmse` is the root of the mean over cells and genes of the squared
difference to it.

**Real counts**: each molecule goes to one of two halves at random. Every method sees the first half only (and splits
it again where it splits); the second half is what it should predict. `mse`: squared difference to the second half,
log-normalised at the median depth of the first, mean over cells and genes, noise included. `gain`: Poisson
log-likelihood of the second half by the cell's shares, expm1(values) over their sum, times its own depth, minus that by
the mean shares of all cells, in nats per 1,000 counts; depth alone gains nothing. (Shares are mixed with 1 % of the
mean shares, so that no count is impossible.) Halves share all that is not Poisson noise: amplified reads, as in
pollen14, make a cell predict itself. What our defaults choose by is an `mse` of halves of the first half.

A kernel can average logs, whose mean lies below the log of the mean, or rates: sums of counts over sums of depth, log1p
last. The first suits `mse` and the second `rmse` and `gain`, whatever the kernel; so compare kernels within one of them.
Methods whose name ends in `_rates` average rates, and so do ours unless their name ends in `_log`.

none             log1p of counts at the median depth
scanpy           sc.pp.pca (50) and sc.pp.neighbors (15), defaults; the cell and its neighbours weighted 1 and by their
                 connectivities, rows summing to one
scanpy_mean      the plain mean over the same 15, of which the cell itself is one as scanpy counts
magic            MAGIC 3 with its defaults (knn 5, knn_max 15, decay 1, t 3, 100 PCs) on square roots of counts at the
                 median depth, as its authors advise; its diffusion operator, applied as often as it says
magic_published  the square roots that it returns, squared, log1p
scself           scself 0.5.1 with its defaults on counts: `noise2self` chooses components and, cell by cell, neighbours;
                 `denoise_data` averages over that graph
ours             `pp.denoise` with its defaults
ours_self        ... with scheme="self" in `pp.neighbors`, as in DEWAKSS: graph and target from the same values;
                 `ours_self_log` is nearest to what DEWAKSS does
ours_gene        ... with scheme="gene_split": a graph of half of the genes is judged by the other half, so that it is not
                 made to follow what a cell's own molecules share beyond their rate (overdispersion, amplification)
ours_min         ... with rule="min"
ours_loops       ... with self_loops=True
ours_local       ... with local=True
log_limit        the expected logs (10 fresh draws of each cell from the truth at its own size factor, the variance of
                 their mean subtracted): what an average of logs comes to with endless cells of the right kind
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import chain, product
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402
from clustering import load  # noqa: E402

CSV = HERE / "results" / "denoising.csv"
OURS = {
    "ours": ({}, {}),
    "ours_log": ({}, {"average": "log"}),
    "ours_self": ({"scheme": "self"}, {}),
    "ours_self_log": ({"scheme": "self"}, {"average": "log"}),
    "ours_gene": ({"scheme": "gene_split"}, {}),
    "ours_min": ({"rule": "min"}, {}),
    "ours_loops": ({"self_loops": True}, {}),
    "ours_local": ({}, {"local": True}),
}
OTHERS = ["scanpy", "scanpy_rates", "scanpy_mean", "scanpy_mean_rates"]
BY_PEER = {"magic": ["magic", "magic_rates", "magic_published"], "scself": ["scself", "scself_rates"]}
METHODS = ["none", *OTHERS, *chain(*BY_PEER.values()), *OURS]
SIMULATIONS = [f"{kind}-{depth}-{a}" for kind, depth, a in product(("types", "lineage"), (200, 1000, 5000), (0, 0.2))]
SETS = [
    "pbmc4k_10x", "worm_neuron", "cbmc_citeseq", "paul15", "pbmc3k", "kang18_pbmc_ifnb", "pollen14",
    "cellbench_cell_lines", "cellbench_rnamix",
]  # fmt: skip
MOST_CELLS = 5_000
REDRAWS = 10
# What a peer's own Python runs: it reads counts, square roots and `values` (of which it makes means), and writes these
# means, and as `found` what it publishes where that is something else.
SMOOTHERS = {
    "magic": """
import magic
def smooth(given):
    operator = magic.MAGIC(verbose=0, random_state=int(given["seed"]))
    found = operator.fit_transform(given["roots"])
    values = given["values"]
    for _ in range(operator.t):
        values = operator.diff_op @ values
    return values, found
""",
    "scself": """
import scself
def smooth(given):
    graph = scself.noise2self(given["counts"], random_state=int(given["seed"]))[0]
    return scself.denoise_data(given["values"], graph), np.zeros(0)
""",
}
AROUND = """
import sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
{smoother}
given = dict(np.load(sys.argv[1]))
smooth({{key: value[:200] for key, value in given.items() if value.ndim}} | {{"seed": given["seed"]}})
start = time.process_time()
values, found = smooth(given)
np.savez(sys.argv[2], found=found, values=values, seconds=time.process_time() - start)
"""


def simulate(name, seed):
    """Counts, true expression, expected log-normalised values as means of redraws, and the variance of these means."""
    import numpy as np

    import scdeepclust as sdc

    kind, depth, dispersion = name.split("-")
    simulator = {"types": sdc.datasets.simulate_types, "lineage": sdc.datasets.simulate_lineage}[kind]
    adata = simulator(
        1_500, 500, mean_depth=float(depth), dispersion=float(dispersion), return_rates=True, random_state=seed
    )
    adata = adata[:, totals(adata.X, axis=0) > 0].copy()
    rate = np.asarray(adata.layers.pop("rate"), dtype=np.float64)
    median = np.median(totals(adata.X))
    rng = np.random.default_rng(1_000 + seed)
    mean, a = rate * adata.obs["size_factor"].to_numpy()[:, None], float(dispersion)
    total, square = np.zeros((2, *rate.shape))
    for _ in range(REDRAWS):
        counts = rng.poisson(mean * rng.gamma(1 / a, a, size=mean.shape) if a else mean)
        logs = np.log1p(counts * (median / np.maximum(counts.sum(1, keepdims=True), 1)))
        total += logs
        square += logs**2
    expected = total / REDRAWS
    noise = float((square / REDRAWS - expected**2).mean() / (REDRAWS - 1))
    return adata, np.log1p(rate * median / rate.sum(1, keepdims=True)), expected, noise


def halves(name, seed, most_cells=MOST_CELLS):
    """Two halves of the molecules of a real set, of the genes that the clustering benchmark uses."""
    import numpy as np
    from scipy import sparse

    adata, _ = load(name)
    adata = adata[:, adata.var["highly_variable"]].copy()
    if most_cells is not None and adata.n_obs > most_cells:
        adata = adata[np.sort(np.random.default_rng(0).choice(adata.n_obs, most_cells, replace=False))].copy()
    counts = sparse.csr_matrix(adata.X, dtype=np.float32)
    assert (counts.data == np.rint(counts.data)).all(), name
    first = counts.copy()
    first.data = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    second = sparse.csr_matrix(counts - first)
    for half in (first, second):
        half.eliminate_zeros()
    cells = (totals(first) >= 10) & (totals(second) >= 10)
    genes = totals(first[cells], axis=0) > 0
    adata = adata[cells][:, genes].copy()
    adata.X = first[cells][:, genes]
    return adata, second[cells][:, genes]


def totals(counts, axis=1):
    import numpy as np

    return np.asarray(counts.sum(axis)).ravel()


def normalised(counts, depth):
    import numpy as np

    return counts.toarray() * (depth / np.maximum(totals(counts), 1))[:, None]


class Denoised:
    """What each method makes of the same counts."""

    def __init__(self, adata, seed, pythons):
        import numpy as np

        self.adata, self.seed, self.pythons = adata, seed, pythons
        self.depth = totals(adata.X)
        self.median = np.median(self.depth)
        self.values = normalised(adata.X, self.median)
        self.logs = np.log1p(self.values)
        self._kernels, self._smoothed, self._ours = None, {}, {}

    def by(self, method):
        """Values, CPU seconds, and the choice that was made, if any."""
        import numpy as np

        if method == "none":
            return self.logs, 0.0, ""
        if method in OURS:
            return self.ours(*OURS[method])
        if peer := peer_of(method):
            published, counts, depth, logs, seconds = self.smoothed(peer)
            found = np.log1p(published**2) if method == "magic_published" else logs
        else:
            kernels, seconds = self.kernels()
            kernel = kernels[method.removesuffix("_rates")]
            start = time.process_time()
            counts, depth, found = kernel @ self.adata.X.toarray(), kernel @ self.depth, kernel @ self.logs
            seconds += time.process_time() - start
        if method.endswith("_rates"):
            found = np.log1p(counts * (self.median / np.maximum(depth, 1e-12))[:, None])
        return found, seconds, ""

    def kernels(self):
        """Row-stochastic matrices on scanpy's neighbours."""
        import numpy as np
        import scanpy as sc
        from scipy import sparse

        if self._kernels is None:
            start = time.process_time()
            bare = self.adata.copy()
            sc.pp.normalize_total(bare)
            sc.pp.log1p(bare)
            sc.pp.pca(bare, random_state=self.seed)
            sc.pp.neighbors(bare, random_state=self.seed)
            found = {"scanpy": bare.obsp["connectivities"], "scanpy_mean": (bare.obsp["distances"] > 0).astype(float)}
            for name, near in found.items():
                with_self = sparse.csr_array(near) + sparse.eye_array(bare.n_obs, format="csr")
                found[name] = (sparse.diags_array(1 / with_self.sum(1)) @ with_self).astype(np.float32)
            self._kernels = found, time.process_time() - start
        return self._kernels

    def ours(self, search, rest):
        import scdeepclust as sdc

        adata, seconds = self.searched(search)
        start = time.process_time()
        sdc.pp.denoise(adata, dense=True, random_state=self.seed, **rest)
        choice = adata.uns["n2s"]["choice"]
        text = "{n_pcs} PCs, {n_neighbors} {weights}, {n_steps}".format(**choice)
        return adata.layers["denoised"], seconds + time.process_time() - start, text

    def searched(self, search):
        """Cells with neighbours, and what they cost; the lowest loss is often what was chosen anyway."""
        import scdeepclust as sdc

        key = json.dumps(search)
        if search.get("rule") == "min":
            default, seconds = self.searched({})
            if default.uns["n2s"]["choice"] == default.uns["n2s"]["minimum"]:
                return default, seconds
        if key not in self._ours:
            start = time.process_time()
            adata = self.adata.copy()
            sdc.pp.neighbors(adata, random_state=self.seed, progress=False, **search)
            self._ours[key] = adata, time.process_time() - start
        return self._ours[key]

    def smoothed(self, peer):
        """What a peer publishes, its means of counts, of depth and of logs, and seconds."""
        import numpy as np

        if peer not in self._smoothed:
            n = self.adata.n_vars
            counts = self.adata.X.toarray()
            values = np.column_stack([counts, self.depth, self.logs]).astype(np.float32)
            with tempfile.TemporaryDirectory() as folder:
                given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
                np.savez(given, counts=counts, roots=np.sqrt(self.values), values=values, seed=self.seed)
                code = AROUND.format(smoother=SMOOTHERS[peer])
                subprocess.run([self.pythons[peer], "-c", code, str(given), str(found)], check=True)
                with np.load(found) as result:
                    values, published, seconds = result["values"], result["found"], float(result["seconds"])
            self._smoothed[peer] = published, values[:, :n], values[:, n], values[:, n + 1 :], seconds
        return self._smoothed[peer]


def peer_of(method):
    """The peer that a method is of, None for ours and scanpy's."""
    return next((peer for peer, methods in BY_PEER.items() if method in methods), None)


def root_mean_square(x, noise=0.0):
    """... of which a part is known to be noise."""
    import numpy as np

    return float(np.sqrt(max(0.0, np.square(x, dtype=np.float64).mean() - noise)))


def gain(values, first, second):
    """Nats per 1,000 counts that the cell's shares gain over the mean shares of all cells."""
    import numpy as np

    overall = totals(first, axis=0).astype(np.float64) + 0.01
    overall /= overall.sum()
    shares = np.expm1(np.maximum(values, 0), dtype=np.float64)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1e-12)
    shares = 0.99 * shares + 0.01 * overall
    second = second.tocoo()
    nats = second.data * (np.log(shares[second.row, second.col]) - np.log(overall[second.col]))
    return float(1_000 * nats.sum() / second.data.sum())


def work(name, seeds, pythons):
    """In a process of its own: one simulation or set, one JSON line for every seed and method."""
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    simulated = name in SIMULATIONS
    for seed, methods in seeds:
        if simulated:
            adata, truth, expected, noise = simulate(name, seed)
        else:
            adata, second = halves(name, seed)
            target = np.log1p(normalised(second, np.median(totals(adata.X))))
        if seed == seeds[0][0]:
            warm = Denoised(adata[:300][:, totals(adata.X[:300], axis=0) > 0].copy(), 0, pythons)
            for method in methods:
                if not peer_of(method):
                    warm.by(method)  # no seed pays for compilation
        denoised = Denoised(adata, seed, pythons)
        rows = [(method, *denoised.by(method)) for method in methods]
        if simulated and "none" in methods:
            rows.append(("log_limit", expected, 0.0, ""))
        for method, values, seconds, choice in rows:
            row = {"method": method, "data": name, "seed": seed, "rmse": None, "mse": None, "gain": None}
            row |= {"n_obs": adata.n_obs, "seconds": seconds, "choice": choice}
            if simulated:
                row["rmse"] = root_mean_square(values - truth, noise if method == "log_limit" else 0.0)
            else:
                row |= {"mse": root_mean_square(values - target) ** 2, "gain": gain(values, adata.X, second)}
            print(json.dumps(row), flush=True)


def run(jobs, pythons):
    """Run jobs, each in a process, one after another, and append their rows to the CSV as they come."""
    for name, seeds in jobs:
        score = "rmse" if name in SIMULATIONS else "gain"
        for row in harness.rows_of("denoising", name, seeds, pythons):
            harness.append(row, CSV, digits=5)
            print(f"{name:24s}{row['method']:20s}seed {row['seed']}  {score} {row[score]:.4f}", flush=True)


def tables(path=CSV):
    """Markdown: errors in simulations by depth, then losses on real counts, with how often each method wins."""
    import pandas as pd

    rows = pd.read_csv(path).drop_duplicates(["method", "data", "seed"], keep="last")
    real = rows["data"].isin(SETS)
    text = []
    for part, scores in ((rows[~real], ("rmse",)), (rows[real], ("mse", "gain"))):
        for score in scores if len(part) else ():
            text += [_summary(part, score), _by_data(part, score)]
    return "\n\n".join(text) + "\n"


def _wide(rows, score):
    wide = rows.pivot_table(index=["data", "seed"], columns="method", values=score, sort=False)
    return wide[[m for m in [*METHODS, "log_limit"] if m in wide and wide[m].notna().all()]]


def _summary(rows, score):
    """Means, how often a method is the best of all, and how often `ours` is better than it."""
    import pandas as pd

    wide = _wide(rows, score)
    loss = (-wide if score == "gain" else wide).drop(columns="log_limit", errors="ignore")
    name, n = wide.index.get_level_values("data"), len(wide)
    table = {"mean": wide.mean()}
    for part in ("types", "lineage", "-200-", "-1000-", "-5000-"):
        if name.str.contains(part).any():
            table[part.strip("-")] = wide[name.str.contains(part)].mean()
    table = pd.DataFrame(table).map("{:.4f}".format if score != "gain" else "{:.1f}".format)
    counts = {"best": loss.idxmin(axis=1).value_counts().reindex(loss.columns).fillna(0)}
    if "ours" in loss:
        counts["ours better"] = loss.drop(columns="ours").gt(loss["ours"], axis=0).sum()
    for column, count in counts.items():
        table[column] = [f"{count[m]:.0f} / {n}" if m in count else "" for m in table.index]
    table["seconds"] = rows.groupby("method")["seconds"].mean().map("{:.2f}".format)
    kind = "Simulations" if score == "rmse" else "Real counts, second half predicted from the first"
    return f"### {kind}: {score}, {n} runs\n\n" + harness.markdown(table)


def _by_data(rows, score):
    wide = _wide(rows, score).groupby("data", sort=False).mean()
    wide = wide.map("{:.4f}".format if score != "gain" else "{:.1f}".format)
    chosen = (
        rows[rows["method"] == "ours"].groupby("data")["choice"].agg(lambda c: "; ".join(dict.fromkeys(map(str, c))))
    )
    return harness.markdown(wide.join(chosen.rename("ours chose")))


def works(python, module):
    """Whether that Python can run a peer; if not, why."""
    if not Path(python).exists():
        return f"there is no {python}"
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--data", nargs="+", default=None, choices=[*SIMULATIONS, *SETS])
    parser.add_argument("--seeds", type=int, default=None)
    harness.add_peers(parser, BY_PEER)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    data = options.data or (["types-200-0", "lineage-1000-0.2", "pollen14"] if options.quick else [*SIMULATIONS, *SETS])
    n_seeds = options.seeds or (1 if options.quick else 3)
    methods = options.methods
    pythons = dict.fromkeys(BY_PEER, sys.executable) | dict(options.peer)
    for peer, theirs in BY_PEER.items():
        if set(methods).intersection(theirs) and (reason := works(pythons[peer], peer)):
            print(f"Without {peer}: {reason}", file=sys.stderr)
            methods = [m for m in methods if m not in theirs]
    done = harness.done(CSV, ["method", "data", "seed"])
    jobs = []
    for name in data:
        seeds = range(n_seeds if name in SIMULATIONS else 1)
        left = [(s, [m for m in methods if (m, name, s) not in done]) for s in seeds]
        jobs.append((name, [job for job in left if job[1]]))
    run([job for job in jobs if job[1]], pythons)
    harness.publish(CSV, tables())


if __name__ == "__main__":
    main()
