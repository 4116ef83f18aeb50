"""Every way in which a sample or a reference was seen to be unusable, one fixture each."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from pointillist.data import check_reference, check_shared_genes, check_spots
from pointillist.errors import InputError, raise_errors

N_SPOTS, N_GENES = 40, 60


@pytest.fixture
def spots():
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(1.0, 4.0, N_GENES), (N_SPOTS, N_GENES)).astype(np.float32)
    counts[0] += 1  # no gene without count
    adata = AnnData(sparse.csr_matrix(counts), layers={"counts": sparse.csr_matrix(counts)})
    adata.obs_names = [f"spot{i}" for i in range(N_SPOTS)]
    adata.var_names = [f"GENE{i}" for i in range(N_GENES)]
    adata.obsm["spatial"] = np.stack(np.divmod(np.arange(N_SPOTS), 8), axis=1) * 100.0
    adata.obs["layer"] = "L1"
    return adata


@pytest.fixture
def cells(spots):
    del spots.obsm["spatial"]
    spots.obs["cell_type"] = pd.Categorical(np.repeat(["T", "B/plasma"], N_SPOTS // 2))
    return spots


def find(problems, code):
    """The one problem of `code`."""
    (problem,) = [problem for problem in problems if problem.code == code]
    return problem


def check(adata, **options):
    problems = check_spots(adata, sample="S1", file="spots.h5ad", **options)
    assert all((problem.sample, problem.file) == ("S1", "spots.h5ad") for problem in problems)
    assert all(problem.found and problem.fix and problem.column is not None for problem in problems if problem.column)
    return problems


def set_counts(adata, matrix):
    adata.layers["counts"] = matrix if sparse.issparse(matrix) else sparse.csr_matrix(matrix)
    return adata


def normalised(adata, target=1e4):
    counts = adata.layers["counts"].toarray()
    return target * counts / counts.sum(axis=1, keepdims=True)


def test_a_sample_without_fault(spots):
    assert check(spots, labels="layer") == []


def test_input_is_left_as_it_was(spots):
    before = spots.layers["counts"].copy()
    set_counts(spots, np.log1p(normalised(spots)))
    logged = spots.layers["counts"].copy()
    check(spots)
    assert (spots.layers["counts"] != logged).nnz == 0 and (spots.X != before).nnz == 0


# counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [1e4, 1e6, 2500])
def test_log1p_of_normalised_counts_names_the_target(spots, target):
    spots.X = spots.X * 0.5  # the counts are nowhere else
    problem = find(check(set_counts(spots, np.log1p(normalised(spots, target)))), "log-normalised")
    assert problem.column == "layers['counts']" and problem.level == "error"
    assert f"log1p of counts normalised to {target:.6g} a spot" in problem.found
    assert "allow_noninteger: true" in problem.fix


def test_log2(spots):
    found = check(set_counts(spots, np.log2(1 + normalised(spots))))
    assert "log2(x + 1) of counts normalised to 10000" in find(found, "log-normalised").found


def test_log1p_after_genes_were_dropped(spots):
    spots = set_counts(spots, np.log1p(normalised(spots)).astype(np.float32))[:, :25].copy()
    assert "genes were dropped" in find(check(spots), "log-normalised").found


def test_normalised(spots):
    problem = find(check(set_counts(spots, normalised(spots))), "normalised")
    assert "counts normalised to 10000 a spot" in problem.found


def test_fractions_of_no_known_kind(spots):
    noise = np.random.default_rng(0).uniform(0, 0.3, (N_SPOTS, N_GENES)) * (np.arange(N_SPOTS)[:, None] % 2)
    corrected = set_counts(spots, spots.layers["counts"].toarray() + noise)
    problem = find(check(corrected), "noninteger-counts")
    assert "% of the stored values are not whole" in problem.found
    assert check(corrected, allow_noninteger=True) == []


def test_logarithms_are_refused_even_where_fractions_are_allowed(spots):
    logged = set_counts(spots, np.log1p(normalised(spots)))
    assert find(check(logged, allow_noninteger=True), "log-normalised")


@pytest.mark.parametrize(
    ("where", "fix"),
    [("X", "raw counts are in X"), ("layers", "raw counts are in layers['umi']"), ("raw", "raw counts are in raw.X")],
)
def test_where_the_counts_are_is_told(spots, where, fix):
    counts = spots.X.copy()
    logged = np.log1p(normalised(spots))
    set_counts(spots, logged)
    if where == "layers":
        spots.layers["umi"] = counts
    elif where == "raw":
        spots.raw = AnnData(counts, spots.obs, spots.var)
    if where != "X":
        spots.X = sparse.csr_matrix(logged)
    assert fix in find(check(spots), "log-normalised").fix


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, "nan-counts"), (np.inf, "infinite-counts"), (-2.0, "negative-counts")]
)
def test_values_that_are_no_counts(spots, value, code):
    del spots.layers["counts"]
    matrix = spots.X.toarray()
    matrix[7, 11] = matrix[9, 2] = value
    spots.X = sparse.csr_matrix(matrix)
    problem = find(check(spots), code)
    assert problem.column == "X"
    assert problem.found.startswith("2 ") and "spot 'spot7', gene 'GENE11'" in problem.found


def test_scaled_values(spots):
    spots.X = np.random.default_rng(0).normal(size=spots.shape).astype(np.float32)
    del spots.layers["counts"]
    assert "scaled values?" in find(check(spots), "negative-counts").found


def test_all_kinds_of_bad_values_are_told_at_once(spots):
    matrix = spots.X.toarray()
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = np.nan, np.inf, -1
    codes = {problem.code for problem in check(set_counts(spots, matrix))}
    assert codes == {"nan-counts", "infinite-counts", "negative-counts"}


def test_empty_spots_and_genes_are_warnings(spots):
    matrix = spots.X.toarray()
    matrix[[3, 8]], matrix[:, 5] = 0, 0
    problems = check(set_counts(spots, matrix))
    assert {problem.level for problem in problems} == {"warning"}
    assert "2 of 40 spots without any count (spot3, spot8)" in find(problems, "zero-count-spots").found
    assert "1 of 60 genes" in find(problems, "zero-genes").found


def test_no_count_at_all(spots):
    problem = find(check(set_counts(spots, np.zeros(spots.shape))), "no-counts")
    assert problem.level == "error" and "no count at all in 40 spots × 60 genes" in problem.found


def test_no_spot_or_gene(spots):
    assert find(check(spots[:0].copy()), "no-counts")
    assert find(check(spots[:, :0].copy()), "no-counts")


def test_few_spots(spots):
    problem = find(check(spots[:9].copy(), min_spots=10), "few-spots")
    assert problem.found == "9 spots" and problem.expected == "at least 10"


# names -----------------------------------------------------------------------------------------------------------


def test_duplicate_barcodes(spots):
    spots.obs_names = ["spot1", *spots.obs_names[1:]]
    problem = find(check(spots), "duplicate-barcodes")
    assert problem.column == "obs_names" and "(spot1)" in problem.found
    assert "obs_names_make_unique" in problem.fix


def test_duplicate_genes(spots):
    spots.var_names = ["GENE3", *spots.var_names[1:]]
    problem = find(check(spots), "duplicate-genes")
    assert problem.column == "var_names" and "GENE3" in problem.found
    assert "var['gene_ids']" in problem.fix and "duplicate_genes='sum'" in problem.fix


def test_genome_prefixes(spots):
    spots.var_names = [("GRCh38_" if i % 3 else "mm10___") + f"GENE{i}" for i in range(N_GENES)]
    problem = find(check(spots), "genome-prefix")
    assert "GRCh38_ 40, mm10___ 20" in problem.found and problem.column == "var_names"
    assert problem.fix.endswith("genome_prefix='GRCh38_'")


def test_spreadsheet_dates(spots):
    spots.var_names = ["2-Mar", "Sep-02", "MARCHF2", "H2-Aa", *spots.var_names[4:]]
    problem = find(check(spots), "spreadsheet-dates")
    assert problem.level == "warning" and "2 gene names" in problem.found


@pytest.mark.parametrize(("name", "fix"), [("Layer", "did you mean layer?"), ("xyz", "choose one of: layer")])
def test_missing_labels(spots, name, fix):
    problem = find(check(spots, labels=name), "no-labels")
    assert (problem.level, problem.column, problem.fix) == ("error", name, fix)


def test_empty_labels(spots):
    spots.obs["layer"] = np.nan
    assert find(check(spots, labels="layer"), "no-labels").column == "layer"


# coordinates and images ------------------------------------------------------------------------------------------


def test_no_coordinates_is_a_warning(spots):
    del spots.obsm["spatial"]
    problem = find(check(spots), "no-coordinates")
    assert problem.level == "warning" and problem.column == "obsm['spatial']"


def test_missing_coordinates(spots):
    spots.obsm["spatial"][[2, 5], 1] = [np.nan, np.inf]
    problem = find(check(spots), "missing-coordinates")
    assert problem.level == "error" and "2 of 40" in problem.found and "5.0%: spot2, spot5" in problem.found
    assert "suffix -1" in problem.fix


def test_coordinates_of_text(spots):
    spots.obsm["spatial"] = spots.obsm["spatial"].astype(str)
    assert "to_numpy(dtype=float)" in find(check(spots), "coordinates-shape").fix


def test_two_spots_in_one_place(spots):
    spots.obsm["spatial"][4] = spots.obsm["spatial"][3]
    problem = find(check(spots), "duplicate-coordinates")
    assert problem.level == "warning" and "2 spots" in problem.found and "spot3, spot4" in problem.found


@pytest.mark.parametrize(
    ("shape", "factor", "fix"),
    [
        ((90, 60), 0.1, None),
        ((90, 60), 0.2, "check that the image and tissue_hires_scalef (0.2) belong"),
        ((60, 90), 0.1, "swap x and y"),
    ],
)
def test_spots_beside_the_image(spots, shape, factor, fix):
    """Spots reach 400 × 700."""
    image = np.zeros((*shape, 3), dtype=np.uint8)
    spots.uns["spatial"] = {"S1": {"images": {"hires": image}, "scalefactors": {"tissue_hires_scalef": factor}}}
    problems = check(spots)
    if fix is None:
        assert problems == []
    else:
        problem = find(problems, "spots-outside-image")
        assert problem.level == "warning" and fix in problem.fix
        assert problem.column == "uns['spatial']['S1']['images']['hires']"


def test_image_without_scale(spots):
    spots.uns["spatial"] = {"S1": {"images": {"lowres": np.zeros((9, 9, 3))}, "scalefactors": {}}}
    problem = find(check(spots), "scalefactors")
    assert "tissue_lowres_scalef" in problem.fix


def test_everything_is_told_at_once(spots):
    spots.obsm["spatial"][0] = np.nan
    spots.var_names = ["GENE3", *spots.var_names[1:]]
    spots.obs_names = ["spot1", *spots.obs_names[1:]]
    problems = check(set_counts(spots, np.log1p(normalised(spots))), labels="region", min_spots=100)
    codes = {"few-spots", "duplicate-barcodes", "log-normalised", "duplicate-genes", "missing-coordinates", "no-labels"}
    assert {problem.code for problem in problems} == codes
    with pytest.raises(InputError) as caught:
        raise_errors(problems)
    assert str(caught.value).count("ERROR [") == 6


# references ------------------------------------------------------------------------------------------------------


def check_cells(adata, **options):
    options = {"cell_type": "cell_type", "min_cells": 10} | options
    problems = check_reference(adata, reference="cortex", file="reference.h5ad", **options)
    assert all(problem.file == "reference.h5ad" for problem in problems)
    return problems


def test_a_reference_without_fault(cells):
    assert check_cells(cells) == []


def test_reference_that_is_not_raw(cells):
    problem = find(check_cells(set_counts(cells, np.log1p(normalised(cells)))), "log-normalised")
    assert "10000 a cell" in problem.found


def test_missing_cell_types(cells):
    problem = find(check_cells(cells, cell_type="celltype"), "no-cell-types")
    assert problem.column == "celltype" and problem.fix == "did you mean cell_type?" and "'cortex'" in problem.found


@pytest.mark.parametrize("empty", [np.nan, "", "  ", "nan", "NA"])
def test_cells_without_label(cells, empty):
    cells.obs["cell_type"] = [empty, empty, *cells.obs["cell_type"][2:].astype(str)]
    problem = find(check_cells(cells), "unlabelled-cells")
    assert problem.column == "cell_type" and "2 of 40 cells" in problem.found and "spot0, spot1" in problem.found
    assert "adata.obs['cell_type'].notna()" in problem.fix


def test_one_cell_type(cells):
    cells.obs["cell_type"] = pd.Categorical(["T"] * N_SPOTS, categories=["T", "B"])  # an unused category is no type
    problem = find(check_cells(cells), "one-cell-type")
    assert "1 cell types in reference 'cortex' (labels: T)" in problem.found and problem.expected == "at least 2"


@pytest.mark.parametrize(("policy", "level"), [("error", "error"), ("drop", "warning")])
def test_types_of_few_cells(cells, policy, level):
    cells.obs["cell_type"] = ["T"] * 20 + ["B"] * 11 + ["γδ T"] * 6 + ["pDC"] * 3
    problem = find(check_cells(cells, few_cells=policy), "few-cells")
    assert problem.level == level and problem.column == "cell_type"
    assert "2 of 4 cell types" in problem.found and "pDC: 3, γδ T: 6" in problem.found
    assert ("none needed" if policy == "drop" else "few_cells: drop") in problem.fix


def test_too_few_types_after_dropping(cells):
    cells.obs["cell_type"] = ["T"] * 35 + ["B"] * 5
    assert not [p for p in check_cells(cells) if p.code == "one-cell-type"]
    assert "1 cell types with enough cells" in find(check_cells(cells, few_cells="drop"), "one-cell-type").found
    with pytest.raises(ValueError, match="few_cells"):
        check_cells(cells, few_cells="merge")


def test_cells_of_one_name_are_a_warning(cells):
    cells.obs_names = ["spot1", *cells.obs_names[1:]]
    assert find(check_cells(cells), "duplicate-barcodes").level == "warning"


# genes in both ---------------------------------------------------------------------------------------------------

SYMBOLS = [f"Gene{i}" for i in range(100)]
IDS = [f"ENSG{i:011d}" for i in range(100)]


def shared(spot_genes, reference_genes, **options):
    options = {"min_shared_genes": 20} | options
    return check_shared_genes(spot_genes, reference_genes, sample="S1", reference="cortex", **options)


def test_shared_genes_in_the_order_of_the_sample():
    genes, problems = shared(SYMBOLS[::-1], [*SYMBOLS[:50], "Other"])
    assert problems == [] and genes.tolist() == SYMBOLS[49::-1]


def test_few_shared_genes_are_counted_both_ways():
    genes, (problem,) = shared(SYMBOLS, [*SYMBOLS[:5], *(f"X{i}" for i in range(20))])
    assert genes.tolist() == SYMBOLS[:5] and problem.level == "error"
    assert (problem.code, problem.sample, problem.column) == ("few-shared-genes", "S1", "var_names")
    assert "5 of 100 genes of the sample (5.0%)" in problem.found
    assert "5 of 25 genes of the reference 'cortex' (20.0%)" in problem.found
    assert "sample has Gene0, Gene1, Gene2, Gene3, Gene4" in problem.found
    assert "same species" in problem.fix


@pytest.mark.parametrize(
    ("spot_genes", "reference_genes", "options", "fix"),
    [
        (SYMBOLS, [name.upper() for name in SYMBOLS], {}, "upper case"),
        (IDS, [f"{name}.7" for name in IDS], {}, "strip the version"),
        ([f"GRCh38_{name}" for name in SYMBOLS], SYMBOLS, {}, "strip the genome prefix"),
        (SYMBOLS, IDS, {"spot_gene_ids": IDS}, "use var['gene_ids'] of the sample"),
        (IDS, SYMBOLS, {"reference_gene_ids": [f"{name}.1" for name in IDS]}, "use var['gene_ids'] of the reference"),
        (SYMBOLS, [f"other{i}" for i in range(100)], {"spot_gene_ids": IDS, "reference_gene_ids": IDS}, "of both as"),
    ],
)
def test_the_spelling_that_would_match_is_told(spot_genes, reference_genes, options, fix):
    _, (problem,) = shared(spot_genes, reference_genes, **options)
    assert fix in problem.fix and "100 genes would match" in problem.fix


def test_identifiers_against_symbols_without_any_table_of_both():
    _, (problem,) = shared(SYMBOLS, IDS, file="spots.h5ad")
    assert problem.file == "spots.h5ad"
    assert "the reference has Ensembl identifiers and the sample symbols" in problem.fix
    _, (problem,) = shared(IDS, SYMBOLS)
    assert "put symbols into the sample's var_names" in problem.fix


def test_min_shared_genes_is_checked():
    with pytest.raises(ValueError, match="min_shared_genes"):
        shared(SYMBOLS, SYMBOLS, min_shared_genes=0)


def test_real_sample_and_reference(shared_data):
    from pointillist.data import read_reference, read_spots

    spots = read_spots(shared_data("lymph/spots.h5ad"), sample="lymph")
    reference = read_reference(shared_data("lymph/reference.h5ad"), "cell_type", name="lymph")
    assert reference.obs["cell_type"].nunique() == 11
    assert not [p for p in check_reference(reference, reference="lymph", cell_type="cell_type") if p.level == "error"]
    genes, problems = shared(spots.var_names, reference.var_names, min_shared_genes=500)
    assert len(genes) == 558 and problems == []
    assert "558 of 2000" in shared(spots.var_names, reference.var_names, min_shared_genes=600)[1][0].found


def test_real_reference_with_small_types(shared_data):
    from pointillist.data import read_reference

    reference = read_reference(shared_data("her2st/reference.h5ad"), "celltype_minor", name="breast")
    counts = reference.obs["celltype_minor"].value_counts()
    problems = check_reference(reference, reference="breast", cell_type="celltype_minor", min_cells=11)
    problem = find(problems, "few-cells")
    for name in counts.index[counts < 11]:
        assert f"{name}: {counts[name]}" in problem.found
    assert "Cycling T-cells: 10" in problem.found
