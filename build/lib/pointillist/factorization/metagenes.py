"""Metagenes: the rows of the loadings, read as gene programmes.

How specific a gene ``g`` is to one of ``K`` factors is measured by the entropy of its loadings over factors (Kim & Park
2007)::

    score_g = 1 + 1 / log2(K) · Σ_k p_kg log2 p_kg,   p_kg = |V_kg| / Σ_l |V_lg|

1 for a gene of a single factor, 0 for one that all factors share alike. (For non-negative loadings the bars do
nothing; they let the same be asked of an SVD.) Kim & Park call a gene specific when its score exceeds the median by
three median absolute deviations and its largest loading exceeds the median of all loadings.

>>> import numpy as np
>>> from pointillist.factorization import gene_scores
>>> gene_scores(np.array([[1.0, 2.0, 0.5], [0.0, 2.0, 0.5]]), ["A", "B", "C"])["score"].tolist()
[1.0, 0.0, 0.0]
"""

import numpy as np
import pandas as pd


def gene_scores(loadings, genes):
    """Specificity of each gene to one factor, by the entropy of its loadings.

    Parameters
    ----------
    loadings : ndarray, factors × genes
        At least two factors.
    genes : sequence of str

    Returns
    -------
    DataFrame
        By ``gene``, in the given order: ``score`` (0 to 1; NaN for a gene without loadings), ``factor`` (index of its
        largest loading, -1 for a gene without), ``loading`` (that loading) and ``specific`` (Kim & Park's rule).

    Raises
    ------
    ValueError
        Fewer than two factors, names that do not match the loadings, or values that are not finite.

    References
    ----------
    Kim & Park (2007). Sparse non-negative matrix factorizations via alternating non-negativity-constrained least
    squares for microarray data analysis. Bioinformatics 23:1495.
    """
    loadings = _checked(loadings, genes)
    if len(loadings) < 2:
        raise ValueError("gene scores compare factors; found one factor, expected two or more")
    sizes = np.abs(loadings)
    total = sizes.sum(axis=0)
    shares = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    score = np.where(total > 0, 1 + (shares * logs).sum(axis=0) / np.log2(len(loadings)), np.nan)
    score = np.clip(score, 0.0, 1.0)
    factor = sizes.argmax(axis=0)
    largest = sizes.max(axis=0)
    middle = np.nanmedian(score) if (total > 0).any() else np.nan
    spread = np.nanmedian(np.abs(score - middle)) if (total > 0).any() else np.nan
    return pd.DataFrame(
        {
            "score": score,
            "factor": np.where(total > 0, factor, -1),
            "loading": loadings[factor, np.arange(loadings.shape[1])],
            "specific": (score > middle + 3 * spread) & (largest > np.median(sizes)),
        },
        index=pd.Index(genes, name="gene"),
    )


def top_genes(loadings, genes, n_genes=20):
    """Genes with the largest loadings in each factor.

    Parameters
    ----------
    loadings : ndarray, factors × genes
    genes : sequence of str
    n_genes : int
        Of each factor; fewer where a factor has fewer genes with a loading.

    Returns
    -------
    DataFrame
        Columns ``factor`` (index), ``rank`` (from 1), ``gene``, ``loading`` and ``score`` (see `gene_scores`; NaN where
        there is one factor). Signed loadings are ordered by size; equal ones by the genes' order.

    Raises
    ------
    ValueError
        As `gene_scores`, or `n_genes` below 1.
    """
    loadings = _checked(loadings, genes)
    if n_genes < 1:
        raise ValueError(f"n_genes is {n_genes}; expected at least 1")
    scores = gene_scores(loadings, genes)["score"].to_numpy() if len(loadings) > 1 else np.full(len(genes), np.nan)
    names = np.asarray(genes, dtype=object)
    tables = []
    for factor, row in enumerate(loadings):
        top = np.argsort(-np.abs(row), kind="stable")[:n_genes]
        top = top[row[top] != 0]
        tables.append(
            pd.DataFrame(
                {
                    "factor": factor,
                    "rank": np.arange(1, len(top) + 1),
                    "gene": names[top],
                    "loading": row[top],
                    "score": scores[top],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _checked(loadings, genes):
    loadings = np.asarray(loadings, dtype=float)
    if loadings.ndim != 2:
        raise ValueError(f"loadings have {loadings.ndim} dimensions; expected factors × genes")
    if loadings.shape[1] != len(genes):
        raise ValueError(f"loadings have {loadings.shape[1]} genes but {len(genes)} names were given")
    if not np.isfinite(loadings).all():
        raise ValueError("loadings have NaN or infinite values; expected the loadings of a fit")
    return loadings
