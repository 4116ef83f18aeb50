"""Centred log-ratio: protein counts of a spot relative to their own geometric mean.

::

    y_sp = log(1 + x_sp / g_s),   g_s = exp(mean_p log(1 + x_sp))

the non-negative form of Stoeckius et al. (2017) that Seurat made usual, so that nothing has to be clipped before
NMF. Antibody panels are small, and one or two antibodies hold much of a spot's total: dividing by the total, as is
right for thousands of genes, would make all others fall where those rise. The geometric mean is ruled by the many.
Zeros stay zeros.

>>> import numpy as np
>>> from pointillist.factorization import centred_log_ratio
>>> one, other = centred_log_ratio(np.array([[3.0, 3.0], [0.0, 8.0]])).toarray()
>>> bool(np.allclose(one, np.log1p(3 / 4)))
True
"""

import numpy as np

from pointillist.factorization.factorization import check_matrix


def centred_log_ratio(counts):
    """Protein counts on the scale of log-ratios to each spot's geometric mean.

    Parameters
    ----------
    counts : sparse or dense matrix, spots × proteins

    Returns
    -------
    csr_array, spots × proteins
        Non-negative; zero where the count is.

    Raises
    ------
    ValueError
        Negative, NaN or infinite counts.

    References
    ----------
    Stoeckius et al. (2017). Simultaneous epitope and transcriptome measurement in single cells. Nature Methods 14:865.
    """
    ratios = check_matrix(counts, nonnegative=True, name="the protein counts")
    centre = np.exp(ratios.log1p().sum(axis=1) / ratios.shape[1])
    ratios.data = np.log1p(ratios.data / np.repeat(centre, np.diff(ratios.indptr)))
    return ratios
