"""How far estimated proportions, or regions, lie from known ones.

Sources define RMSE, JSD, Pearson and AUPR differently, so each name says which definition it is: those of Spotless
first (``rmse``, ``pearson``, ``jsd``, ``aupr``), and beside them the pooled or median forms that other papers give.

References
----------
Sang-aram et al. (2024), eLife 12:RP88431 (Spotless).
"""

import numpy as np
import pandas as pd

DEFINITIONS = {
    "rmse": "mean over spots of the root of the mean squared difference over cell types (Spotless)",
    "pearson": "mean over spots of the Pearson correlation over cell types (Spotless)",
    "jsd": "mean over spots of the Jensen–Shannon divergence, base 2 (Spotless)",
    "aupr": "area under the precision–recall curve over all entries, present where the truth is above 0 (Spotless)",
    "rmse_pooled": "root of the mean squared difference over all entries",
    "pearson_median": "median over spots of the Pearson correlation over cell types",
    "ari": "adjusted Rand index between labels and clusters (Hubert & Arabie 1985)",
}


def score_proportions(estimate, truth):
    """Distance between estimated and known proportions, by Spotless's definitions and two others.

    Parameters
    ----------
    estimate, truth : DataFrame, spots × cell types
        Matched by name. Types that one side lacks count as zero there; spots without an estimate (NaN) or without truth
        are left out.

    Returns
    -------
    dict of str to float
        Keys as in `DEFINITIONS`, and ``n_spots``.

    Raises
    ------
    ValueError
        No spot or no cell type in common.
    """
    types = truth.columns.union(estimate.columns)
    if truth.columns.intersection(estimate.columns).empty:
        raise ValueError(
            f"truth and estimate share no cell type: {list(truth.columns[:3])} against {list(estimate.columns[:3])}"
        )
    estimate = estimate.dropna(how="all")
    spots = truth.index.intersection(estimate.index)
    if spots.empty:
        raise ValueError("truth and estimate share no spot")
    known = truth.loc[spots].reindex(columns=types, fill_value=0).to_numpy(dtype=float)
    known = known / known.sum(axis=1, keepdims=True)
    found = estimate.loc[spots].reindex(columns=types, fill_value=0).to_numpy(dtype=float)
    correlation = row_pearson(known, found)
    squared = (known - found) ** 2
    return {
        "rmse": float(np.sqrt(squared.mean(axis=1)).mean()),
        "pearson": float(np.nanmean(correlation)),
        "jsd": float(jensen_shannon(known, found).mean()),
        "aupr": _aupr(known, found),
        "rmse_pooled": float(np.sqrt(squared.mean())),
        "pearson_median": float(np.nanmedian(correlation)),
        "n_spots": len(spots),
    }


def score_by_type(estimate, truth):
    """Pearson correlation over spots and RMSE of each cell type.

    Returns
    -------
    DataFrame
        Columns ``cell_type, pearson, rmse, mean_truth, mean_estimate``.
    """
    estimate = estimate.dropna(how="all")
    spots = truth.index.intersection(estimate.index)
    types = truth.columns.intersection(estimate.columns)
    known, found = truth.loc[spots, types].to_numpy(dtype=float), estimate.loc[spots, types].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "cell_type": types,
            "pearson": row_pearson(known.T, found.T),
            "rmse": np.sqrt(((known - found) ** 2).mean(axis=0)),
            "mean_truth": known.mean(axis=0),
            "mean_estimate": found.mean(axis=0),
        }
    )


def adjusted_rand_index(labels, clusters):
    """Adjusted Rand index of two labellings, over the spots that both label.

    Parameters
    ----------
    labels, clusters : Series, spots
    """
    from sklearn.metrics import adjusted_rand_score

    both = pd.concat([labels.astype("object"), clusters.astype("object")], axis=1, join="inner").dropna()
    return float(adjusted_rand_score(both.iloc[:, 0].astype(str), both.iloc[:, 1].astype(str)))


def jensen_shannon(p, q):
    """Jensen–Shannon divergence in bits between the rows of two matrices of proportions."""
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def row_pearson(a, b):
    """Pearson correlation of each row of `a` with that of `b`; NaN where one is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    spread = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), spread, out=np.full(len(a), np.nan), where=spread > 0)


def _relative_entropy(p, q):
    ratio = np.divide(p, q, out=np.ones_like(p), where=(p > 0) & (q > 0))
    return (p * np.log2(ratio)).sum(axis=1)


def _aupr(known, found):
    from sklearn.metrics import auc, precision_recall_curve

    precision, recall, _ = precision_recall_curve((known > 0).ravel(), found.ravel())
    return float(auc(recall, precision))
