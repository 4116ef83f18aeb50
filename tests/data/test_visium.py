"""Space Ranger's folders: every layout that is known, and every way in which one was seen broken."""

import gzip
import json
import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from pointillist.data import check_spots, inspect, read_positions, read_spots
from pointillist.errors import InputError

COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
N_SPOTS, N_GENES = 12, 20
BARCODES = [f"AAAC{i:04d}-1" for i in range(N_SPOTS)]
FACTORS = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "spot_diameter_fullres": 40.0}


@pytest.fixture
def counts():
    return sparse.csr_matrix(np.random.default_rng(0).poisson(3.0, (N_SPOTS, N_GENES)))


@pytest.fixture
def positions():
    return pd.DataFrame(
        {
            "barcode": BARCODES,
            "in_tissue": [1] * 9 + [0] * 3,
            "array_row": np.arange(N_SPOTS) // 4,
            "array_col": 2 * (np.arange(N_SPOTS) % 4),
            "pxl_row_in_fullres": 100.0 * (np.arange(N_SPOTS) // 4) + 50,
            "pxl_col_in_fullres": 90.0 * (np.arange(N_SPOTS) % 4) + 60,
        }
    )


@pytest.fixture
def outs(tmp_path, counts, positions):
    """An ``outs`` folder as Space Ranger 2 writes it."""
    folder = tmp_path / "outs"
    (folder / "spatial").mkdir(parents=True)
    write_h5(folder / "filtered_feature_bc_matrix.h5", counts)
    positions.to_csv(folder / "spatial" / "tissue_positions.csv", index=False)
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(FACTORS))
    for name, factor in (("hires", 0.5), ("lowres", 0.1)):
        image = np.full((int(400 * factor), int(440 * factor), 3), 200, dtype=np.uint8)
        Image.fromarray(image).save(folder / "spatial" / f"tissue_{name}_image.png")
    return folder


def write_h5(path, counts, barcodes=BARCODES, names=None, types=None):
    n_genes = counts.shape[1]
    columns = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(barcodes, dtype="S")
        matrix["data"], matrix["indices"], matrix["indptr"] = columns.data, columns.indices, columns.indptr
        matrix["shape"] = np.array(columns.shape)
        features = matrix.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(n_genes)], dtype="S")
        features["name"] = np.array(names or [f"GENE{i}" for i in range(n_genes)], dtype="S")
        features["feature_type"] = np.array(types or ["Gene Expression"] * n_genes, dtype="S")
        features["genome"] = np.array(["GRCh38"] * n_genes, dtype="S")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S")


def write_mtx(folder, counts, ending="", prefix="", genes="features.tsv"):
    folder.mkdir(exist_ok=True)
    opened = gzip.open if ending else open
    with opened(folder / f"{prefix}matrix.mtx{ending}", "wb") as file:
        scipy.io.mmwrite(file, sparse.coo_matrix(counts.T), field="integer")
    kind = "\tGene Expression" if genes == "features.tsv" else ""
    lines = "".join(f"ENSG{i:011d}\tGENE{i}{kind}\n" for i in range(counts.shape[1]))
    with opened(folder / f"{prefix}{genes}{ending}", "wb") as file:
        file.write(lines.encode())
    with opened(folder / f"{prefix}barcodes.tsv{ending}", "wb") as file:
        file.write("".join(f"{barcode}\n" for barcode in BARCODES).encode())


def fails(call, code):
    """The one problem of `code` that `call` raises."""
    with pytest.raises(InputError) as caught:
        call()
    (problem,) = [problem for problem in caught.value.problems if problem.code == code]
    return problem


def assert_read(adata, counts, positions, spots=slice(None)):
    np.testing.assert_array_equal(adata.X.toarray(), counts.toarray()[spots])
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), counts.toarray()[spots])
    expected = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()[spots]
    np.testing.assert_array_equal(adata.obsm["spatial"], expected)
    assert adata.obs_names.tolist() == BARCODES[spots]


