"""The one training loop. A method gives it phases; all state lives in the network, so a run can stop and go on."""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .distributed import average_gradients, n_processes, rank, total
from .progress import bar
from .replay import Replay
from .seeding import forked, reseed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .checkpoint import Checkpoint
    from .data import Cells
    from .schedule import Phase

# A held-out loss has to fall by this share to count as lower: smaller gains cost epochs and change no label.
MIN_GAIN = 1e-3


@contextmanager
def kept_threads() -> Iterator[None]:
    """Give torch its number of threads back: numba's parallel code (scanpy's neighbours) changes it for the process.

    Left changed, it would slow training down on a busy machine and alter the last digits of its results.
    """
    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


class Interrupted(UserWarning):
    """Training was stopped by the user; results are those of the best state so far."""


class Trainer:
    """Runs a schedule over cells.

    Parameters
    ----------
    net
        The network; its parameters and buffers are all the state that a method has.
    cells
        The cells of this process.
    seed
        Seed of the private random generator.
    checkpoint
        Where to save after every epoch and what to go on from.
    progress
        Whether to show a progress bar on standard error.
    """

    def __init__(
        self, net: nn.Module, cells: Cells, *, seed: int, checkpoint: Checkpoint | None = None, progress: bool = True
    ) -> None:
        self.net, self.cells, self.seed, self.checkpoint = net, cells, seed, checkpoint
        self.show = progress and rank() == 0
        self.generator = torch.Generator().manual_seed(seed + rank())
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}  # of the phase under way: lowest held-out loss, its weights, epochs since
        self.before: dict[str, Any] | None = None  # weights before clusters were pulled apart
        self.interrupted = False

    def fit(self, phases: list[Phase]) -> list[dict[str, Any]]:
        """Run the phases, or what a checkpoint left of them, and return the history: one dictionary an epoch."""
        stored = self.checkpoint.load() if self.checkpoint else None
        at = self._restore(stored) if stored else (0, 0)
        with forked(self.cells.device):
            for n, phase in enumerate(phases):
                if n >= at[0]:
                    self._run(n, phase, first=at[1] if n == at[0] else 0, stored=stored if n == at[0] else None)
                    stored = None
        return self.history

    def _run(self, n: int, phase: Phase, *, first: int, stored: dict[str, Any] | None) -> None:
        if not first:
            self._begin(phase)
        self._run_elsewhere(phase)
        self.net.train()
        optimizer = self._optimizer(phase) if phase.epochs else None
        if first and stored:
            optimizer.load_state_dict(stored["optimizer"])
        step = self._step(phase, optimizer)
        seen, held_out = self._split(phase)
        shown = bar(
            total=phase.epochs, initial=first, desc=phase.name, unit="epoch", disable=not self.show or not phase.epochs
        )
        latest: dict[str, str] = {}
        try:
            for epoch in range(first, phase.epochs):
                if self.interrupted or self._out_of_patience(phase):
                    break
                row: dict[str, Any] = {"phase": phase.name, "epoch": epoch}
                if phase.refresh and epoch % phase.every == 0:
                    with torch.no_grad():
                        changed = phase.refresh()
                    if epoch // phase.every >= phase.min_refreshes and changed <= phase.tolerance:
                        break
                    if epoch:  # the first refresh has nothing to compare with
                        row["label_change"] = changed
                for group in optimizer.param_groups:
                    group["lr"] = self._rate(group, phase.decay**epoch)
                row |= self._epoch(phase, step, seen)
                if held_out is not None:
                    row["held_out"] = self._held_out(phase, held_out)
                self.history.append(row)
                self._save(n, epoch + 1, optimizer)
                latest |= {k: f"{v:.3g}" for k, v in row.items() if isinstance(v, float)}
                shown.set_postfix(latest, refresh=False)
                shown.update()
        except KeyboardInterrupt:
            self.interrupted = True
            msg = f"Training was interrupted in phase {phase.name!r}: the results are those of the best state so far."
            warnings.warn(msg, Interrupted, stacklevel=2)
        finally:
            shown.close()
        self._finish(phase, held_out)
        self._save(n + 1, 0, optimizer)

    def _begin(self, phase: Phase) -> None:
        self.best = {}
        if phase.start:
            with torch.no_grad(), kept_threads():
                phase.start()
        if phase.sharpens and phase.epochs:
            self.before = copy.deepcopy(self.net.state_dict())

    def _run_elsewhere(self, phase: Phase) -> None:
        """Leave training to the package whose loop a phase names."""
        if phase.run:
            try:
                with kept_threads():
                    rows = phase.run(self.show)
            except FloatingPointError as error:
                raise ValueError(_diverged(phase, str(error))) from error
            self.history += [{"phase": phase.name, "epoch": epoch} | row for epoch, row in enumerate(rows)]

    def _finish(self, phase: Phase, held_out: Tensor | None) -> None:
        """Leave a phase at its best weights, if these are numbers."""
        self.net.zero_grad(set_to_none=True)  # gradients of recorded steps keep the memory of the recording
        if self.best.get("net"):
            self.net.load_state_dict(self.best["net"])
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            raise ValueError(_diverged(phase, "weights are not finite"))
        if phase.end:
            with torch.no_grad(), kept_threads():
                phase.end(held_out)

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        groups: dict[float, list[nn.Parameter]] = {}
        for name, p in self.net.named_parameters():
            if p.requires_grad and p.numel():
                lr = next((lr for start, lr in phase.lr_of.items() if name.startswith(start)), phase.lr)
                groups.setdefault(lr, []).append(p)
        return torch.optim.Adam(
            [{"params": p, "lr": lr, "initial_lr": lr} for lr, p in groups.items()],
            fused=True,
            capturable=self._replays(phase),
        )

    def _replays(self, phase: Phase) -> bool:
        """Whether steps are recorded; several processes have to meet in each, and torch's search for anomalies asks the data."""
        can = self.cells.device.type == "cuda" and n_processes() == 1 and not torch.is_anomaly_enabled()
        return can and phase.recordable

    @staticmethod
    def _rate(group: dict[str, Any], factor: float) -> float | Tensor:
        """Learning rate of a group; where steps are recorded, in the place that a recording reads."""
        rate = group["initial_lr"] * factor
        if not group["capturable"]:
            return rate
        place, device = group["lr"], group["params"][0].device
        if not isinstance(place, Tensor) or place.device != device:
            place = torch.empty((), device=device)
        return place.fill_(rate)

    def _split(self, phase: Phase) -> tuple[Tensor, Tensor | None]:
        """Cells to train on and cells held out; the same again when a run goes on."""
        if phase.patience is None:
            return torch.arange(len(self.cells)), None
        return self.cells.split(self.seed)

    def _step(self, phase: Phase, optimizer: torch.optim.Optimizer | None) -> Callable[[Tensor], dict[str, Tensor]]:
        """A step of training on the cells of a minibatch, which returns the terms of its loss, summed over the cells."""

        def step(index: Tensor) -> dict[str, Tensor]:
            terms = phase.loss(self.cells[index])
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            average_gradients(parameters)
            if phase.max_norm is not None:
                nn.utils.clip_grad_norm_(parameters, phase.max_norm)
            optimizer.step()
            if phase.after:
                with torch.no_grad():
                    phase.after()
            return {name: value.detach() * len(index) for name, value in terms.items()}

        parameters = [p for group in optimizer.param_groups for p in group["params"]] if optimizer else []
        return Replay(step) if self._replays(phase) else step

    def _epoch(self, phase: Phase, step: Callable[[Tensor], dict[str, Tensor]], seen: Tensor) -> dict[str, float]:
        # Noise and dropout draw from torch's global stream, which is forked for the run and follows our generator.
        reseed(int(torch.randint(2**62, (), generator=self.generator)), self.cells.device)
        sums: dict[str, Tensor | float] = {}
        for index in self.cells.parts(seen, generator=self.generator):
            for name, value in step(index).items():
                sums[name] = sums.get(name, 0.0) + value
        row = {name: float(value) / len(seen) for name, value in sums.items()}
        if not all(map(math.isfinite, row.values())):
            raise ValueError(_diverged(phase, ", ".join(f"{k} is {v}" for k, v in row.items())))
        return row

    @torch.no_grad()
    def _held_out(self, phase: Phase, held_out: Tensor) -> float:
        """Loss on the held-out cells; remembers the weights where it was lowest."""
        self.net.eval()
        losses, sizes = [], []
        for batch in self.cells.batches(held_out):
            losses.append(torch.stack(list(phase.loss(batch).values())).sum())
            sizes.append(len(batch.index))
        self.net.train()
        sizes = torch.tensor(sizes, dtype=torch.float64)
        sums = total(torch.stack([torch.stack(losses).cpu().double() @ sizes, sizes.sum()]))
        loss = float(sums[0] / sums[1])
        if self._gains(loss):
            self.best = {"loss": loss, "net": copy.deepcopy(self.net.state_dict()), "since": 0}
        else:
            self.best["since"] = self.best.get("since", 0) + 1
        return loss

    def _gains(self, loss: float) -> bool:
        best = self.best.get("loss", math.inf)
        return loss < best - MIN_GAIN * abs(best) if math.isfinite(best) else loss < best

    def _out_of_patience(self, phase: Phase) -> bool:
        return phase.patience is not None and self.best.get("since", 0) >= phase.patience

    def _save(self, n: int, epoch: int, optimizer: torch.optim.Optimizer | None) -> None:
        if self.checkpoint and not self.interrupted:
            self.checkpoint.save({
                "net": self.net.state_dict(),
                "optimizer": optimizer.state_dict() if optimizer else {},
                "generator": self.generator.get_state(),
                "at": (n, epoch),
                "history": self.history,
                "best": self.best if epoch else {},
                "before": self.before,
            })  # fmt: skip

    def _restore(self, stored: dict[str, Any]) -> tuple[int, int]:
        self.net.load_state_dict(stored["net"])
        self.generator.set_state(stored["generator"])
        self.history = list(stored["history"])
        self.best, self.before = dict(stored["best"]), stored["before"]
        return stored["at"]


def _diverged(phase: Phase, found: str) -> str:
    return (
        f"Training diverged in phase {phase.name!r} ({found}): lower the learning rate, or look for extreme values "
        "among the cells."
    )
