"""A tree of clusters: nodes, arrows as wide as their confidence, names, and its layout from left to right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

INK, FAINT = "0.15", "0.55"  # of edges and of what cannot be reached
THINNEST, THICKEST = 0.5, 2.8  # of an edge, in points: of confidence 0 and 1
SURE = {"color": INK, "zorder": 4}
MAYBE = {"color": INK, "zorder": 3.9, "linewidth": 0.9, "linestyle": (0, (2.5, 1.5))}  # of a second origin
KEY = (0.1, 0.5, 1.0)  # confidences in the key
SMALLEST, BIGGEST = 2.2, 6.5  # radius of a node whose area tells its cells, in points
BOWS = (0.0, 0.25, -0.25, 0.5, -0.5)  # how far edges bend to pass by the nodes of others, in their length
BEND = 4.0  # radius of an elbow, in points
RING = 2.5  # points from the node of the root to the ring around it
STEP = 3.0  # points between those of an edge that names avoid
MOST_CELLS = 3000  # that names avoid
GAP = 2.0  # points between nodes
AHEAD = 10.0  # points between nodes of one row, at least: so long is the arrow


@dataclass(frozen=True)
class Tree:
    """Nodes and edges to be drawn.

    Parameters
    ----------
    names
        Clusters.
    colors
        Their colours.
    radii
        Of their nodes, in points.
    reachable
        Whether there is a way from the root.
    edges
        Parent, child and confidence, and the other cluster that the child may come of, or "".
    root
        The cluster where it starts.
    """

    names: list[str]
    colors: list[Any]
    radii: np.ndarray
    reachable: np.ndarray
    edges: pd.DataFrame
    root: str

    def of_one_size(self, radius: float) -> Tree:
        """With the same radius for all nodes."""
        return replace(self, radii=np.full(len(self.names), radius))

    def only(self, kept: np.ndarray) -> Tree:
        """Some of the nodes, with the edges between them."""
        rows = np.flatnonzero(kept)
        names = [self.names[i] for i in rows]
        edges = self.edges[self.edges["child"].isin(names) & self.edges["parent"].isin(names)]
        colors = [self.colors[i] for i in rows]
        return Tree(names, colors, self.radii[rows], self.reachable[rows], edges, self.root)


def width(confidence: float) -> float:
    """Of an edge, in points."""
    return THINNEST + (THICKEST - THINNEST) * min(max(confidence, 0.0), 1.0)


def radii_of(n_cells: np.ndarray, largest: int, n_nodes: int) -> np.ndarray:
    """Of nodes whose areas are as the numbers of their cells: in points, less where there are many."""
    biggest = BIGGEST * (1 - 0.3 * crowd(n_nodes))
    return np.maximum(biggest * np.sqrt(n_cells / max(largest, 1)), SMALLEST)


def crowd(n_nodes: int) -> float:
    """0 for few nodes, 1 for thirty and more."""
    return min(max(n_nodes - 15, 0) / 15, 1.0)


def draw(ax: Axes, tree: Tree, xy: np.ndarray, *, elbows: bool = False) -> np.ndarray:
    """Draw the tree with its nodes at these data coordinates, and return points along its edges.

    The limits of the axes must be set, as edges pass by the nodes of others.
    """
    where = dict(zip(tree.names, range(len(tree.names)), strict=True))
    scale = _laid_out(ax)
    points, along = ax.transData.transform(xy) * scale, np.empty((0, 2))
    lines = []
    for edge in tree.edges.itertuples():
        a, b = where[edge.parent], where[edge.child]
        bent = elbows and _is_bent(points[a], points[b], tree.radii[b])
        lines.append((0 if bent else 1, a, b, {"linewidth": width(edge.confidence)} | SURE))
        lines += [(2, where[edge.other], b, MAYBE)] if edge.other else []
    for turn, a, b, line in sorted(lines, key=lambda line: line[0]):  # elbows first, for the others to pass by
        others = np.delete(np.arange(len(points)), [a, b])
        style, path = _bow(points, tree.radii, along, (a, b), others) if turn else _elbow(points[a], points[b])
        radii = tree.radii[[a, b]] + [RING * (tree.names[a] == tree.root), 0]
        name = f"{'maybe' if line is MAYBE else 'edge'} {tree.names[a]} > {tree.names[b]}"
        _arrow(ax, xy[[a, b]], radii, name, line, connectionstyle=style)
        along = np.concatenate([along, path])
    _nodes(ax, tree, xy)
    return ax.transData.inverted().transform(along / scale)


def name(
    ax: Axes, tree: Tree, xy: np.ndarray, edges: np.ndarray, cells: np.ndarray | None
) -> tuple[list[Annotation], list[str]]:
    """Write names where they cover least of nodes, edges and cells; and those for which there is no room."""
    scale = _laid_out(ax)
    places = [xy, edges, np.empty((0, 2)) if cells is None else cells[:MOST_CELLS]]
    nodes, edges, cells = (ax.transData.transform(place) * scale if len(place) else place for place in places)
    radii = tree.radii + 1 + RING * (np.array(tree.names) == tree.root)
    frame = ax.get_window_extent().padded(2).extents * scale
    return _labels.place(ax, tree.names, xy, _labels.Scene(nodes, radii, edges, cells, frame))


def _laid_out(ax: Axes) -> float:
    """Lay out the figure, so that it is known where things are; points of a pixel."""
    ax.figure.canvas.figure.draw_without_rendering()
    return 72 / ax.figure.dpi


def _is_bent(a: np.ndarray, b: np.ndarray, radius: float) -> bool:
    """Whether there is room for an elbow: upwards or downwards, then to the right."""
    return b[0] - a[0] > radius + AHEAD and abs(b[1] - a[1]) > BEND


def _elbow(a: np.ndarray, b: np.ndarray) -> tuple[str, np.ndarray]:
    """Style of an edge with an elbow, and points along it."""
    corners = np.array([a, [a[0], b[1]], b])
    parts = [
        p + (q - p) * np.linspace(0, 1, 2 + int(np.linalg.norm(q - p) / STEP))[:, None] for p, q in pairwise(corners)
    ]
    return f"angle,angleA=90,angleB=0,rad={BEND}", np.concatenate(parts)


def _bow(
    points: np.ndarray, radii: np.ndarray, along: np.ndarray, ends: tuple[int, int], others: np.ndarray
) -> tuple[str, np.ndarray]:
    """Style of an edge as straight as it can be without touching other nodes and edges, and points along it."""
    a, b = points[list(ends)]
    t = np.linspace(0, 1, 2 + int(np.linalg.norm(b - a) / STEP))[:, None]
    free = along[(np.linalg.norm(along - a, axis=1) > 2 * BEND) & (np.linalg.norm(along - b, axis=1) > 2 * BEND)]
    best = (np.inf, "", a[None])
    for bow in BOWS:
        control = (a + b) / 2 + bow * np.array([b[1] - a[1], a[0] - b[0]])
        path = (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
        n_nodes = (_nearest(points[others], path) < radii[others] + 1.5).sum()
        n_along = (_nearest(path, free) < THICKEST).sum()
        best = min(
            best, (10 * n_nodes + 0.1 * n_along + 2 * abs(bow), f"arc3,rad={bow}", path), key=lambda found: found[0]
        )
    return best[1:]


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each point from the nearest of others."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.linalg.norm(points[:, None] - others, axis=2).min(1)


def _arrow(
    ax: Axes, ends: np.ndarray, radii: np.ndarray, name: str, line: dict[str, Any], *, connectionstyle: str
) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.patheffects import withStroke

    width = line["linewidth"]
    arrow = FancyArrowPatch(
        *ends,
        arrowstyle=f"-|>,head_length={2.6 + 0.4 * width},head_width={1.4 + 0.25 * width}",
        connectionstyle=connectionstyle,
        mutation_scale=1,
        joinstyle="miter",
        capstyle="butt",
        shrinkA=radii[0],
        shrinkB=radii[1] + width,  # the tip is as far ahead of the path as the line is wide
        path_effects=[withStroke(linewidth=width + 1.6, foreground="white")],
        label=f"_{name}",
        gid=name,
        **line,
    )
    ax.add_patch(arrow)


def _nodes(ax: Axes, tree: Tree, xy: np.ndarray) -> None:
    faces = [color if there else "none" for color, there in zip(tree.colors, tree.reachable, strict=True)]
    rims = [INK if there else FAINT for there in tree.reachable]
    style = {"linewidths": np.where(tree.reachable, 0.9, 1.4), "label": "_nodes", "gid": "nodes"}
    ax.scatter(*xy.T, s=(2 * tree.radii) ** 2, c=faces, edgecolors=rims, zorder=5, **style)
    first = tree.names.index(tree.root)
    ring = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.6, "label": "_root", "gid": "root"}
    ax.scatter(*xy[first], s=(2 * (tree.radii[first] + RING)) ** 2, zorder=6, **ring)


def root_mark(label: str) -> Line2D:
    """For the key."""
    from matplotlib.lines import Line2D

    style = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black"}
    return Line2D([], [], linestyle="none", markeredgewidth=1.6, label=label, **style)


def hollow_mark(label: str) -> Line2D:
    """For the key: clusters that cannot be reached."""
    from matplotlib.lines import Line2D

    style = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": FAINT}
    return Line2D([], [], linestyle="none", markeredgewidth=1.4, label=label, **style)


def edge_marks() -> list[Line2D]:
    """For the key: edges of a few confidences."""
    from matplotlib.lines import Line2D

    words = ["confidence " * (value == KEY[0]) + f"{value:g}" for value in KEY]
    style = {"color": INK, "solid_capstyle": "butt"}
    return [Line2D([], [], linewidth=width(value), label=word, **style) for value, word in zip(KEY, words, strict=True)]


def maybe_mark(label: str) -> Line2D:
    """For the key: other origins of clusters."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **MAYBE)


