"""Which archetypes are one state at a coarser view: a tree of archetypes, or the radius rule of Starfysh.

The tree is built by average linkage on Euclidean distances between archetypes and may be cut at any height; it does not
depend on the order of archetypes. The radius rule (He et al. 2024) visits archetypes in their order and merges into
each the later ones that are among its `radius` nearest neighbours, spots and archetypes taken together; it is greedy,
has one level, and depends on the order.

>>> tree = archetype_tree(analysis.archetypes, levels=(0.25, 0.5))
>>> tree.groups[0.5]                       # group of each archetype
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist

from pointillist.archetypes.stability import archetype_names


@dataclass(frozen=True)
class ArchetypeTree:
    """Average-linkage tree of archetypes and its cuts.

    Parameters
    ----------
    linkage : ndarray, (archetypes − 1) × 4
        As scipy has it.
    nested : dict
        ``{"name", "height", "children"}``, children being nested in the same way; leaves have height 0 and no children.
    groups : dict of float to ndarray of int
        For each level, the group of every archetype; groups are numbered in the order of archetypes.
    """

    linkage: np.ndarray
    nested: dict
    groups: dict


def archetype_tree(archetypes, levels=(0.0, 0.25, 0.5, 0.75), names=None):
    """Tree of archetypes by average linkage, and groups at several levels.

    Parameters
    ----------
    archetypes : ndarray, archetypes × dimensions
    levels : sequence of float
        Heights at which the tree is cut, as a share of its full height: 0 keeps all archetypes apart (but for equal
        ones), 1 makes one group.
    names : sequence of str, optional

    Returns
    -------
    ArchetypeTree

    Raises
    ------
    ValueError
    """
    archetypes = np.asarray(archetypes, dtype=float)
    if archetypes.ndim != 2 or not len(archetypes) or not np.isfinite(archetypes).all():
        raise ValueError(f"found archetypes of shape {archetypes.shape}, expected a finite archetypes × dimensions")
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError(f"found levels {tuple(levels)}, expected shares of the tree's height from 0 to 1")
    names = archetype_names(len(archetypes)) if names is None else [str(name) for name in names]
    if len(names) != len(archetypes):
        raise ValueError(f"found {len(names)} names, expected one for each of {len(archetypes)} archetypes")
    if len(archetypes) == 1:
        groups = {float(level): np.zeros(1, dtype=int) for level in levels}
        return ArchetypeTree(np.empty((0, 4)), {"name": names[0], "height": 0.0, "children": []}, groups)
    tree = linkage(pdist(archetypes), method="average")
    # a cut at the very top may not be missed by rounding
    groups = {
        float(level): _in_order(fcluster(tree, level * tree[-1, 2] * (1 + 1e-12), criterion="distance"))
        for level in levels
    }
    return ArchetypeTree(tree, _nested(tree, names), groups)


def merge_by_radius(pcs, archetypes, radius=100):
    """Group of each archetype when every one takes in the later archetypes among its nearest neighbours.

    Parameters
    ----------
    pcs : ndarray, spots × dimensions
    archetypes : ndarray, archetypes × dimensions
    radius : int
        Number of neighbours, the archetype itself being the first; a larger one merges more.

    Returns
    -------
    ndarray of int
        Groups numbered in the order of their first archetype.

    References
    ----------
    He et al. (2024), Nature Biotechnology.
    """
    pcs, archetypes = np.asarray(pcs, dtype=float), np.asarray(archetypes, dtype=float)
    if pcs.ndim != 2 or archetypes.ndim != 2 or pcs.shape[1] != archetypes.shape[1]:
        raise ValueError(f"found spots {pcs.shape} and archetypes {archetypes.shape}, expected the same dimensions")
    if radius < 1:
        raise ValueError(f"found radius={radius}, expected at least 1")
    to_spots, to_archetypes = np.sort(cdist(archetypes, pcs), axis=1), cdist(archetypes, archetypes)
    leader = np.full(len(archetypes), -1)
    for i, distances in enumerate(to_archetypes):
        if leader[i] >= 0:
            continue
        leader[i] = i
        # how many spots and other archetypes are nearer to i than each archetype is
        nearer = np.searchsorted(to_spots[i], distances) + (distances[None] < distances[:, None]).sum(axis=1)
        merged = (nearer < radius) & (leader < 0) & (np.arange(len(archetypes)) > i)
        leader[merged] = i
    return _in_order(leader)


def merge_weights(weights, groups):
    """Weights of groups: the sum of their archetypes' weights, spots × groups."""
    groups = np.asarray(groups)
    return weights @ (groups[:, None] == np.unique(groups)).astype(float)


def _in_order(labels):
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _nested(tree, names):
    nodes = [{"name": name, "height": 0.0, "children": [], "first": i} for i, name in enumerate(names)]
    for left, right, height, _ in tree:
        children = sorted((nodes[int(left)], nodes[int(right)]), key=lambda node: node["first"])
        nodes.append(
            {
                "name": "+".join(child["name"] for child in children),
                "height": float(height),
                "children": children,
                "first": children[0]["first"],
            }
        )
    for node in nodes:
        del node["first"]
    return nodes[-1]
