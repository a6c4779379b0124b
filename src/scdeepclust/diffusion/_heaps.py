"""The nearest cells found so far, kept in heaps while lists of cells are looked through; compiled."""

from __future__ import annotations

from ..kernels import compiled


@compiled
def keep_nearer(squared, looking, members, distances, nearest):
    """Where a member of a list is nearer to a cell than the farthest that it has, it takes that one's place.

    `squared` are the distances of the cells `looking` to the `members`; `distances` and `nearest` have a row for each of all
    cells, in the order of a heap with the farthest first. A cell is no neighbour of itself.
    """
    n_kept = distances.shape[1]
    for row in range(len(looking)):
        cell = looking[row]
        heap, names = distances[cell], nearest[cell]
        for column in range(len(members)):
            distance = squared[row, column]
            if distance >= heap[0] or members[column] == cell:
                continue
            place, child = 0, 1
            while child < n_kept:
                if child + 1 < n_kept and heap[child + 1] > heap[child]:
                    child += 1
                if heap[child] <= distance:
                    break
                heap[place], names[place] = heap[child], names[child]
                place, child = child, 2 * child + 1
            heap[place], names[place] = distance, members[column]
