"""What every method is: parameters, a network, a schedule, and soft assignments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from .parameters import checked, hints, nearest, none_such

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from ..data import Cells, Inputs, Raw
    from ..schedule import Phase

_registry: dict[str, type[Method]] = {}


def registry() -> dict[str, type[Method]]:
    """All methods by the name that `method=` takes."""
    return dict(sorted(_registry.items()))


def get(method: str | Method, **parameters: Any) -> Method:
    """A method by its name or as it is, with parameters changed.

    Parameters
    ----------
    method
        A name in :func:`registry`, or a method object.
    **parameters
        Fields of the method.

    Raises
    ------
    ValueError
        There is no such method, or a value is out of bounds.
    TypeError
        The method has no such parameter.

    Examples
    --------
    >>> import scdeepclust as sdc
    >>> sdc.methods.get("idec", n_clusters=8).n_clusters
    8
    """
    if isinstance(method, Method):
        kind = type(method)
    elif isinstance(method, str) and method.lower() in _registry:
        kind = _registry[method.lower()]
    else:
        number = f" Did you mean n_clusters={method}?" if isinstance(method, int) else ""
        msg = f"method={method!r} is unknown.{number}{nearest(str(method), list(registry()))}"
        raise ValueError(msg)
    names = [f.name for f in fields(kind)]
    for name in parameters:
        if name not in names:
            msg = f"Method {kind.name()!r} has no parameter {name!r}.{none_such(name, names)}"
            raise TypeError(msg)
    return replace(method, **parameters) if isinstance(method, Method) else kind(**parameters)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Network x representation loss x clustering loss x schedule; the fields are the hyperparameters.

    A subclass is a method under the lower-case name of the class; helpers shared by several methods are declared with
    ``abstract=True``.

    Parameters
    ----------
    n_clusters
        Number of clusters. None takes as many as differ by reproducible signal (see
        :func:`scdeepclust.tl.n_clusters`), and starts from these.
    """

    n_clusters: Annotated[int, Ge(2)] | None = None

    # Parameters that decide what is predicted of cells held out, where the method reports that loss (`report()["held_out"]`):
    # settings that differ in any others can be compared by it. Nothing where there is no such loss.
    predicts_by: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            _registry[cls.name()] = cls

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))

    @classmethod
    def name(cls) -> str:
        """What `method=` takes."""
        return cls.__name__.lower()

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as plain values that JSON and h5ad can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    @abstractmethod
    def needs_counts(self) -> bool:
        """Whether nothing but counts will do, as for a likelihood of counts."""

    @property
    def without_counts(self) -> str:
        """What to do where there are none, if :attr:`needs_counts`."""
        return "take a method that needs none"

    @property
    def labels_key(self) -> str | None:
        """Column of `obs` with labels, for a method that is told some of them."""
        return None

    @property
    def reads_values(self) -> bool:
        """Whether minibatches carry the stored values of genes, beside the features made of them."""
        return self.needs_counts

    @property
    def scores_unseen(self) -> bool:
        """Whether the loss on cells held out is of what the network has not seen of them."""
        return bool(self.predicts_by)

    @property
    def finds_number(self) -> str:
        """What finds the number of clusters where none is given, in words; nothing, and it is found before training."""
        return ""

    @abstractmethod
    def inputs(self, kind: str) -> Inputs:
        """The transformation from stored values of a `kind` to what the network sees."""

    @abstractmethod
    def network(self, inputs: Inputs, *, n_genes: int, n_categories: int) -> nn.Module:
        """The network for so many genes and batches, with all state that the method will ever have."""

    def initialise(self, net: nn.Module, inputs: Inputs, raw: Raw, learnt: Raw) -> None:  # noqa: B027
        """Set weights that the data suggest; what a loss on cells held out shall judge may be fitted to `learnt` only."""

    def prepare(self, cells: Cells, seed: int) -> Cells:
        """Derive from all cells what the method needs before training."""
        return cells

    @abstractmethod
    def schedule(self, net: nn.Module, cells: Cells, seed: int) -> list[Phase]:
        """What is trained, in order."""

    @abstractmethod
    def log_soft_assign(self, net: nn.Module, z: Tensor) -> Tensor:
        """Log of the membership of embedded cells in clusters, cells x clusters; rows sum to one in probabilities."""

    def has_noise(self, net: nn.Module) -> bool:
        """Whether the last column of memberships is for cells that belong nowhere."""
        return False

    def check_denoises(self) -> None:
        """Refuse, before training, a method that predicts no expression."""
        if type(self).denoised is Method.denoised:
            raise self._not_denoising()

    def denoised(self, net: nn.Module, inputs: Inputs, z: Tensor) -> Tensor:
        """Log-normalised expression of embedded cells as the network explains it, cells x genes."""
        raise self._not_denoising()

    def _not_denoising(self) -> ValueError:
        return ValueError(f"Method {self.name()!r} does not denoise expression; scdeepclust.pp.denoise does.")

    def tables(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """More to be stored of each cell: arrays or frames with a row a cell, by the ending of their key in `obsm`."""
        return {}

    def report(self, net: nn.Module, cells: Cells) -> dict[str, Any]:
        """More to be recorded of the run, as values that h5ad can hold."""
        return {}

    def started_from(
        self, init: Any, *, var_names: list[str], categories: list[list[str]]
    ) -> tuple[Method, dict[str, Tensor]]:
        """The method in the form of a trained model of another package, and weights of its network to begin with."""
        can = [repr(name) for name, kind in registry().items() if kind.started_from is not Method.started_from]
        msg = f"Method {self.name()!r} does not start from a trained model: init= is for {', '.join(can)}."
        raise TypeError(msg)

    def mixture(self, net: nn.Module) -> dict[str, np.ndarray]:
        """Weights, means and variances of the clusters, where they are Gaussians."""
        raise self._not_generative()

    def sample(
        self, net: nn.Module, component: int, n: int, *, covariates: Tensor | None, size_factor: float, seed: int
    ) -> np.ndarray:
        """Draw cells of a cluster, cells x genes (or features)."""
        raise self._not_generative()

    def _not_generative(self) -> TypeError:
        can = [repr(name) for name, kind in registry().items() if kind.sample is not Method.sample]
        return TypeError(f"Method {self.name()!r} is no model of cells that could draw some; train {', '.join(can)}.")