# layouts ---------------------------------------------------------------------------------------------------------


def test_version_2(outs, counts, positions):
    adata = read_spots(outs, sample="S1")
    assert_read(adata, counts, positions)
    assert sparse.isspmatrix_csr(adata.X) and adata.X.dtype == np.float32
    assert adata.obsm["spatial"].dtype == np.float64
    assert adata.obs["array_col"].tolist() == positions["array_col"].tolist()
    assert adata.var["gene_ids"].iloc[0] == "ENSG00000000000"
    entry = adata.uns["spatial"]["S1"]
    assert entry["scalefactors"] == FACTORS
    assert entry["images"]["hires"].shape == (200, 220, 3) and entry["images"]["lowres"].shape == (40, 44, 3)
    assert check_spots(adata, sample="S1") == []
    assert_read(read_spots(outs.parent, sample="S1"), counts, positions)  # the folder that holds outs


def test_version_1(outs, counts, positions):
    (outs / "spatial" / "tissue_positions.csv").unlink()
    positions.to_csv(outs / "spatial" / "tissue_positions_list.csv", index=False, header=False)
    assert_read(read_spots(outs), counts, positions)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", ["tissue_positions.csv", "tissue_positions_list.csv"])
def test_header_is_told_by_content_not_by_name(outs, counts, positions, name, header):
    (outs / "spatial" / "tissue_positions.csv").unlink()
    positions.to_csv(outs / "spatial" / name, index=False, header=header)
    assert_read(read_spots(outs), counts, positions)


def test_parquet_and_true_false(outs, counts, positions):
    (outs / "spatial" / "tissue_positions.csv").unlink()
    positions.astype({"in_tissue": bool}).to_parquet(outs / "spatial" / "tissue_positions.parquet")
    adata = read_spots(outs)
    assert_read(adata, counts, positions)
    assert adata.obs["in_tissue"].tolist() == [1] * 9 + [0] * 3


def test_positions_in_another_order(outs, counts, positions):
    positions[::-1].to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    assert_read(read_spots(outs), counts, positions)


@pytest.mark.parametrize(
    ("ending", "prefix", "genes"),
    [(".gz", "", "features.tsv"), ("", "", "features.tsv"), ("", "", "genes.tsv"), (".gz", "S1_", "features.tsv")],
)
def test_mtx_folder(outs, counts, positions, ending, prefix, genes):
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    write_mtx(outs / "filtered_feature_bc_matrix", counts, ending, prefix, genes)
    adata = read_spots(outs)
    assert_read(adata, counts, positions)
    assert adata.var["gene_ids"].iloc[3] == "ENSG00000000003"


def test_plain_files_named_gz(outs, counts, positions):
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    write_mtx(folder, counts)
    for file in list(folder.iterdir()):
        file.rename(f"{file}.gz")
    assert_read(read_spots(outs), counts, positions)


def test_prefixed_download(outs, counts, positions):
    (outs / "filtered_feature_bc_matrix.h5").rename(outs / "V1_Node_filtered_feature_bc_matrix.h5")
    assert_read(read_spots(outs), counts, positions)


def test_flattened_folder_of_a_repository(outs, counts, positions):
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    write_mtx(outs, counts, ".gz", prefix="GSM1_")
    for file in list((outs / "spatial").iterdir()):
        file.rename(outs / f"GSM1_{file.name}")
    (outs / "spatial").rmdir()
    adata = read_spots(outs)
    assert_read(adata, counts, positions, slice(9))
    assert set(adata.uns["spatial"]["outs"]["images"]) == {"hires", "lowres"}


def test_raw_matrix_leaves_out_spots_beside_the_tissue(outs, counts, positions):
    (outs / "filtered_feature_bc_matrix.h5").rename(outs / "raw_feature_bc_matrix.h5")
    assert_read(read_spots(outs), counts, positions, slice(9))
    assert inspect(outs).n_spots is None