def size_marks(n_cells: np.ndarray) -> list[Line2D]:
    """For the key: nodes of a few numbers of cells."""
    from matplotlib.lines import Line2D

    numbers = _round_numbers(n_cells.max())
    style = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 0.9}
    radii = radii_of(np.array(numbers), n_cells.max(), len(n_cells))
    return [
        Line2D([], [], linestyle="none", markersize=2 * radius, label=f"{n:,} cells", **style)
        for n, radius in zip(numbers, radii, strict=True)
    ]


def _round_numbers(largest: int) -> list[int]:
    """Two: the largest round number there is, and about a fifth of it."""
    size = 10 ** int(np.log10(max(largest, 1)))
    top = max(f * size for f in (1, 2, 5) if f * size <= max(largest, 1))
    return [n for n in (top // 5, top) if n]


def from_left_to_right(tree: Tree, points: np.ndarray) -> np.ndarray:
    """Row of each node of a tree whose time is this far to the right, in points.

    Tips are one below the other, and the rest is in the middle of what it leads to; where there is no room for an arrow
    there, or it would lead back in time, in a row of its own.
    """
    children: dict[str, list[str]] = {name: [] for name in tree.names}
    for parent, child in tree.edges[["parent", "child"]].itertuples(index=False):
        children[parent].append(child)
    at, radius = (dict(zip(tree.names, values, strict=True)) for values in (points, tree.radii))
    order = _parents_first(children, tree.root)
    latest = dict(at)
    for name in reversed(order):
        latest[name] = max([at[name], *(latest[child] for child in children[name])])
    reach = {name: at[name] + radius[name] + AHEAD for name in tree.names}
    rows: dict[str, float] = {}
    stack = [(tree.root, 0, False)]
    while stack:
        name, side, here = stack.pop()
        if here:
            rows[name] = float(len(rows))
            continue
        below = sorted(children[name], key=latest.__getitem__)
        near = [child for child in below if at[child] - radius[child] < reach[name]]
        own = [(name, side, True)] if near or not below else []
        half = len(below) // 2 if not side else 0 if side > 0 else len(below)  # beside a near parent, not beyond others
        above = [(child, -(child in near), False) for child in below[:half]]
        stack += reversed([*above, *own, *((child, int(child in near), False) for child in below[half:])])
    for name in reversed(order):
        below = sorted(rows[child] for child in children[name])
        middle = (below[0] + below[-1]) / 2 if below else 0.0
        if len(below) > 2:
            middle = min(below, key=lambda row: abs(row - middle)) if len(below) % 2 else middle
        rows.setdefault(name, middle)
    return np.array([rows[name] for name in tree.names])


def _parents_first(children: dict[str, list[str]], root: str) -> list[str]:
    """Depth first, without recursion."""
    found, stack = [], [root]
    while stack:
        name = stack.pop()
        found.append(name)
        stack.extend(reversed(children[name]))
    return found


def apart(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Push nodes up and down, in points of the display, until they do not overlap."""
    points = points.copy()
    for _ in range(200):
        moved = False
        for i in range(len(points)):
            for j in range(i):
                reach, dx = radii[i] + radii[j] + GAP, points[i, 0] - points[j, 0]
                if abs(dx) >= reach:
                    continue
                dy = points[i, 1] - points[j, 1]
                lacking = np.sqrt(reach**2 - dx**2) - abs(dy)
                if lacking > 1e-6:
                    shift = lacking / 2 * (1 if dy > 0 else -1)
                    points[i, 1] += shift
                    points[j, 1] -= shift
                    moved = True
        if not moved:
            break
    return points
