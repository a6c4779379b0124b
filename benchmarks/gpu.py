"""On a GPU: how fast, what a step of training consists of, and whether lower precision or compilation pays.

    python benchmarks/gpu.py                                       all parts, written to benchmarks/results/gpu_*.md
    python benchmarks/gpu.py --part end_to_end --cells 100000 1000000
    python benchmarks/gpu.py --part compiled --methods dec vade

end_to_end  `tl.deepclust` with its defaults on the GPU, with the number of clusters given (`ours`) and not (`chosen`), the same
            on the CPU, and scanpy's pipeline; a first run compiles. Cells of speed.py. On more than 250,000 only the GPU runs.
steps       A training step of 256 cells, as it is and one kernel at a time, on the GPU and on the CPU; how many kernels it
            has, the time in which one of them runs (a profiler slows them down), and how often the processor waits for the GPU.
precision   The same step with products of matrices in TF32 and in bfloat16 (autocast), and what these do to the labels, against
            another `random_state`: agreement (ARI) with those of single precision, of whole runs with the defaults.
compiled    The same step with the objective compiled by torch.compile; seconds of compilation, and the same agreement.

Times of steps are differences of two runs of a method, one longer, so that neither setting up nor what is recorded or compiled
counts. Seconds are those of the clock. Real counts: pbmc4k_10x.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import speed

RESULTS = Path(__file__).parent / "results"
N_STEPS = 100
TRAINED = {
    "aekmeans": ("aekmeans", {}),
    "dec": ("dec", {}),
    "idec": ("idec", {}),
    "idec zinb": ("idec", {"likelihood": "zinb"}),
    "scdeepcluster": ("scdeepcluster", {}),
    "vade": ("vade", {}),
    "contrastive": ("contrastive", {}),
    "triplet": ("triplet", {}),
    "dino": ("dino", {}),
    "mae": ("mae", {}),
    "deepwak": ("deepwak", {}),
}
SINGLE, TF32, HALF = "float32", "TF32", "bfloat16"


def end_to_end(sizes, rounds, device="cuda"):
    """Seconds on the device, on the CPU and of scanpy, interleaved; `chosen` has the number of clusters chosen."""
    runs = {
        "ours": lambda adata: speed.ours(adata, device=device),
        "chosen": lambda adata: speed.chosen(adata, device),
        "ours on the CPU": speed.ours,
        "scanpy": speed.scanpys,
    }
    small = speed.bootstrap(11_000)
    for run in runs.values():
        run(small.copy())
    for n_obs in sizes:
        adata = speed.bootstrap(n_obs)
        these = runs if n_obs <= speed.AT_ONCE else dict(list(runs.items())[:2])
        seconds = [
            [speed.timed(lambda run=run, a=adata: run(a.copy()))[0] for run in these.values()] for _ in range(rounds)
        ]
        row = {"cells": n_obs} | {f"{name}, s": "" for name in runs}
        row |= {f"{name}, s": median(column) for name, column in zip(these, zip(*seconds, strict=True), strict=True)}
        yield row | {"CPU / GPU": median(one[2] / one[0] for one in seconds) if len(these) > 2 else ""}


def train(name, device, n_steps):
    """Train a method for about so many steps a phase; the number of its epochs."""
    import scdeepclust as sdc

    method, options = TRAINED[name]
    known = {field.name for field in fields(sdc.methods.registry()[method])}
    wanted = {
        "n_clusters": speed.N_CLUSTERS,
        "pretrain_steps": n_steps,
        "cluster_steps": n_steps,
        "patience": n_steps,
        "tolerance": 0.0,
    }
    wanted = {key: value for key, value in wanted.items() if key in known} | options
    model = sdc.Model(sdc.datasets.pbmc4k_10x(), method, device=device, **wanted)
    model.train(progress=False)
    return len(model.history)


def per_step(measure, name, device="cuda"):
    """What `measure` finds in a run, by step: the difference of a longer and a shorter run, after one that warms up."""
    import scdeepclust as sdc

    n_batches = -(-sdc.datasets.pbmc4k_10x().n_obs // 256)
    train(name, device, N_STEPS)
    (few, n_few), (more, n_more) = (measure(lambda n=n: train(name, device, n)) for n in (N_STEPS, 4 * N_STEPS))
    return [(long - short) / (n_more - n_few) / n_batches for short, long in zip(few, more, strict=True)]


def clock(run):
    """Milliseconds of a run and what it returns."""
    start = time.perf_counter()
    n_epochs = run()
    return [(time.perf_counter() - start) * 1e3], n_epochs


def kernels(run):
    """Number of kernels, milliseconds in which at least one runs, and how often the processor waits."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        n_epochs = run()
    n, busy, end, waits = 0, 0.0, 0.0, 0
    for event in sorted(seen.events(), key=lambda event: event.time_range.start):
        if event.device_type == DeviceType.CUDA:
            n += 1
            busy += max(0.0, event.time_range.end - max(end, event.time_range.start))
            end = max(end, event.time_range.end)
        else:
            waits += "Synchronize" in event.name
    return [n, busy / 1e3, waits], n_epochs


