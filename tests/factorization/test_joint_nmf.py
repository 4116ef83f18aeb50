"""Joint NMF against NMF of the scaled concatenation, and planted shared factors (our simulator; ECCITE-seq)."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import non_negative_factorization

from pointillist.factorization import centred_log_ratio, joint_nmf, nmf


@pytest.fixture(scope="module")
def two_modalities(planted):
    """RNA of the planted factors, and 12 proteins: three to each factor, at a hundred times the scale."""
    usage, _, rna = planted
    markers = np.kron(np.eye(4), np.ones(3))
    protein = np.random.default_rng(9).poisson(5 + usage @ markers).astype(float)
    return {"rna": rna, "protein": protein}, markers


@pytest.mark.parametrize("weights", [None, {"protein": 0.02, "rna": 3.0}])
def test_equals_nmf_of_the_scaled_concatenation(two_modalities, weights):
    modalities, _ = two_modalities
    rna, protein = modalities["rna"].toarray(), modalities["protein"]
    theta = weights or {"rna": 1 / (rna**2).sum(), "protein": 1 / (protein**2).sum()}
    side_by_side = np.hstack([np.sqrt(theta["rna"]) * rna, np.sqrt(theta["protein"]) * protein])
    joint = joint_nmf(modalities, 4, weights=weights, tolerance=1e-6)
    single = nmf(side_by_side, 4, tolerance=1e-6)
    np.testing.assert_allclose(joint.usage, single.usage, atol=1e-8 * single.usage.max())
    ours = np.hstack([np.sqrt(theta[name]) * joint.loadings[name] for name in ("rna", "protein")])
    np.testing.assert_allclose(ours, single.loadings, atol=1e-8)
    by_hand = sum(
        theta[name] * np.linalg.norm(matrix - joint.usage @ joint.loadings[name]) ** 2
        for name, matrix in (("rna", rna), ("protein", protein))
    )
    assert joint.loss[-1] == pytest.approx(by_hand, rel=1e-7)
    assert joint.converged


def test_loss_is_not_above_scikit_learns(two_modalities):
    modalities, _ = two_modalities
    blocks = [modalities["rna"].toarray(), modalities["protein"]]
    side_by_side = np.hstack([block / np.linalg.norm(block) for block in blocks])
    usage, loadings, _ = non_negative_factorization(
        side_by_side, n_components=4, init="nndsvd", solver="cd", tol=1e-8, max_iter=3000
    )
    theirs = np.linalg.norm(side_by_side - usage @ loadings) ** 2
    assert joint_nmf(modalities, 4, tolerance=1e-6).loss[-1] <= theirs * (1 + 1e-4)


def test_proteins_go_with_the_genes_of_their_factor(planted, two_modalities, matched_correlation):
    usage, loadings, _ = planted
    modalities, markers = two_modalities
    fit = joint_nmf(modalities, 4)
    assert matched_correlation(fit.usage.T, usage.T) > 0.97
    assert matched_correlation(fit.loadings["rna"], loadings) > 0.97
    genes = np.corrcoef(fit.loadings["rna"], loadings)[:4, 4:].argmax(axis=1)
    proteins = np.corrcoef(fit.loadings["protein"], markers)[:4, 4:].argmax(axis=1)
    assert genes.tolist() == proteins.tolist()


def test_proteins_of_other_spots_do_not_share_factors(two_modalities):
    modalities, _ = two_modalities
    order = np.random.default_rng(0).permutation(len(modalities["protein"]))
    paired = joint_nmf(modalities, 4)
    control = joint_nmf({"rna": modalities["rna"], "protein": modalities["protein"][order]}, 4)
    assert control.loss[-1] > 3 * paired.loss[-1]


def test_every_modality_counts_by_default(two_modalities):
    modalities, _ = two_modalities
    louder = {"rna": modalities["rna"], "protein": 1000 * modalities["protein"]}
    fit, other = joint_nmf(modalities, 4, tolerance=1e-7), joint_nmf(louder, 4, tolerance=1e-7)
    np.testing.assert_allclose(other.usage, fit.usage, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(other.loadings["protein"], 1000 * fit.loadings["protein"], rtol=1e-4, atol=1e-6)
    assert set(fit.explained) == {"rna", "protein"}


def test_order_of_modalities_does_not_matter(two_modalities):
    modalities, _ = two_modalities
    fit = joint_nmf(modalities, 4, tolerance=1e-7)
    other = joint_nmf(dict(reversed(modalities.items())), 4, tolerance=1e-7)
    np.testing.assert_allclose(other.usage, fit.usage, rtol=1e-4, atol=1e-7)


def test_real_cells(shared_data):
    import anndata

    cells = anndata.read_h5ad(shared_data("citeseq/citeseq.h5ad"))
    rna = cells[:, np.asarray((cells.X > 0).mean(axis=0)).ravel() > 0.1].X.astype(float)
    totals = np.asarray(rna.sum(axis=1)).ravel()
    rna = (sparse.diags_array(np.median(totals) / totals) @ rna).log1p()
    protein = centred_log_ratio(cells.obsm["protein"].to_numpy())
    fit = joint_nmf({"rna": rna, "protein": protein}, 6)
    assert fit.converged
    assert fit.explained["rna"] > 0.5
    assert fit.explained["protein"] > 0.7
    assert fit.explained["rna"] < nmf(rna, 6).explained + 1e-3


def test_missing_modalities_and_spots_are_refused(two_modalities):
    modalities, _ = two_modalities
    holes = modalities["protein"].copy()
    holes[[3, 7]] = np.nan
    with pytest.raises(ValueError, match=r"'protein'.* in 2 spots, the first in rows 3, 7.*lack a modality"):
        joint_nmf({"rna": modalities["rna"], "protein": holes}, 4)
    with pytest.raises(ValueError, match="'protein' is missing"):
        joint_nmf({"rna": modalities["rna"], "protein": None}, 4)
    with pytest.raises(ValueError, match="found 1 modality"):
        joint_nmf({"rna": modalities["rna"]}, 4)
    with pytest.raises(ValueError, match=r"rna 400, protein 399"):
        joint_nmf({"rna": modalities["rna"], "protein": modalities["protein"][1:]}, 4)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"rna": 1.0}, r"weights are for \['rna'\]; expected one for each of \['protein', 'rna'\]"),
        ({"rna": 1.0, "protein": 0.0}, "'protein' is 0.0"),
        ({"rna": float("nan"), "protein": 1.0}, "'rna' is nan"),
    ],
)
def test_unfit_weights_are_refused(two_modalities, weights, message):
    with pytest.raises(ValueError, match=message):
        joint_nmf(two_modalities[0], 4, weights=weights)
