"""Agreement: how far methods differ on the same spot and on the same cell type, and what they say together."""

from itertools import combinations

import numpy as np
import pandas as pd

from pointillist.metrics import jensen_shannon, row_pearson


def find_consensus(proportions, preferred=()):
    """Mean of the proportions of some methods.

    Parameters
    ----------
    proportions : dict of str to DataFrame, spots × cell types
        Of each method that ran.
    preferred : sequence of str
        The methods that the mean is of; where none of them ran, of all that did.

    Returns
    -------
    consensus : DataFrame, spots × cell types
        NaN where one of the methods has no estimate.
    members : list of str
    """
    members = [name for name in proportions if name in preferred] or list(proportions)
    return sum(proportions[name] for name in members) / len(members), members


def compare_methods(proportions):
    """Consensus of several methods and their disagreement in every spot.

    Parameters
    ----------
    proportions : dict of str to DataFrame, spots × cell types
        Of at least two methods, with the same spots and cell types.

    Returns
    -------
    by_spot : DataFrame, spots
        ``jsd``, the mean Jensen–Shannon divergence in bits over pairs of methods; ``dominant``, the cell type with the
        largest mean proportion, and ``dominant_agreement``, the share of methods that name it; then the ``mean:``
        and ``sd:`` of each cell type over methods. NaN where a method has no estimate.
    by_type : DataFrame
        Columns ``cell_type, method, other, pearson``: correlation over spots of each pair of methods.

    Raises
    ------
    ValueError
        Fewer than two methods, or tables of other spots or cell types.
    """
    if len(proportions) < 2:
        raise ValueError(f"agreement needs at least two methods, found {list(proportions)}")
    tables = list(proportions.values())
    types, index = tables[0].columns, tables[0].index
    if any(not table.columns.equals(types) or not table.index.equals(index) for table in tables):
        raise ValueError("the methods' tables differ in spots or cell types")
    values = np.stack([table.to_numpy(dtype=float) for table in tables])
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    estimated = ~np.isnan(mean).any(axis=1)

    by_spot = pd.DataFrame(index=index)
    pairs = list(combinations(range(len(tables)), 2))
    by_spot["jsd"] = np.mean([jensen_shannon(values[a], values[b]) for a, b in pairs], axis=0)
    by_spot.loc[~estimated, "jsd"] = np.nan
    dominant = np.where(np.isnan(values), -1, values).argmax(axis=2)
    consensus = np.where(estimated[:, None], mean, -1).argmax(axis=1)
    by_spot["dominant"] = np.where(estimated, np.asarray(types, dtype=object)[consensus], None)
    by_spot["dominant_agreement"] = np.where(estimated, (dominant == consensus).mean(axis=0), np.nan)
    for name, table in (("mean", mean), ("sd", deviation)):
        by_spot = by_spot.join(pd.DataFrame(table, index=index, columns=[f"{name}:{cell_type}" for cell_type in types]))

    names = list(proportions)
    by_type = [
        pd.DataFrame(
            {
                "cell_type": types,
                "method": names[a],
                "other": names[b],
                "pearson": row_pearson(values[a][estimated].T, values[b][estimated].T),
            }
        )
        for a, b in pairs
    ]
    return by_spot, pd.concat(by_type, ignore_index=True)
