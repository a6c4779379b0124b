"""Two processes, each with its own cells, end with one model. Run as a script, this file is one of the processes."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import traceback
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import scdeepclust as sdc
from scdeepclust import diffusion
from scdeepclust.methods import sharpening

LIMIT = 600  # seconds for a pair of processes; a fresh environment compiles for Leiden first
FIRST = {"equal": 150, "unequal": 205}  # cells of the first process, of 300
SAMPLE = 100  # cells that clusters start from, and that an update looks at, in the run that is called so

# In one worker: each would start all processes again.
pytestmark = [pytest.mark.distributed, pytest.mark.xdist_group("distributed")]


# -------------------------------------------------------------------------------------------------------- one process


def all_cells():
    return sdc.datasets.simulate_types(300, 100, n_types=3, separation=2.0, proportions=[0.5, 0.3, 0.2])


def together(variant):
    """Whether processes can train it together; scvi-tools trains in one, and the method says so."""
    return variant.name != "scvi"


def jobs():
    """Name, method and split of every run."""
    from conftest import plain, variants  # a script finds it; pytest has loaded it under another name

    for variant in filter(together, variants()):
        yield f"{variant}-unequal", variant.small, "unequal"
    yield "dec-sampled", functools.partial(sdc.methods.get, "dec", n_clusters=3, pretrain_steps=60), "sampled"
    for variant in filter(together, plain()):
        steps = {"pretrain_steps": 60} if "pretrain_steps" in variant.small().params else {}
        yield f"{variant}-no number", functools.partial(variant.small, n_clusters=None), "unequal"
        for split in FIRST:
            yield f"{variant}-{split}", functools.partial(variant.small, **steps), split


@contextmanager
def sampled():
    """Fewer cells than there are make starts and updates of the target, as with many cells."""
    before = diffusion.MOST_CELLS, sharpening.TO_UPDATE
    diffusion.MOST_CELLS = sharpening.TO_UPDATE = SAMPLE
    try:
        yield
    finally:
        diffusion.MOST_CELLS, sharpening.TO_UPDATE = before


def outcome(method, cells):
    model = sdc.Model(cells, method)
    model.train(batch_size=64, progress=False)
    state = {f"net.{k}": v for k, v in model.net.state_dict().items()}
    state |= {f"inputs.{k}": v for k, v in model.inputs.state_dict().items()} | {"order": model.order}
    return {
        "state": {k: v.numpy() for k, v in state.items()},
        "labels": model.predict(),
        "sizes": np.bincount(model.predict().astype(int), minlength=model.n_clusters),
        "n_epochs": len(model.history),
    }


def work(rank, folder):
    """Do the jobs that are not done; stop at the first that fails, as the other process then waits for ever."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting{len(list(folder.glob('*.0')))}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=240))
    done = {path.stem for path in folder.glob("*.0")}
    dist.barrier()
    adata = all_cells()
    for name, method, split in jobs():
        if name in done:
            continue
        first = FIRST.get(split, FIRST["unequal"])
        own = slice(first) if rank == 0 else slice(first, None)
        try:
            with sampled() if split == "sampled" else nullcontext():
                found = outcome(method(), adata[own].copy())
        except Exception:  # noqa: BLE001  whatever it is, the test shows it
            found = {"error": traceback.format_exc()}
        (folder / f"{name}.{rank}").write_bytes(pickle.dumps(found))
        if "error" in found:
            return
    dist.destroy_process_group()
    (folder / "finished").touch()


# ------------------------------------------------------------------------------------------------------ both of them


def start_both(folder):
    command = [sys.executable, "-W", "ignore", __file__]
    logs = [(folder / f"log{rank}").open("w") for rank in range(2)]
    pair = [
        subprocess.Popen([*command, str(rank), str(folder)], stdout=log, stderr=log) for rank, log in enumerate(logs)
    ]
    try:
        for process in pair:
            process.wait(LIMIT)
    finally:
        for process, log in zip(pair, logs, strict=True):
            process.kill()
            process.wait()
            log.close()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """What the two processes of each run ended with; all runs in one pair of processes, as starting one takes long."""
    folder = tmp_path_factory.mktemp("pairs")
    n_done = -1
    # A run that fails ends its pair, and a new one goes on with the next; the last one finds nothing left to do.
    while not (folder / "finished").exists() and (n_now := len(list(folder.glob("*.0")))) > n_done:
        n_done = n_now
        start_both(folder)

    def get(name):
        found = []
        for rank in range(2):
            path = folder / f"{name}.{rank}"
            if not path.exists():
                pytest.fail(f"process {rank} left nothing:\n" + (folder / f"log{rank}").read_text()[-3000:])
            found.append(pickle.loads(path.read_bytes()))
        errors = [one["error"] for one in found if "error" in one]
        if errors:
            pytest.fail("\n".join(errors))
        return found

    return get


def assert_equal_weights(pair):
    first, second = (one["state"] for one in pair)
    assert first.keys() == second.keys()
    different = [key for key in first if not np.array_equal(first[key], second[key])]
    assert not different


@pytest.fixture(autouse=True)
def can_be_shared(request):
    for name in {"method", "variant"} & set(request.fixturenames):
        if not together(request.getfixturevalue(name)):
            pytest.skip("trained by another package, in one process")


def test_two_processes_end_with_equal_weights(pairs, variant):
    assert_equal_weights(pairs(f"{variant}-unequal"))


@pytest.mark.parametrize("split", FIRST)
def test_two_processes_find_the_types_together(pairs, types, method, split):
    pair = pairs(f"{method}-{split}")
    assert_equal_weights(pair)
    found = np.concatenate([one["labels"] for one in pair])
    assert adjusted_rand_score(types.obs["cell_type"], found) > 0.9


def test_two_processes_take_equally_many_steps(pairs, variant):
    first, second = pairs(f"{variant}-unequal")
    assert first["n_epochs"] == second["n_epochs"]
    assert (first["n_epochs"] > 0) == ("pretrain_steps" in variant.small().params)


def test_two_processes_agree_on_the_number_of_clusters(pairs, method):
    pair = pairs(f"{method}-no number")
    assert_equal_weights(pair)
    assert len(pair[0]["sizes"]) == len(pair[1]["sizes"]) > 1


def test_clusters_are_numbered_by_their_size_over_both(pairs, variant):
    sizes = sum(one["sizes"] for one in pairs(f"{variant}-unequal"))
    assert sizes.sum() == 300
    assert (np.diff(sizes) <= 0).all()


def test_processes_that_look_at_a_sample_end_with_one_model_too(pairs):
    pair = pairs("dec-sampled")
    assert_equal_weights(pair)
    labels = np.concatenate([one["labels"] for one in pair])
    assert adjusted_rand_score(all_cells().obs["cell_type"], labels) > 0.9


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