def test_filtered_matrix_comes_before_raw(outs, counts, positions):
    write_h5(outs / "raw_feature_bc_matrix.h5", counts * 0)
    assert_read(read_spots(outs), counts, positions)


@pytest.mark.parametrize("kept", ["hires", "lowres"])
def test_one_image_alone(outs, kept):
    other = {"hires": "lowres", "lowres": "hires"}[kept]
    (outs / "spatial" / f"tissue_{other}_image.png").unlink()
    adata = read_spots(outs, sample="S1")
    assert list(adata.uns["spatial"]["S1"]["images"]) == [kept]


def test_matrix_and_positions_alone(outs, counts, positions):
    for name in ("scalefactors_json.json", "tissue_hires_image.png", "tissue_lowres_image.png"):
        (outs / "spatial" / name).unlink()
    adata = read_spots(outs)
    assert_read(adata, counts, positions)
    assert "spatial" not in adata.uns
    assert not inspect(outs).has_image


def test_large_image_is_made_smaller_with_its_scale(outs):
    Image.fromarray(np.zeros((1000, 4000, 3), dtype=np.uint8)).save(outs / "spatial" / "tissue_hires_image.png")
    entry = read_spots(outs, sample="S1").uns["spatial"]["S1"]
    assert entry["images"]["hires"].shape == (500, 2000, 3)
    assert entry["scalefactors"]["tissue_hires_scalef"] == 0.25


def test_antibodies_go_to_obsm(outs, counts, positions):
    types = ["Gene Expression"] * (N_GENES - 3) + ["Antibody Capture"] * 3
    names = [f"GENE{i}" for i in range(N_GENES - 3)] + ["CD3", "CD19", "CD4"]
    write_h5(outs / "filtered_feature_bc_matrix.h5", counts, names=names, types=types)
    adata = read_spots(outs)
    assert adata.n_vars == N_GENES - 3
    assert adata.obsm["protein"].columns.tolist() == ["CD3", "CD19", "CD4"]
    np.testing.assert_array_equal(adata.obsm["protein"].to_numpy(), counts.toarray()[:, -3:])
    assert inspect(outs).modalities == ("rna", "protein")
    assert inspect(outs).n_genes == N_GENES - 3


def test_symbols_of_several_genes_are_told_apart(outs, counts):
    names = [f"GENE{i}" for i in range(N_GENES)]
    names[5] = "GENE2"
    write_h5(outs / "filtered_feature_bc_matrix.h5", counts, names=names)
    adata = read_spots(outs)
    assert adata.var_names[[2, 5]].tolist() == ["GENE2_ENSG00000000002", "GENE2_ENSG00000000005"]
    np.testing.assert_array_equal(adata[:, "GENE2_ENSG00000000005"].X.toarray()[:, 0], counts.toarray()[:, 5])
    assert check_spots(adata, sample="S1") == []


def test_inspect_tells_the_same_as_reading(outs):
    contents, adata = inspect(outs), read_spots(outs)
    assert (contents.format, contents.n_spots, contents.n_genes) == ("visium", adata.n_obs, adata.n_vars)
    assert contents.obs_columns == tuple(adata.obs.columns)
    assert contents.has_coordinates and contents.has_image and contents.modalities == ("rna",)


# Visium HD -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hd(tmp_path, outs, counts, positions):
    """Bins of 2 and 8 µm; the images are beside the bins alone, as where links were not copied."""
    root = tmp_path / "hd" / "outs"
    for size in (2, 8):
        folder = root / "binned_outputs" / f"square_{size:03d}um"
        (folder / "spatial").mkdir(parents=True)
        write_h5(folder / "filtered_feature_bc_matrix.h5", counts * size)
        positions.to_parquet(folder / "spatial" / "tissue_positions.parquet")
        shutil.copy(outs / "spatial" / "scalefactors_json.json", folder / "spatial")
    (root / "spatial").mkdir()
    shutil.copy(outs / "spatial" / "tissue_lowres_image.png", root / "spatial")
    return root


