"""Names beside the nodes that they belong to, where they cover least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

SIZES = (8.5, 7.5, 6.5)  # of the font, in points; the first at which all names fit is taken
GAPS = (1.5, 6.0, 12.0, 20.0)  # between a name and its node, in points
WIDEST = 0.4  # share of the panel's width from which on a name lies across what it is not about
LED = 3.0  # from this gap on, a line leads from the name to its node
ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315, 22.5, 157.5, 202.5, 337.5, 67.5, 112.5, 247.5, 292.5])
SWEEPS = 20
# What a candidate pays: for its share that lies on nodes or outside, for each point of an edge, for being nearer to
# another node, for the densest cells, for each gap, and for touching another name.
NODE, OUTSIDE, EDGE, STRAY, CELLS, GAP, NAME = 20.0, 1000.0, 0.25, 3.0, 0.5, 0.6, 100.0


@dataclass(frozen=True)
class Scene:
    """What there is to avoid, in points of the display from the lower left of the figure.

    Parameters
    ----------
    nodes
        Middles of the nodes that have names, then of others.
    radii
        Their radii.
    edges
        Points along the edges.
    cells
        Points of cells.
    frame
        Left, bottom, right and top of where names may be.
    """

    nodes: np.ndarray
    radii: np.ndarray
    edges: np.ndarray
    cells: np.ndarray
    frame: np.ndarray


def place(ax: Axes, names: Sequence[str], xy: np.ndarray, scene: Scene) -> tuple[list[Annotation], list[str]]:
    """Write names beside nodes at these data coordinates; those that find no room are left out."""
    if not len(names):
        return [], []
    for size in SIZES:
        offsets, gaps, lost = _arrange(scene, _extents(ax, names, size))
        if not lost.any():
            break
    texts = []
    for i in np.flatnonzero(~lost):
        texts += [_lead(ax, xy[i], offsets[i], scene.radii[i])] if gaps[i] > LED else []
        texts += [_write(ax, names[i], xy[i], offsets[i], size=size, halo=halo) for halo in (True, False)]
    return texts, [names[i] for i in np.flatnonzero(lost)]


def on_cells(ax: Axes, xy: np.ndarray, column: pd.Series) -> None:
    """Write the name of each category in the middle of its cells."""
    for name, cells in column.groupby(column, observed=True).indices.items():
        at = _figure.middle(xy[cells])
        if np.isfinite(at).all():
            for halo in (True, False):
                _write(ax, str(name), at, (0, 0), size=SIZES[0], halo=halo)


def _extents(ax: Axes, names: Sequence[str], size: float) -> np.ndarray:
    """Width and height of each name, in points."""
    texts = [_write(ax, name, (0, 0), (0, 0), size=size, xycoords="axes fraction") for name in names]
    scale = 72 / ax.figure.dpi
    found = np.array([[box.width, box.height] for box in (text.get_window_extent() for text in texts)]) * scale
    for text in texts:
        text.remove()
    return found


def _write(
    ax: Axes, name: str, at: object, offset: object, *, size: float, xycoords: str = "data", halo: bool = False
) -> Annotation:
    """A name, or its halo: in one, vector formats would have outlines instead of text."""
    from matplotlib.patheffects import Stroke

    style = {"fontsize": size, "color": "black", "ha": "center", "va": "center", "zorder": 8}
    if halo:
        style |= {"zorder": 7.5, "gid": "halo", "path_effects": [Stroke(linewidth=2, foreground="white")]}
    where = {"xytext": offset, "textcoords": "offset points", "xycoords": xycoords, "annotation_clip": False}
    text = ax.annotate(name, at, **where, **style)
    text.set_in_layout(False)
    return text


def _lead(ax: Axes, at: object, offset: object, radius: float) -> Annotation:
    line = {"arrowstyle": "-", "linewidth": 0.6, "color": "0.3", "shrinkA": 0, "shrinkB": radius}
    where = {"textcoords": "offset points", "annotation_clip": False, "zorder": 7}
    leader = ax.annotate("", at, offset, arrowprops=line, **where)
    leader.set_in_layout(False)
    return leader


def _arrange(scene: Scene, extents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset of each name from its node, the gap between them, and which names touch others wherever they are."""
    n = len(extents)
    boxes, offsets, gaps = _candidates(scene, extents)
    cost = np.stack([_cost(scene, i, boxes[i], gaps) for i in range(n)])
    order = np.argsort(-np.sort(cost, axis=1)[:, :8].mean(1), kind="stable")  # those with least choice first
    taken = np.full(n, -1)
    for sweep in range(SWEEPS):
        before = taken.copy()
        for i in order:
            others = [j for j in range(n) if j != i and taken[j] >= 0]
            placed = boxes[others, taken[others]]
            taken[i] = (cost[i] + NAME * _overlap(boxes[i], placed, pad=1.0).sum(1)).argmin()
        if sweep and (before == taken).all():
            break
    final = boxes[np.arange(n), taken]
    touching = _overlap(final, final, pad=0.0) > 0
    np.fill_diagonal(touching, val=False)
    lost = cost[np.arange(n), taken] > NODE / 2  # on a node, or outside
    lost |= extents[:, 0] > WIDEST * (scene.frame[2] - scene.frame[0])
    touching[lost] = touching[:, lost] = False
    while touching.any():
        worst = touching.sum(1).argmax()
        lost[worst] = True
        touching[worst] = touching[:, worst] = False
    return offsets[np.arange(n), taken], gaps[taken], lost


