"""The training loop: interruption, early stopping, history, progress, divergence."""

from __future__ import annotations

import sys
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

import scdeepclust as sdc
from scdeepclust import progress
from scdeepclust.checkpoint import Checkpoint
from scdeepclust.data import Cells
from scdeepclust.data.rows import Rows
from scdeepclust.schedule import Phase
from scdeepclust.train import Interrupted, Trainer

pytestmark = pytest.mark.filterwarnings("ignore::scdeepclust.losses.clustering.collapse.CollapseWarning")


# ------------------------------------------------------------------------------------------------------- interruption


@pytest.fixture
def interrupt(monkeypatch):
    """Press control-C at the `at`th minibatch of phase number `n`; the list returned tells that it was."""

    def arm(n, at=5):
        fit = Trainer.fit
        pressed = []

        def interrupted(self, phases):
            calls, inner = [], phases[n].loss

            def loss(batch):
                calls.append(batch)
                if len(calls) == at:
                    pressed.append(n)
                    raise KeyboardInterrupt
                return inner(batch)

            phases = [replace(phase, loss=loss) if i == n else phase for i, phase in enumerate(phases)]
            return fit(self, phases)

        monkeypatch.setattr(Trainer, "fit", interrupted)
        return pressed

    return arm


def trained(types, method, path=None):
    model = sdc.Model(types, method)
    model.train(batch_size=128, checkpoint=path, progress=False)
    return model


@pytest.mark.parametrize("phase", [0, 1], ids=["first phase", "second phase"])
def test_an_interrupted_run_still_gives_labels_and_can_go_on(
    types, training, interrupt, phase, tmp_path, monkeypatch, same
):
    path = tmp_path / "run.ckpt"
    whole = trained(types, training.small())
    if len(set(whole.history["phase"])) <= phase:
        pytest.skip(f"{training.name} trains in one phase")
    pressed = interrupt(phase)
    with pytest.warns(Interrupted, match="interrupted in phase"):
        partly = trained(types, training.small(), path)
    assert pressed == [phase]
    assert len(partly.history) < len(whole.history)
    assert set(partly.predict()) == {"0", "1", "2"}
    assert np.isfinite(partly.get_latent_representation()).all()
    monkeypatch.undo()
    again = trained(types, training.small(), path)
    same(again.history, whole.history)
    same(again.predict(soft=True), whole.predict(soft=True))


def test_an_interrupted_run_writes_results(counts, few, interrupt):
    interrupt(0)
    with pytest.warns(Interrupted):
        sdc.tl.deepclust(counts, few("idec"), progress=False, batch_size=128)
    assert counts.obs["deepclust"].notna().all()
    assert counts.uns["deepclust"]["interrupted"] is True


def test_a_run_that_nobody_interrupts_does_not_say_so(counts, few):
    sdc.tl.deepclust(counts, few("idec"), progress=False, batch_size=128)
    assert "interrupted" not in counts.uns["deepclust"]


def test_an_interrupted_phase_is_not_stored_as_finished(types, few, interrupt, tmp_path, monkeypatch):
    places = []
    save = Checkpoint.save

    def recording(self, state):
        save(self, state)
        places.append(state["at"])

    monkeypatch.setattr(Checkpoint, "save", recording)
    interrupt(0)
    with pytest.warns(Interrupted):
        trained(types, few("idec"), tmp_path / "run.ckpt")
    assert places == [(0, 1)]


def test_a_crash_while_saving_leaves_the_last_state(types, few, tmp_path, monkeypatch, same):
    path, n_saved = tmp_path / "run.ckpt", []
    save = torch.save

    def full(state, target):
        n_saved.append(target)
        if len(n_saved) == 3:
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(state, target)

    whole = trained(types, few("idec"))
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        trained(types, few("idec"), path)
    monkeypatch.undo()
    same(trained(types, few("idec"), path).predict(soft=True), whole.predict(soft=True))


# ------------------------------------------------------------------------------------------------------ early stopping


class Scripted(nn.Module):
    """One weight that Adam moves up by the learning rate at every step."""

    def __init__(self):
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        """The loss on cells held out is lowest after three steps."""
        return {"loss": -self.steps if self.training else (self.steps - 3).abs() + 1}


def scripted(patience, epochs=20, **arguments):
    net = Scripted()
    cells = Cells(device=torch.device("cpu"), batch_size=100, x=torch.zeros(40, 1))
    trainer = Trainer(net, cells, seed=0, progress=False, **arguments)
    phase = Phase("pretrain", epochs, net.loss, patience=patience, lr=1.0)
    return net, trainer.fit([phase])


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_early_stopping_keeps_the_weights_of_the_lowest_loss(patience):
    net, history = scripted(patience)
    assert len(history) == 3 + patience
    assert net.steps.item() == pytest.approx(3, abs=1e-4)
    assert [row["held_out"] for row in history] == pytest.approx(
        [abs(i - 3) + 1 for i in range(1, len(history) + 1)], abs=1e-4
    )