def test_hd_bins(hd, counts, positions):
    adata = read_spots(hd, bin_um=8, sample="S1")
    assert_read(adata, counts * 8, positions)
    assert list(adata.uns["spatial"]["S1"]["images"]) == ["lowres"]
    assert_read(read_spots(hd, bin_um=2), counts * 2, positions)
    assert_read(read_spots(hd / "binned_outputs", bin_um=8), counts * 8, positions)
    assert_read(read_spots(hd / "binned_outputs" / "square_008um"), counts * 8, positions)


@pytest.mark.parametrize("where", ["", "binned_outputs", "binned_outputs/square_002um"])
def test_hd_needs_a_bin_size(hd, where):
    for call in (read_spots, inspect):
        problem = fails(lambda call=call: call(hd / where, sample="S1"), "bin-needed")
        assert (problem.sample, problem.column) == ("S1", "bin_um")
        assert problem.file.startswith(str(hd))
        assert "write 8 in the column bin_um" in problem.fix


def test_hd_unknown_bin(hd):
    problem = fails(lambda: read_spots(hd, bin_um=16, sample="S1"), "bin-missing")
    assert "2, 8" in problem.found and "one of them in the column bin_um: 2, 8" in problem.fix


# what is broken --------------------------------------------------------------------------------------------------


def test_no_matrix(outs):
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    (outs / "filtered_feature_bc_matrix.tar.gz").write_bytes(b"x")
    for call in (read_spots, inspect):
        problem = fails(lambda call=call: call(outs, sample="S1"), "no-matrix")
        assert (problem.sample, problem.file) == ("S1", str(outs))
        assert "tar -xzf" in problem.fix


def test_no_positions_names_every_file_that_would_do(outs):
    (outs / "spatial" / "tissue_positions.csv").unlink()
    problem = fails(lambda: inspect(outs, sample="S1"), "no-positions")
    assert "tissue_positions.parquet or tissue_positions.csv or tissue_positions_list.csv" in problem.expected
    assert "a matrix alone has no coordinates" in problem.fix


def test_everything_missing_is_told_at_once(tmp_path):
    (tmp_path / "spatial").mkdir()
    with pytest.raises(InputError) as caught:
        inspect(tmp_path, "visium", sample="S1")
    assert {problem.code for problem in caught.value.problems} == {"no-matrix", "no-positions"}


def test_several_samples_in_one_folder(outs):
    for prefix in "AB":
        shutil.copy(outs / "filtered_feature_bc_matrix.h5", outs / f"{prefix}_filtered_feature_bc_matrix.h5")
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    problem = fails(lambda: inspect(outs, sample="S1"), "ambiguous-layout")
    assert "A_filtered_feature_bc_matrix.h5 and B_filtered_feature_bc_matrix.h5" in problem.found
    assert "a folder of its own" in problem.fix


def test_two_positions_files(outs, counts, positions):
    positions.to_csv(outs / "spatial" / "tissue_positions_list.csv", index=False, header=False)
    assert_read(read_spots(outs), counts, positions)  # equal: either will do
    positions.loc[0, "pxl_row_in_fullres"] += 1
    positions.to_csv(outs / "spatial" / "tissue_positions_list.csv", index=False, header=False)
    problem = fails(lambda: read_spots(outs, sample="S1"), "positions-conflict")
    assert (problem.sample, problem.file) == ("S1", str(outs / "spatial"))
    assert "rm tissue_positions_list.csv" in problem.fix


def test_barcodes_without_position(outs, positions):
    positions.drop(index=[2, 7]).to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    problem = fails(lambda: read_spots(outs, sample="S1"), "barcode-join")
    assert (problem.sample, problem.column) == ("S1", "barcode")
    assert problem.file == str(outs / "filtered_feature_bc_matrix.h5")
    assert "10 of 12" in problem.found and "AAAC0002-1, AAAC0007-1" in problem.found
    assert "-1" not in problem.fix


