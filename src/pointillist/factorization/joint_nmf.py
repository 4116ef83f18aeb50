"""Joint non-negative matrix factorisation: one usage of factors behind several modalities of the same spots.

Modalities ``X_m`` (S × G_m: RNA, protein, …) share the spots, and so share ``W``::

    min Σ_m θ_m ‖X_m - W H_m‖²,   W ≥ 0 (S × K, usage),   H_m ≥ 0 (K × G_m, loadings of modality m)

(Zhang et al. 2012). A factor is thus a programme of genes together with the proteins that go with it. The weights
``θ_m`` say how much each modality counts; ``1 / ‖X_m‖²``, the default, makes the largest possible loss of each
modality 1, so that 20,000 genes do not outvote 50 proteins. As ``Σ_m θ_m ‖X_m - W H_m‖²`` is the squared loss of the
modalities side by side, each times ``√θ_m``, this is solved as NMF of that matrix (see `nmf`).

Every modality has to be transformed beforehand to a scale on which differences are comparable: RNA log-normalised,
protein by `centred_log_ratio`.

>>> import numpy as np
>>> from pointillist.factorization import joint_nmf
>>> W = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
>>> rna, protein = W @ [[1.0, 3.0, 0.0], [0.0, 1.0, 2.0]], W @ [[4.0, 0.0], [0.0, 5.0]]
>>> fit = joint_nmf({"rna": rna, "protein": protein}, n_factors=2, tolerance=1e-8, max_iter=5000)
>>> bool(np.allclose(fit.usage @ fit.loadings["protein"], protein, atol=1e-5))
True
"""

from numbers import Real

import numpy as np
from scipy import sparse

from pointillist.factorization.factorization import Factorization, check_matrix
from pointillist.factorization.nmf import OPTIONS, best_of_starts, explained, ordered
from pointillist.record import Method


def joint_nmf(modalities, n_factors, weights=None, init="nndsvd", n_starts=1, max_iter=2000, tolerance=1e-4, seed=0):
    """Non-negative factors that several modalities of the same spots share.

    Parameters
    ----------
    modalities : dict of str to sparse or dense matrix, spots × features
        At least two, rows being the same spots in the same order; non-negative, on the scale that is to be
        factorised. A spot that lacks a modality cannot be given yet.
    n_factors : int
    weights : dict of str to float, optional
        ``θ_m`` of every modality; ``1 / ‖X_m‖²`` by default.
    init : {"nndsvd", "random"}
    n_starts, max_iter : int
    tolerance : float
        As for `nmf`.
    seed : int

    Returns
    -------
    Factorization
        ``loadings`` and ``explained`` are dicts by modality. The loadings of each factor, times ``√θ_m``, sum to 1
        over all modalities; ``loss`` is ``Σ_m θ_m ‖X_m - W H_m‖²``.

    Raises
    ------
    ValueError
        Fewer than two modalities, different numbers of spots, negative, NaN or infinite values, or weights that do not
        belong to the modalities or are not positive.

    References
    ----------
    Zhang et al. (2012). Discovery of multi-dimensional modules by integrative analysis of cancer genomic data. Nucleic
    Acids Research 40:9379.
    """
    matrices = _checked(modalities)
    theta = _theta(matrices, weights)
    scaled = sparse.hstack([matrices[name] * np.sqrt(theta[name]) for name in matrices], format="csr")
    scaled = check_matrix(scaled, n_factors, nonnegative=True, name="the modalities side by side")
    best, start = best_of_starts(scaled, n_factors, "frobenius", init, n_starts, max_iter, tolerance, seed)
    usage, side_by_side, share = ordered(best.usage, best.loadings)
    ends = np.cumsum([matrix.shape[1] for matrix in matrices.values()])
    loadings = {
        name: np.ascontiguousarray(block) / np.sqrt(theta[name])
        for name, block in zip(matrices, np.split(side_by_side, ends[:-1], axis=1), strict=True)
    }
    return Factorization(
        usage=usage,
        loadings=loadings,
        loss=best.loss,
        share=share,
        explained={name: explained(matrices[name], usage, loadings[name]) for name in matrices},
        converged=best.converged,
        residual=best.residual,
        start=start,
    )


def _checked(modalities):
    """Each modality as CSR, once all are known to be there and to have the same spots."""
    if len(modalities) < 2:
        raise ValueError(f"found {len(modalities)} modality; joint factorisation needs two or more (else take nmf)")
    for name, matrix in modalities.items():
        if matrix is None:
            raise ValueError(f"modality {name!r} is missing; leave it out, or the sample that lacks it")
    matrices = {}
    for name, matrix in modalities.items():
        try:
            matrices[name] = check_matrix(matrix, nonnegative=True, name=f"modality {name!r}")
        except ValueError as error:
            if "NaN" not in str(error):
                raise
            raise ValueError(
                f"{error}. Spots that lack a modality are not supported: leave them out of every modality"
            ) from None
    spots = {name: matrix.shape[0] for name, matrix in matrices.items()}
    if len(set(spots.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in spots.items())
        raise ValueError(f"modalities have different numbers of spots ({found}); expected the same spots in each")
    return matrices


def _theta(matrices, weights):
    """``θ_m`` by modality, in the modalities' order."""
    if weights is None:
        return {name: 1 / (matrix.data @ matrix.data) for name, matrix in matrices.items()}
    if set(weights) != set(matrices):
        raise ValueError(f"weights are for {sorted(weights)}; expected one for each of {sorted(matrices)}")
    for name, weight in weights.items():
        if not (isinstance(weight, Real) and np.isfinite(weight) and weight > 0):
            raise ValueError(f"weight of modality {name!r} is {weight!r}; expected a number above 0")
    return {name: float(weights[name]) for name in matrices}


JOINT_NMF = Method(
    name="joint_nmf",
    title="Joint non-negative matrix factorisation",
    summary="Factors whose usage is shared by several modalities of the same spots",
    function=joint_nmf,
    citations=("zhang2012", "cichocki2009"),
    needs=frozenset({"modalities"}),
    gives="joint_nmf_usage",
    options={
        "weights": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
            "default": None,
            "description": "Weight of each modality's squared error; one over its sum of squares when not given",
        },
        **OPTIONS,
    },
)