def test_without_early_stopping_the_last_weights_stay():
    net, history = scripted(None)
    assert len(history) == 20
    assert net.steps.item() == pytest.approx(20, abs=1e-3)
    assert "held_out" not in history[0]


def test_epochs_may_end_before_patience():
    net, history = scripted(10, epochs=5)
    assert len(history) == 5
    assert net.steps.item() == pytest.approx(3, abs=1e-4)


def test_early_stopping_goes_on_from_any_epoch(tmp_path, monkeypatch):
    states, save = [], Checkpoint.save

    def recording(self, state):
        save(self, state)
        states.append(self.path.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", recording)
        net, history = scripted(2, checkpoint=Checkpoint(tmp_path / "whole", "a"))
    assert len(states) == len(history) + 1
    n_run, train = [], Trainer._epoch
    monkeypatch.setattr(Trainer, "_epoch", lambda *given: n_run.append(1) or train(*given))
    for i, state in enumerate(states):
        (tmp_path / str(i)).write_bytes(state)
        n_run.clear()
        again, history_again = scripted(2, checkpoint=Checkpoint(tmp_path / str(i), "a"))
        assert len(n_run) == max(len(history) - i - 1, 0)
        assert history_again == history
        assert torch.equal(again.steps, net.steps)


def test_held_out_cells_are_a_tenth_and_not_trained_on():
    net, seen = Scripted(), {True: set(), False: set()}

    def loss(batch):
        seen[net.training].update(batch.index.tolist())
        return net.loss(batch)

    cells = Cells(device=torch.device("cpu"), batch_size=7, x=torch.zeros(40, 1))
    Trainer(net, cells, seed=0, progress=False).fit([Phase("pretrain", 3, loss, patience=9)])
    assert len(seen[False]) == 4
    assert seen[True] == set(range(40)) - seen[False]


# ------------------------------------------------------------------------------------------------------------- refresh


def refreshed(changes, **arguments):
    """Epochs and refreshes of a phase whose refreshes report these changes of labels."""
    net, calls, reports = Scripted(), [], iter(changes)
    cells = Cells(device=torch.device("cpu"), batch_size=100, x=torch.zeros(40, 1))

    def refresh():
        calls.append(int(net.steps.item() + 0.5))
        return next(reports)

    phase = Phase("cluster", 8, net.loss, refresh=refresh, lr=1.0, **arguments)
    return Trainer(net, cells, seed=0, progress=False).fit([phase]), calls


def test_refreshes_come_every_so_many_epochs():
    history, calls = refreshed([1.0] * 8, every=3)
    assert len(history) == 8
    assert calls == [0, 3, 6]


@pytest.mark.parametrize(
    ("changes", "n_epochs"),
    [
        pytest.param([1, 0.5, 0.2, 0.1, 0.004], 4, id="settled"),
        pytest.param([1, 0, 0, 0], 3, id="not at the first refreshes"),
        pytest.param([1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 8, id="never"),
    ],
)
def test_a_phase_ends_when_labels_settle(changes, n_epochs):
    history, _ = refreshed(changes, tolerance=0.01, min_refreshes=3)
    assert len(history) == n_epochs


# ------------------------------------------------------------------------------------------------- history, divergence


def test_history_has_a_row_an_epoch_and_a_column_a_term(types, training):
    history = trained(types, training.small()).history
    assert list(history.columns[:2]) == ["phase", "epoch"]
    for _, part in history.groupby("phase", sort=False):
        assert part["epoch"].tolist() == list(range(len(part)))
    assert history.select_dtypes("number").shape[1] == history.shape[1] - 1
    terms = history.columns.difference(["phase", "epoch", "held_out", "label_change"])
    assert len(terms) >= 1
    assert history[terms].notna().any().all()


def test_training_lowers_its_loss(types, training):
    history = trained(types, training.small(pretrain_steps=60)).history
    first = history[history["phase"] == history["phase"].iloc[0]].dropna(axis=1)
    loss = first.drop(columns=["phase", "epoch", "held_out"], errors="ignore").sum(axis=1)
    assert loss.iloc[-1] < loss.iloc[0]


LEARNING_RATES = [
    (name, f.name)
    for name, kind in sdc.methods.registry().items()
    for f in fields(kind)
    if f.name in {"lr", "cluster_lr"}
]


# Overflow on the way there may be mentioned too.
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "rate"), LEARNING_RATES, ids=lambda x: x)
def test_divergence_is_one_clear_error(counts, few, name, rate, same):
    before = counts.copy()
    names = {f.name for f in fields(sdc.methods.registry()[name])} & {"pretrain_steps", "cluster_steps"}
    budget = dict.fromkeys(names, 30) | {rate: 1e30}
    if (name, rate) == ("scvi", "cluster_lr"):
        budget |= {"cluster": "hardening"}
    with pytest.raises(ValueError, match=r"diverged.* learning rate"):
        sdc.tl.deepclust(counts, few(name, **budget), progress=False, batch_size=300)
    same(counts, before)