def test_barcodes_without_suffix(outs, positions):
    positions["barcode"] = positions["barcode"].str.removesuffix("-1")
    positions.to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    problem = fails(lambda: read_spots(outs, sample="S1"), "barcode-join")
    assert "0 of 12" in problem.found
    assert "the suffix -1 is in the matrix alone" in problem.fix and "12 of 12 match" in problem.fix


def test_join_and_scalefactors_are_told_together(outs, positions):
    positions[:5].to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    (outs / "spatial" / "scalefactors_json.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        read_spots(outs)
    assert {problem.code for problem in caught.value.problems} == {"barcode-join", "scalefactors"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"spot_diameter_fullres": 4, "tissue_lowres_scalef": 0.1}', "tissue_hires_scalef=None"),
        (json.dumps(FACTORS | {"tissue_hires_scalef": 0}), "tissue_hires_scalef=0"),
        (json.dumps(FACTORS | {"tissue_hires_scalef": "0.5"}), "tissue_hires_scalef='0.5'"),
        (None, "images without scalefactors_json.json"),
    ],
)
def test_scalefactors(outs, text, found):
    file = outs / "spatial" / "scalefactors_json.json"
    file.unlink() if text is None else file.write_text(text)
    problem = fails(lambda: read_spots(outs, sample="S1"), "scalefactors")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(file), "scalefactors")
    assert found in problem.found and "copy scalefactors_json.json" in problem.fix


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("pxl_row_in_fullres", "abc", "positions-not-numeric"),
        ("pxl_col_in_fullres", "", "positions-not-numeric"),
        ("in_tissue", "maybe", "positions-not-numeric"),
        ("in_tissue", "2", "positions-not-numeric"),
        ("barcode", BARCODES[0], "duplicate-barcodes"),
    ],
)
def test_positions_name_the_barcode_and_column(outs, positions, column, value, code):
    positions = positions.astype(str)
    positions.loc[4, column] = value
    file = outs / "spatial" / "tissue_positions.csv"
    positions.to_csv(file, index=False)
    problem = fails(lambda: read_spots(outs, sample="S1"), code)
    assert (problem.sample, problem.file, problem.column) == ("S1", str(file), column)
    assert (BARCODES[0] if column == "barcode" else BARCODES[4]) in problem.found
    assert "copy the file from Space Ranger's output again" in problem.fix


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("", "positions-unreadable", "EmptyDataError"),
        (",".join(COLUMNS) + "\n", "positions-empty", "no spot"),
        ("barcode,in_tissue,x,y\nA-1,1,3,4\n", "positions-columns", "no array_row"),
        ("A-1,1,3,4\n", "positions-unreadable", "4 columns and no header"),
        ("A-1,1,3,4,5,6\nB-1,1,3,4,5,6,7,8\n", "positions-unreadable", "ParserError"),
    ],
)
def test_positions_that_are_none(tmp_path, text, code, found):
    file = tmp_path / "tissue_positions.csv"
    file.write_text(text)
    problem = fails(lambda: read_positions(file, sample="S1"), code)
    assert problem.sample == "S1" and problem.file == str(file)
    assert found in problem.found and "six columns" in problem.expected


def test_damaged_matrix(outs):
    file = outs / "filtered_feature_bc_matrix.h5"
    file.write_bytes(file.read_bytes()[:3000])
    problem = fails(lambda: read_spots(outs, sample="S1"), "truncated-h5ad")
    assert problem.file == str(file) and "download it again" in problem.fix
    with h5py.File(file, "w") as empty:
        empty.create_group("matrix")
    problem = fails(lambda: read_spots(outs, sample="S1"), "unreadable-10x")
    assert (problem.sample, problem.file) == ("S1", str(file))


