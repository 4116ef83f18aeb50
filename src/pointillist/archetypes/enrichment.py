r"""What is known of a sample said of its archetypes: labels enriched in communities, proportions that weights follow.

Of :math:`N` spots that have a label, :math:`K` have the label looked at, :math:`n` are in the community and :math:`k`
are both. Enrichment is the upper tail of the hypergeometric distribution, which is Fisher's exact test:

.. math:: p = P(X \ge k), \quad X \sim \mathrm{Hypergeometric}(N, K, n), \qquad
          \mathrm{OR} = \frac{k\,(N - K - n + k)}{(K - k)(n - k)}

*q* is the Benjamini-Hochberg adjustment over all communities and labels. The test takes spots as independent, which
neighbours are not: read the share and the odds ratio beside it.

Nothing here is for finding archetypes: labels and truth are for scores alone.

References
----------
Fisher (1922), J. R. Stat. Soc. 85:87. Benjamini & Hochberg (1995), JRSS B 57:289.
"""

import numpy as np
import pandas as pd

# How files spell that a spot has no label.
_NO_LABEL = ("", "NA", "nan")


def label_enrichment(membership, labels):
    """Hypergeometric test of every label in every community, over the spots that have a label.

    Parameters
    ----------
    membership : DataFrame of bool, spots × archetypes
        Indexed by barcode.
    labels : Series
        Known label of each spot; missing where there is none.

    Returns
    -------
    DataFrame, one row for each archetype and label
        ``archetype, label, n_both, n_community, n_label, share`` (of the community), ``share_of_all`` (of all spots
        that have a label), ``odds_ratio, p_value, q_value``.

    Raises
    ------
    ValueError
        No spot of the communities has a label.
    """
    from scipy.stats import false_discovery_control, hypergeom

    labels = labels.astype(object).reindex(membership.index)
    labels = labels[labels.notna() & ~labels.astype(str).isin(_NO_LABEL)].astype(str)
    if labels.empty:
        raise ValueError("none of the spots has a label")
    indicator = pd.get_dummies(labels).sort_index(axis=1)
    inside = membership.loc[labels.index].to_numpy(dtype=int)
    both = inside.T @ indicator.to_numpy(dtype=int)
    n_community, n_label = inside.sum(axis=0)[:, None], indicator.to_numpy(dtype=int).sum(axis=0)[None]
    n = len(labels)
    p_values = np.clip(hypergeom.sf(both - 1, n, np.broadcast_to(n_label, both.shape), n_community), 0, 1)
    only_label, only_community = n_label - both, n_community - both
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = both * (n - n_label - only_community) / (only_label * only_community)
        share = both / n_community
    index = pd.MultiIndex.from_product([membership.columns, indicator.columns], names=["archetype", "label"])
    columns = {
        "n_both": both,
        "n_community": np.broadcast_to(n_community, both.shape),
        "n_label": np.broadcast_to(n_label, both.shape),
        "share": share,
        "share_of_all": np.broadcast_to(n_label / n, both.shape),
        "odds_ratio": odds,
        "p_value": p_values,
        "q_value": false_discovery_control(p_values.ravel()),
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index).reset_index()


def truth_correlation(weights, truth, signature_of=None):
    """Pearson correlation over spots of each archetype's weights with each cell type's known proportions.

    Parameters
    ----------
    weights : DataFrame, spots × archetypes
        NaN where a spot was filtered.
    truth : DataFrame, spots × cell types
    signature_of : dict of str to str, optional
        Signature that each archetype was paired with.

    Returns
    -------
    DataFrame, one row for each archetype and cell type
        ``archetype, cell_type, pearson, rank`` (1: the type that its weights follow most), ``signature`` and, in the
        row of rank 1, ``right``: whether it is that type. ``right`` is missing where the archetype has no signature,
        or one that the truth does not name.

    Raises
    ------
    ValueError
        Fewer than three spots have both.
    """
    signature_of = signature_of or {}
    weights = weights.dropna(how="all")
    spots = weights.index.intersection(truth.index)
    if len(spots) < 3:
        raise ValueError(f"found {len(spots)} spots with weights and known proportions, expected at least 3")
    a, b = _standardised(weights.loc[spots]), _standardised(truth.loc[spots])
    rows = []
    for archetype, values in pd.DataFrame(a.T @ b, weights.columns, truth.columns).iterrows():
        signature = signature_of.get(archetype, "")
        ordered = sorted(values.items(), key=lambda item: (np.isnan(item[1]), -np.nan_to_num(item[1]), item[0]))
        for rank, (cell_type, pearson) in enumerate(ordered, 1):
            judged = rank == 1 and signature in truth.columns and np.isfinite(pearson)
            rows.append((archetype, cell_type, pearson, rank, signature, signature == cell_type if judged else None))
    columns = ["archetype", "cell_type", "pearson", "rank", "signature", "right"]
    return pd.DataFrame(rows, columns=columns).astype({"right": object})


def _standardised(table):
    """Columns of mean 0 and length 1; NaN where one is constant."""
    values = table.to_numpy(dtype=float)
    values = values - values.mean(axis=0)
    length = np.sqrt((values * values).sum(axis=0))
    return np.divide(values, length, out=np.full_like(values, np.nan), where=length > 0)
