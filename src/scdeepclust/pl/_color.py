"""Colours of cells by a column of `obs`, the same in all panels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _figure
from ._figure import MISSING, OKABE_ITO, PETROFF, QUIET

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


# Colours are for this share of the cells where the last number is so many times as high as theirs: a few cells that are far
# beyond all others would leave these a single colour.
MOST, FAR = 0.99, 1.5


@dataclass(frozen=True)
class Coloring:
    """What `scatter` needs to know of colours.

    Parameters
    ----------
    title
        Name of the column; empty for cells of one colour.
    values
        A colour or a number for each cell.
    colors
        Colour of each category; None for numbers.
    absent
        Categories that no cell has, which a legend leaves out.
    unit
        What numbers are, where they are values of a gene.
    """

    title: str
    values: np.ndarray
    colors: dict[str, Any] | None
    absent: frozenset[str] = frozenset()
    unit: str = ""

    @classmethod
    def of(cls, adata: AnnData, key: str | None, *, clusters: bool = False) -> Coloring:
        """Colours by this column, or one for all; the numbers of clusters are names."""
        if key is None:
            return cls("", np.full(adata.n_obs, QUIET, dtype=object), {})
        from ..data.checks import need_key

        need_key("color", key, adata.obs, "adata.obs")
        column = adata.obs[key]
        if column.dtype.kind in "iuf" and not clusters:
            return cls(key, column.to_numpy(dtype=float), None)
        column = column.astype("category")
        names = [str(name) for name in column.cat.categories]
        colors = dict(zip(names, _palette(adata, key, column), strict=True))
        codes = column.cat.codes.to_numpy()
        values = np.array([*colors.values(), MISSING], dtype=object)[codes]
        nothing = "missing" if "missing" not in colors else "no value"
        absent = frozenset(names[code] for code in set(range(len(names))).difference(codes))
        return cls(key, values, colors | ({nothing: MISSING} if (codes < 0).any() else {}), absent)

    @classmethod
    def named(
        cls,
        adata: AnnData,
        name: str | None,
        *,
        clusters: bool = False,
        layer: str | None = None,
        cells: np.ndarray | slice = slice(None),
    ) -> Coloring:
        """Colours by a column of `obs`, else by a gene, of which `cells` need values."""
        from ..data.checks import listing, one_name
        from ..data.expression import nearest, need_genes, to_be_drawn

        one_name("color", name)
        if name is None or name in adata.obs:
            return cls.of(adata, name, clusters=clusters)
        if name not in adata.var_names:
            msg = (
                f"color={name!r} is no column of adata.obs (there are: {listing(adata.obs, most=20)}) and no gene of "
                f"adata.var_names ({nearest(name, adata.var_names)})."
            )
            raise KeyError(msg)
        need_genes("color", [name], adata.var_names)
        values, unit = to_be_drawn(adata, [name], layer, cells=cells)
        return cls(name, values[:, 0], None, unit=unit)

    @property
    def known(self) -> np.ndarray:
        """Whether cells have a category or a number."""
        if self.colors is None:
            return np.isfinite(self.values)
        return self.values != MISSING

    def of_group(self, cells: np.ndarray) -> Any:
        """The colour of the commonest category of these cells, or of the median of their numbers, of a gene the mean.

        Few molecules of a gene are seen in a cell, so that the median is zero where many a cell has some.
        """
        known = self.values[cells & self.known]
        if not len(known):
            return MISSING
        if self.colors is not None:
            return max(self.colors.values(), key=list(known).count)
        style = self.style(np.flatnonzero(cells))
        middle = np.mean(known) if self.unit else np.median(known)
        return style["cmap"](float((middle - style["vmin"]) / max(style["vmax"] - style["vmin"], 1e-12)))

    def upwards(self, order: np.ndarray) -> np.ndarray:
        """The same cells with those on top that have a value, and of a gene those that have most of it."""
        height = self.values[order] if self.unit else np.zeros(len(order))
        return order[np.lexsort((height, self.known[order]))]

    def style(self, order: np.ndarray) -> dict[str, Any]:
        """Arguments of `scatter` for cells in this order."""
        if self.colors is not None:
            return {"c": list(self.values[order])}
        import matplotlib as mpl

        low, high, _ = self._limits
        cmap = mpl.colormaps["viridis"].with_extremes(bad=MISSING)
        return {"c": self.values[order], "vmin": low, "vmax": high, "cmap": cmap, "plotnonfinite": True}

    @property
    def _limits(self) -> tuple[float, float, bool]:
        """Numbers that have the first colour and the last, and whether a few far above all others have the last one, too."""
        known = self.values[np.isfinite(self.values)]
        if not len(known):
            return 0.0, 1.0, False
        low, most, high = map(float, np.quantile(known, [0, MOST, 1]))
        beyond = most > low and high - low > FAR * (most - low)
        return low, most if beyond else high, beyond

    @property
    def _named(self) -> dict[str, Any]:
        """Colours that a legend explains."""
        return {name: color for name, color in (self.colors or {}).items() if name not in self.absent}

    @property
    def width(self) -> float:
        """About how much room the legend takes, in inches."""
        if not (named := self._named):
            return 0.6
        return (0.65 + 0.08 * max(map(len, named))) * (1 + len(named) // 16)

    def legend(self, axes: np.ndarray) -> None:
        """Names of the categories beside the first row, or a bar of the numbers beside all."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize
        from matplotlib.lines import Line2D

        if self.colors is None:
            first = axes.flat[0]
            # Of a single panel beside its frame, whatever stands beside panels above and below.
            where = (
                {"cax": first.inset_axes([1.03, 0, 0.035, 1])}
                if axes.size == 1
                else {"ax": list(axes.flat), "aspect": 30}
            )
            low, high, beyond = self._limits
            shown = ScalarMappable(Normalize(low, high), self.style(np.array([], dtype=int))["cmap"])
            where |= {
                "label": "\n".join(filter(None, (self.title, self.unit))),
                "extend": "max" if beyond else "neither",
            }
            _figure.bar(first.figure, shown, **where)
        elif named := self._named:
            dot = {"marker": "o", "linestyle": "none", "markersize": 5, "markeredgewidth": 0}
            dots = [Line2D([], [], color=color, label=name, **dot) for name, color in named.items()]
            style = {"fontsize": "small", "frameon": False, "handletextpad": 0.1, "ncols": 1 + len(dots) // 16}
            axes[0, -1].legend(handles=dots, title=self.title, loc="upper left", bbox_to_anchor=(1, 1.03), **style)


def _palette(adata: AnnData, key: str, column: pd.Series) -> list:
    """The colours that scanpy keeps, else as many as the colour-blind can tell apart, else scanpy's longer lists."""
    n = len(column.cat.categories)
    if kept := _kept(adata.uns.get(f"{key}_colors"), [str(name) for name in column.cat.categories], key):
        return kept
    if n <= len(OKABE_ITO):
        return list(OKABE_ITO[:n])
    from scanpy.plotting import palettes

    lists = (PETROFF, palettes.default_20, palettes.default_28, palettes.default_102)
    longer = next((colors for colors in lists if n <= len(colors)), palettes.default_102)
    return [longer[i % len(longer)] for i in range(n)]


def _kept(colors: Any, names: Sequence[str], key: str) -> list[str]:
    """The colours of `uns` for these categories, in their order or by their name; none where there are too few."""
    from matplotlib.colors import is_color_like, to_hex

    if isinstance(colors, Mapping):
        colors = [colors[name] for name in names] if set(names) <= set(colors) else None
    if isinstance(colors, str) or not np.iterable(colors) or len(colors) < len(names):
        return []
    wrong = [color for color in colors[: len(names)] if not is_color_like(color)]
    if wrong:
        msg = f"adata.uns['{key}_colors'] has {wrong[0]!r}, which is no colour of matplotlib; others are drawn instead."
        warnings.warn(msg, UserWarning, stacklevel=2)
        return []
    return [to_hex(color, keep_alpha=True) for color in colors[: len(names)]]