def test_damaged_image(outs):
    file = outs / "spatial" / "tissue_hires_image.png"
    file.write_bytes(file.read_bytes()[:100])
    problem = fails(lambda: read_spots(outs, sample="S1"), "unreadable-image")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(file), "image")


def test_nothing_under_tissue(outs, positions):
    (outs / "filtered_feature_bc_matrix.h5").rename(outs / "raw_feature_bc_matrix.h5")
    positions.assign(in_tissue=0).to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    problem = fails(lambda: read_spots(outs, sample="S1"), "no-tissue")
    assert problem.column == "in_tissue" and "12 spots" in problem.found


# the parser of positions, for any content ------------------------------------------------------------------------

rows = st.lists(
    st.tuples(
        st.text("ACGT", min_size=4, max_size=12),
        st.booleans(),
        st.integers(0, 5000),
        st.integers(0, 5000),
        st.floats(-1e6, 1e6),
        st.floats(-1e6, 1e6),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[0],
)


@settings(max_examples=80, deadline=None)
@given(
    rows=rows,
    header=st.sampled_from(["none", "as written", "shuffled"]),
    tissue=st.sampled_from([("0", "1"), ("false", "true"), ("False", "True")]),
    name=st.sampled_from(["tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.csv.gz"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    quote=st.booleans(),
    blank=st.booleans(),
    data=st.data(),
)
def test_positions_survive_every_way_of_writing(
    tmp_path_factory, rows, header, tissue, name, newline, mark, quote, blank, data
):
    order = data.draw(st.permutations(range(6))) if header == "shuffled" else range(6)
    cells = [[f"{row[0]}-1", tissue[row[1]], *map(repr, row[2:])] for row in rows]
    if header != "none":
        cells.insert(0, COLUMNS)
    lines = [",".join(f'"{row[i]}"' if quote else row[i] for i in order) for row in cells]
    text = mark + newline.join(lines) + newline + (newline if blank else "")
    file = tmp_path_factory.mktemp("positions") / name
    with (gzip.open if name.endswith(".gz") else open)(file, "wb") as written:
        written.write(text.encode())
    frame = read_positions(file)
    assert frame.index.tolist() == [f"{row[0]}-1" for row in rows]
    assert frame["in_tissue"].tolist() == [int(row[1]) for row in rows]
    assert frame["array_row"].tolist() == [row[2] for row in rows]
    assert frame["array_col"].tolist() == [row[3] for row in rows]
    np.testing.assert_allclose(frame["y"], [row[4] for row in rows], rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(frame["x"], [row[5] for row in rows], rtol=1e-12, atol=1e-300)


# what Space Ranger itself wrote ----------------------------------------------------------------------------------


def test_real_version_1(shared_data):
    outs = shared_data("spaceranger/visium_sr1/outs")
    adata = read_spots(outs, sample="SR1")
    assert adata.shape == (22, 49)  # of 50 barcodes 22 are under tissue
    assert (adata.obs["in_tissue"] == 1).all()
    spot = adata.obs_names.get_loc("AAACAAGTATCTCCCA-1")  # 1,50,102,7237,8230 in the file
    assert adata.obsm["spatial"][spot].tolist() == [8230.0, 7237.0]
    assert adata.obs.iloc[spot].tolist() == [1, 50, 102]
    with h5py.File(outs / "raw_feature_bc_matrix.h5") as file:
        matrix = file["matrix"]
        whole = sparse.csc_matrix((matrix["data"][:], matrix["indices"][:], matrix["indptr"][:]), (49, 50))
        barcodes = [barcode.decode() for barcode in matrix["barcodes"][:]]
    kept = [barcodes.index(barcode) for barcode in adata.obs_names]
    np.testing.assert_array_equal(adata.X.toarray(), whole.T.toarray()[kept])
    entry = adata.uns["spatial"]["SR1"]
    assert list(entry["images"]) == ["lowres"] and entry["images"]["lowres"].shape == (600, 576, 3)
    assert entry["scalefactors"]["tissue_lowres_scalef"] == pytest.approx(0.051033426)
    assert [problem.code for problem in check_spots(adata, sample="SR1")] == ["zero-genes"]


def test_real_version_1_mtx(shared_data, tmp_path):
    real = shared_data("spaceranger/visium_sr1/outs")
    shutil.copytree(real / "spatial", tmp_path / "outs" / "spatial")
    shutil.copytree(real / "raw_feature_bc_matrix", tmp_path / "outs" / "raw_feature_bc_matrix")
    adata = read_spots(tmp_path / "outs")
    whole = scipy.io.mmread(real / "raw_feature_bc_matrix" / "matrix.mtx").T.toarray()
    barcodes = (real / "raw_feature_bc_matrix" / "barcodes.tsv").read_text().split()
    np.testing.assert_array_equal(adata.X.toarray(), whole[[barcodes.index(name) for name in adata.obs_names]])
    assert adata.var_names[0] == "Xkr4" and adata.var["gene_ids"].iloc[0] == "ENSMUSG00000051951"


def test_real_hd_bins_hold_no_count_and_it_is_said(shared_data):
    root = shared_data("spaceranger/visium_hd")
    adata = read_spots(root, bin_um=2, sample="HD")
    expected = pd.read_parquet(root / "binned_outputs/square_002um/spatial/tissue_positions.parquet")
    expected = expected.set_index("barcode").loc[adata.obs_names]
    np.testing.assert_array_equal(
        adata.obsm["spatial"], expected[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    )
    assert adata.uns["spatial"]["HD"]["scalefactors"]["bin_size_um"] == 2
    (problem,) = [p for p in check_spots(adata, sample="HD", file=root, min_spots=10) if p.level == "error"]
    assert problem.code == "no-counts" and "no count at all in 10 spots" in problem.found
    contents = inspect(root, bin_um=2)
    assert (contents.format, contents.n_spots, contents.n_genes) == ("visium_hd", 10, 10)


def test_real_hd_mtx(shared_data, tmp_path):
    """The matrix folder of this set has plain, quoted files under the names of gzipped ones."""
    real = shared_data("spaceranger/visium_hd/binned_outputs/square_002um")
    folder = tmp_path / "binned_outputs" / "square_002um"
    shutil.copytree(real / "spatial", folder / "spatial")
    shutil.copytree(real / "filtered_feature_bc_matrix", folder / "filtered_feature_bc_matrix")
    from_mtx = read_spots(tmp_path, bin_um=2, sample="HD")
    from_h5 = read_spots(real, bin_um=2, sample="HD")[from_mtx.obs_names]
    assert from_mtx.var_names.tolist() == from_h5.var_names.tolist()
    assert from_mtx.var["gene_ids"].tolist() == from_h5.var["gene_ids"].tolist()
    np.testing.assert_array_equal(from_mtx.obsm["spatial"], from_h5.obsm["spatial"])


def test_features_without_names(outs, counts):
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    write_mtx(folder, counts)
    (folder / "features.tsv").write_text("".join(f"ENSG{i:011d}\n" for i in range(N_GENES)))
    problem = fails(lambda: read_spots(outs, sample="S1"), "unreadable-10x")
    assert (problem.sample, problem.file) == ("S1", str(folder))
    assert "the .h5 is enough" in problem.fix


def test_written_and_read_back(outs, counts, positions, tmp_path):
    read_spots(outs, sample="S1").write_h5ad(tmp_path / "spots.h5ad")
    again = read_spots(tmp_path / "spots.h5ad", sample="S1")
    assert_read(again, counts, positions)
    assert again.uns["spatial"]["S1"]["images"]["hires"].shape == (200, 220, 3)
    assert isinstance(again, anndata.AnnData)
