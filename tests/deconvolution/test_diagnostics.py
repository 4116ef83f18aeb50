"""Diagnostics of a reference: against numpy and scipy, and every finding on a planted fault."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pointillist.deconvolution.diagnostics import diagnose_reference

GENES = [f"g{i}" for i in range(60)]
TYPES = ["B", "CD4 T", "CD8 T"]


@pytest.fixture
def signature():
    matrix = np.full((3, 60), 1.0)
    for k in range(3):
        matrix[k, k * 20 : k * 20 + 20] = 12.0
    return matrix * np.random.default_rng(0).uniform(0.5, 1.5, matrix.shape)


@pytest.fixture
def markers():
    return pd.DataFrame({"cell_type": np.repeat(TYPES, 20), "gene": GENES})


def codes(diagnosis):
    return [finding.code for finding in diagnosis.findings]


def test_a_good_reference_has_no_findings(signature, markers):
    counts = pd.Series(10, index=GENES)
    diagnosis = diagnose_reference(signature, TYPES, GENES, markers, [100, 50, 25], counts)
    assert diagnosis.findings == ()
    assert diagnosis.share_of_counts == 1
    assert diagnosis.condition_number == pytest.approx(np.linalg.cond(signature))
    assert list(diagnosis.findings_frame()) == ["level", "code", "subject", "found", "implies", "fix"]


def test_correlations_are_pearsons_of_square_roots(signature, markers):
    found = diagnose_reference(signature, TYPES, GENES, markers).correlations
    expected = stats.pearsonr(np.sqrt(signature[0]), np.sqrt(signature[1])).statistic
    assert found.loc["B", "CD4 T"] == found.loc["CD4 T", "B"] == pytest.approx(expected)
    assert np.diag(found).tolist() == [1, 1, 1]


def test_inflation_is_that_of_a_regression(signature, markers):
    """The variance of a coefficient over that of a regression on its type alone, whatever the design."""
    signature[2] = 0.5 * (signature[1] + signature[2])
    found = diagnose_reference(signature, TYPES, GENES, markers).by_type["variance_inflation"]
    mean = signature.mean(axis=0)
    design = (signature / np.sqrt(mean + 0.05 * mean.mean())).T
    covariance = np.linalg.inv(design.T @ design)
    for k in range(3):
        assert found[k] == pytest.approx(covariance[k, k] * (design[:, k] @ design[:, k]))


def test_similar_types_are_told_to_be_merged(signature, markers):
    signature[2] = signature[1] * np.random.default_rng(1).uniform(0.97, 1.03, 60)
    diagnosis = diagnose_reference(signature, TYPES, GENES, markers)
    assert codes(diagnosis) == ["similar-types", "ill-conditioned"]
    (finding,) = [one for one in diagnosis.findings if one.code == "similar-types"]
    assert finding.subject == "CD4 T, CD8 T"
    assert "merge" in finding.fix
    assert diagnosis.by_type["most_similar"].tolist()[1:] == ["CD8 T", "CD4 T"]


def test_a_mixture_of_two_others_is_seen_without_any_pair_being_alike(signature, markers):
    noise = np.random.default_rng(1).uniform(0.8, 1.2, 60)
    matrix = np.vstack([signature, 0.5 * (signature[0] + signature[1]) * noise])
    diagnosis = diagnose_reference(matrix, [*TYPES, "mixed"], GENES, markers)
    assert diagnosis.by_type["correlation"].max() < 0.95
    inflated = [one.subject for one in diagnosis.findings if one.code == "inflated-type"]
    assert "mixed" in inflated
    assert "CD8 T" not in inflated


@pytest.mark.parametrize("fault", ["identical", "mixture", "silent"])
def test_signatures_that_nothing_can_tell_apart_are_errors(signature, markers, fault):
    match fault:
        case "identical":
            signature[2] = 3 * signature[1]
        case "mixture":
            signature[2] = signature[0] + signature[1]
        case "silent":
            signature[2] = 0
    diagnosis = diagnose_reference(signature, TYPES, GENES, markers)
    error = diagnosis.findings[0]
    assert error.level == "error"
    assert "CD8 T" in error.subject
    assert ("B" in error.subject) == (fault == "mixture")
    text = str(error.problem(sample="S1", file="reference.h5ad"))
    assert text.startswith(f"ERROR [{error.code}] sample=S1 file=reference.h5ad: found {error.subject}")
    assert "Fix: " in text


def test_few_cells_markers_and_genes(signature, markers):
    few = markers[~((markers["cell_type"] == "CD8 T") & (markers.index > 42))]
    sample = pd.Series(1, index=[*GENES, *(f"other{i}" for i in range(100))])
    diagnosis = diagnose_reference(signature, TYPES, GENES, few, [24, 25, 100], sample)
    found = {one.code: one for one in diagnosis.findings}
    assert set(found) == {"few-cells-of-type", "few-markers", "small-share-of-counts"}
    assert (found["few-cells-of-type"].subject, found["few-markers"].subject) == ("B", "CD8 T")
    assert "37.5%" in found["small-share-of-counts"].found
    assert {one.level for one in diagnosis.findings} == {"warning"}
    small = diagnose_reference(signature[:, ::3], TYPES, GENES[::3], markers.iloc[::3])
    assert "few-genes-shared" in codes(small)


def test_what_cannot_be_diagnosed_is_refused(signature, markers):
    with pytest.raises(ValueError, match="cell types × genes"):
        diagnose_reference(signature, TYPES[:2], GENES, markers)
    with pytest.raises(ValueError, match="markers that the signature lacks"):
        diagnose_reference(signature, TYPES, ["x", *GENES[1:]], markers)
    with pytest.raises(ValueError, match="one cell type"):
        diagnose_reference(signature[:1], TYPES[:1], GENES, markers)