@contextmanager
def plain():
    """Steps one kernel at a time."""
    from scdeepclust.train import Trainer

    replays, Trainer._replays = Trainer._replays, lambda *_: False
    try:
        yield
    finally:
        Trainer._replays = replays


@contextmanager
def objectives(change):
    """The objective of every phase changed by a function."""
    from scdeepclust.train import Trainer

    run = Trainer._run

    def changed(self, n, phase, **given):
        run(self, n, replace(phase, loss=change(phase.loss)) if phase.loss else phase, **given)

    Trainer._run = changed
    try:
        yield
    finally:
        Trainer._run = run


def compiled():
    """Objectives compiled; steps are recorded as they are without."""
    import torch

    return objectives(partial(torch.compile, dynamic=False))


def precise(name):
    """Products of matrices as precise as the name says; in bfloat16 those of the objective alone."""
    import torch

    torch.set_float32_matmul_precision("high" if name == TF32 else "highest")
    return objectives(torch.autocast("cuda", torch.bfloat16, cache_enabled=False)) if name == HALF else nullcontext()


def steps(names, device="cuda"):
    for name in names:
        here, cpu = per_step(clock, name, device)[0], per_step(clock, name, "cpu")[0]
        n, busy, waits = per_step(kernels, name, device)
        with plain():
            slow = per_step(clock, name, device)[0]
        yield {
            "method": name,
            "ms": here,
            "one by one, ms": slow,
            "CPU, ms": cpu,
            "CPU / GPU": cpu / here,
            "kernels": round(n),
            "of kernels, ms": busy,
            "waits": waits,
        }


def labels(name, random_state, precision, how=nullcontext):
    """Labels of a whole run with the defaults, in a process of its own."""
    import torch

    import scdeepclust as sdc

    torch.set_num_threads(1)
    method, options = TRAINED[name]
    with precise(precision), how():
        found = sdc.tl.deepclust(
            sdc.datasets.pbmc4k_10x(),
            method,
            n_clusters=speed.N_CLUSTERS,
            random_state=random_state,
            device="cuda",
            copy=True,
            progress=False,
            **options,
        )
    return found.obs["deepclust"].to_numpy()


def agreements(names, other, how, workers):
    """By method: ARI of a whole run with those of another seed, and with each of `other` ways of the same seed."""
    import scdeepclust as sdc

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        asked = {
            name: [pool.submit(labels, name, 0, SINGLE), pool.submit(labels, name, 1, SINGLE)]
            + [pool.submit(labels, name, 0, precision, how) for precision in other]
            for name in names
        }
        return {
            name: [sdc.metrics.ari(first.result(), one.result()) for one in rest]
            for name, (first, *rest) in asked.items()
        }


def precision(names, workers):
    agree = agreements(names, (TF32, HALF), nullcontext, workers)
    for name in names:
        ms = {}
        for each in (SINGLE, TF32, HALF):
            with precise(each):
                ms[f"{each}, ms"] = per_step(clock, name)[0]
        precise(SINGLE)
        columns = ("another seed, ARI", f"{TF32}, ARI", f"{HALF}, ARI")
        yield {"method": name} | ms | dict(zip(columns, agree[name], strict=True))


def compilation(names, workers):
    agree = agreements(names, (SINGLE,), compiled, workers)
    for name in names:
        as_it_is = per_step(clock, name)[0]
        with compiled():
            start = time.perf_counter()
            train(name, "cuda", N_STEPS)
            first = time.perf_counter() - start
            ms = per_step(clock, name)[0]
        columns = ("another seed, ARI", "compiled, ARI")
        row = {"method": name, "as it is, ms": as_it_is, "compiled, ms": ms, "first run, s": first}
        yield row | dict(zip(columns, agree[name], strict=True))


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["end_to_end", "steps", "precision", "compiled"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--methods", nargs="+", choices=list(TRAINED), default=list(TRAINED))
    parser.add_argument("--cells", nargs="+", type=int, default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.cuda.get_device_name()
    machine = f"{device}, {platform.machine()} with {torch.get_num_threads()} threads, torch {torch.__version__}"
    tables = {
        "end_to_end": ("From counts to clusters", lambda: end_to_end(options.cells, options.rounds)),
        "steps": ("Training steps", lambda: steps(options.methods)),
        "precision": ("Precision", lambda: precision(options.methods, options.workers)),
        "compiled": ("Compiled objectives", lambda: compilation(options.methods, options.workers)),
    }
    for part in options.part:
        title, make = tables[part]
        speed.write(RESULTS / f"gpu_{part}.md", f"{title} ({machine})", make())


if __name__ == "__main__":
    main()