def _candidates(scene: Scene, extents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (names x candidates x left, bottom, right, top), their middles from the node, and the gap of each."""
    gaps = np.repeat(GAPS, len(ANGLES))
    directions = np.tile(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), (len(GAPS), 1))
    n = len(extents)
    away = scene.radii[:n, None, None] + gaps[:, None]
    # A box that touches a circle from this side: its support in the direction, but no further than its half sides.
    half = extents[:, None] / 2
    offsets = directions * away + np.sign(np.round(directions, 6)) * half * np.minimum(1, np.abs(directions) * 1.5)
    middles = scene.nodes[:n, None] + offsets
    return np.concatenate([middles - half, middles + half], axis=2), offsets, gaps


def _cost(scene: Scene, own: int, boxes: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    circles = np.concatenate([scene.nodes - scene.radii[:, None], scene.nodes + scene.radii[:, None]], axis=1)
    squares = np.prod(circles[:, 2:] - circles[:, :2], axis=1)
    on_nodes = (_overlap(boxes, circles) / np.minimum(area[:, None], squares)).sum(1)
    inside = _overlap(boxes, scene.frame[None]).ravel() / area
    distance = np.linalg.norm(
        np.maximum(np.maximum(boxes[:, None, :2] - scene.nodes, scene.nodes - boxes[:, None, 2:]), 0), axis=2
    )
    distance -= scene.radii
    stray = (np.delete(distance, own, axis=1) < distance[:, [own]] + 1).any(1)
    crowd = _count(boxes, scene.cells) / area
    crowd /= max(crowd.max(), 1e-12)
    return (
        NODE * on_nodes
        + OUTSIDE * (inside < 0.999) * (1.001 - inside)
        + EDGE * _count(boxes, scene.edges)
        + STRAY * stray
        + CELLS * crowd
        + GAP * np.searchsorted(GAPS, gaps)
        + 0.01 * (np.arange(len(boxes)) % len(ANGLES))
    )


def _overlap(a: np.ndarray, b: np.ndarray, pad: float = 0.0) -> np.ndarray:
    """Area that each box of one list shares with each of the other."""
    low = np.maximum(a[:, None, :2] - pad, b[None, :, :2])
    high = np.minimum(a[:, None, 2:] + pad, b[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2)


def _count(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points in each box."""
    if not len(points):
        return np.zeros(len(boxes))
    inside = (points[:, None] >= boxes[:, :2]) & (points[:, None] <= boxes[:, 2:])
    return inside.all(2).sum(0).astype(float)