@pytest.mark.parametrize("patience", [None, 2])
def test_divergence_in_the_very_last_step_is_noticed(patience):
    net = Scripted()
    cells = Cells(device=torch.device("cpu"), batch_size=100, x=torch.zeros(40, 1))
    # Zero, with an infinite slope.
    phase = Phase("pretrain", 1, lambda _: {"loss": (net.steps - net.steps.detach()).sqrt()}, patience=patience)
    with pytest.raises(ValueError, match=r"diverged in phase 'pretrain'.* learning rate"):
        Trainer(net, cells, seed=0, progress=False).fit([phase])


# ------------------------------------------------------------------------------------------------------------ progress


def test_without_progress_nothing_is_printed(types, method, capsys):
    trained(types, method.small())
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_standard_error(types, training, capsys):
    model = sdc.Model(types, training.small())
    model.train(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert model.history["phase"].iloc[0] in err


@pytest.mark.parametrize(("watched", "updates"), [(True, 40), (False, 0)], ids=["terminal", "log"])
def test_in_a_log_progress_takes_a_line_at_the_end_and_not_one_a_step(monkeypatch, capsys, watched, updates):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched, raising=False)
    for _ in progress.bar(range(40), desc="steps"):
        time.sleep(0.11 if watched else 0.02)
    found = capsys.readouterr().err.split("\r")
    assert "40/40" in found[-1]
    assert updates - 10 <= len(found) - 3 <= updates + 2


def test_what_a_model_gives_away_is_a_copy(types):
    model = sdc.Model(types, "dec", n_clusters=3, pretrain_steps=5, cluster_steps=5)
    model.train(progress=False)
    before = model.predict()
    z = model.get_latent_representation()
    np.testing.assert_allclose(model.memberships(z.astype(np.float64)), model.predict(soft=True), rtol=1e-5)
    z -= 3
    np.testing.assert_array_equal(model.predict(), before)


def test_a_model_with_numbers_of_numpy_can_be_saved(types, tmp_path):
    numbers = {"drop_empty": np.asarray([True])[0], "min_signal": np.float32(0.25)}
    model = sdc.Model(types, "dec", pretrain_steps=5, cluster_steps=5, **numbers)
    model.train(progress=False)
    model.save(tmp_path / "model")
    assert sdc.Model.load(tmp_path / "model").selection["min_signal"] == 0.25


def test_a_held_out_loss_below_zero_stops_like_any_other():
    """A loss that rises is no gain, whatever its sign."""
    trainer = Trainer.__new__(Trainer)
    trainer.best = {"loss": -1.0}
    assert not trainer._gains(-0.9995)
    assert trainer._gains(-1.1)
    trainer.best = {}
    assert trainer._gains(5.0)


# ------------------------------------------------------------------------------------------- steps that a GPU records


def test_a_step_that_a_gpu_records_asks_nothing_of_the_data(variant, types, monkeypatch):
    """On torch's meta device tensors have shapes and no values, so asking for one is an error."""
    seen, fit, meta = {}, Trainer.fit, torch.device("meta")
    monkeypatch.setattr(Trainer, "fit", lambda self, phases: seen.update(cells=self.cells) or fit(self, phases))
    model = trained(types, variant.small(**({"n_clusters": None} if variant.name in {"dec", "idec"} else {})))
    cells = seen["cells"]
    monkeypatch.setattr(torch, "binomial", lambda count, *_, **__: torch.empty_like(count))  # meta has none
    net, inputs = model.net.to(meta).train(), model.inputs.to(meta)
    moved = {f.name: getattr(cells, f.name).to(meta) for f in fields(Cells) if torch.is_tensor(getattr(cells, f.name))}
    rows = None if cells.rows is None else Rows(cells.rows.matrix, meta)
    cells = replace(cells, device=meta, features=inputs.features, rows=rows, **moved)
    phases = [phase for phase in model.method.schedule(net, cells, 0) if phase.epochs]
    assert all(phase.recordable for phase in phases) or variant.name == "deepwak"
    for phase in phases:
        if phase.recordable:
            assert all(term.device == meta for term in phase.loss(cells[torch.arange(20)]).values())
