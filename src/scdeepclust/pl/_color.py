"""Colours of cells by a column of `obs`, the same in all panels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._figure import MISSING, OKABE_ITO, PETROFF, QUIET

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


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
    """

    title: str
    values: np.ndarray
    colors: dict[str, Any] | None
    absent: frozenset[str] = frozenset()

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
    def named(cls, adata: AnnData, name: str, *, clusters: bool = False) -> Coloring:
        """Colours by a column of `obs`, else by a gene."""
        from ..data.checks import listing, one_name
        from ..data.expression import log_normalised, nearest, need_genes

        one_name("color", name)
        if name in adata.obs:
            return cls.of(adata, name, clusters=clusters)
        if name not in adata.var_names:
            msg = (
                f"color={name!r} is no column of adata.obs (there are: {listing(adata.obs, most=20)}) and no gene of "
                f"adata.var_names ({nearest(name, adata.var_names)})."
            )
            raise KeyError(msg)
        need_genes("color", [name], adata.var_names)
        return cls(name, log_normalised(adata, [name], None, "color")[0][:, 0], None)

    @property
    def known(self) -> np.ndarray:
        """Whether cells have a category or a number."""
        if self.colors is None:
            return np.isfinite(self.values)
        return self.values != MISSING

    def of_group(self, cells: np.ndarray) -> Any:
        """The colour of the commonest category of these cells, or of the median of their numbers."""
        known = self.values[cells & self.known]
        if not len(known):
            return MISSING
        if self.colors is not None:
            return max(self.colors.values(), key=list(known).count)
        style = self.style(np.flatnonzero(cells))
        share = (np.median(known) - style["vmin"]) / max(style["vmax"] - style["vmin"], 1e-12)
        return style["cmap"](float(share))

    def style(self, order: np.ndarray) -> dict[str, Any]:
        """Arguments of `scatter` for cells in this order."""
        if self.colors is not None:
            return {"c": list(self.values[order])}
        import matplotlib as mpl

        low, high = (np.nanmin(self.values), np.nanmax(self.values)) if np.isfinite(self.values).any() else (0, 1)
        cmap = mpl.colormaps["viridis"].with_extremes(bad=MISSING)
        return {"c": self.values[order], "vmin": low, "vmax": high, "cmap": cmap, "plotnonfinite": True}

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
        from matplotlib.lines import Line2D

        if self.colors is None:
            first = axes.flat[0]
            # Of a single panel beside its frame, whatever stands beside panels above and below.
            where = (
                {"cax": first.inset_axes([1.03, 0, 0.035, 1])}
                if axes.size == 1
                else {"ax": list(axes.flat), "aspect": 30}
            )
            bar = first.figure.colorbar(first.collections[0], label=self.title, **where)
            bar.outline.set_visible(False)
        elif named := self._named:
            dot = {"marker": "o", "linestyle": "none", "markersize": 5, "markeredgewidth": 0}
            dots = [Line2D([], [], color=color, label=name, **dot) for name, color in named.items()]
            style = {"fontsize": "small", "frameon": False, "handletextpad": 0.1, "ncols": 1 + len(dots) // 16}
            axes[0, -1].legend(handles=dots, title=self.title, loc="upper left", bbox_to_anchor=(1, 1.03), **style)


def _palette(adata: AnnData, key: str, column: pd.Series) -> list:
    """The colours that scanpy keeps, else as many as the colour-blind can tell apart, else scanpy's longer lists."""
    n = len(column.cat.categories)
    kept = adata.uns.get(f"{key}_colors", ())
    if len(kept) >= n:
        return list(kept)[:n]
    if n <= len(OKABE_ITO):
        return list(OKABE_ITO[:n])
    from scanpy.plotting import palettes

    lists = (PETROFF, palettes.default_20, palettes.default_28, palettes.default_102)
    longer = next((colors for colors in lists if n <= len(colors)), palettes.default_102)
    return [longer[i % len(longer)] for i in range(n)]
