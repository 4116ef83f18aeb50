"""Samples and references as AnnData files, tables and containers, and the image laid over the spots."""

import gzip

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image, ImageDraw
from scipy import sparse

from pointillist.data import check_spots, inspect, read_reference, read_spots
from pointillist.data.images import fit_scale, read_image
from pointillist.errors import InputError

N_SPOTS, N_GENES = 30, 12


@pytest.fixture
def counts():
    return np.random.default_rng(1).poisson(2.0, (N_SPOTS, N_GENES)).astype(np.float32)


@pytest.fixture
def adata(counts):
    spots = AnnData(sparse.csr_matrix(counts))
    spots.obs_names = [f"ACGT{i:03d}-1" for i in range(N_SPOTS)]
    spots.var_names = [f"Gene{i}" for i in range(N_GENES)]
    spots.obsm["spatial"] = np.stack(np.divmod(np.arange(N_SPOTS), 6), axis=1)[:, ::-1] * 100.0 + 50
    return spots


@pytest.fixture
def save(tmp_path):
    def save(adata, name="spots.h5ad"):
        adata.write_h5ad(tmp_path / name, compression="gzip")
        return tmp_path / name

    return save


def fails(call, code):
    """The one problem of `code` that `call` raises."""
    with pytest.raises(InputError) as caught:
        call()
    (problem,) = [problem for problem in caught.value.problems if problem.code == code]
    return problem


def log1p(counts):
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


# where the counts are --------------------------------------------------------------------------------------------


def assert_counts(adata, counts):
    for matrix in (adata.X, adata.layers["counts"]):
        assert sparse.isspmatrix_csr(matrix) and matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix.toarray(), counts)
    assert adata.X is not adata.layers["counts"]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, lambda x: x.astype(np.int64)])
def test_counts_in_x(adata, counts, save, kind, caplog):
    adata.X = kind(counts)
    with caplog.at_level("INFO"):
        assert_counts(read_spots(save(adata), sample="S1"), counts)
    assert "S1: raw counts found in X" in caplog.text


def test_counts_in_layer(adata, counts, save, caplog):
    adata.layers["counts"], adata.X = adata.X.copy(), log1p(counts)
    with caplog.at_level("INFO"):
        assert_counts(read_spots(save(adata)), counts)
    assert "raw counts found in layers['counts']" in caplog.text


def test_counts_in_raw_with_more_genes(adata, counts, save, caplog):
    adata.raw = adata.copy()
    adata.X = log1p(counts)
    adata = adata[:, :5].copy()
    with caplog.at_level("INFO"):
        read = read_spots(save(adata))
    assert_counts(read, counts)
    assert read.var_names.tolist() == [f"Gene{i}" for i in range(N_GENES)]
    assert "raw counts found in raw.X" in caplog.text


def test_no_counts_are_left_for_the_check(adata, counts, save, caplog):
    adata.layers["unprocessed"], adata.X = adata.X.copy(), log1p(counts)
    read = read_spots(save(adata), sample="S1")
    assert "no raw counts found" in caplog.text
    (problem,) = [p for p in check_spots(read, sample="S1", file="spots.h5ad") if p.level == "error"]
    assert problem.code == "log-normalised" and "layers['unprocessed']" in problem.fix


def test_input_is_not_log_normalised_by_accident_of_one_object(adata, counts, save):
    read = read_spots(save(adata))
    read.X.data[:] = 0
    np.testing.assert_array_equal(read.layers["counts"].toarray(), counts)


# what else comes along -------------------------------------------------------------------------------------------


def test_what_cannot_be_read_back_is_dropped(adata, save, caplog):
    adata.obs["donor"] = pd.Categorical(["a", "b"] * 15, categories=["a", "b", "unused"])
    adata.obs["size"] = np.arange(N_SPOTS)
    adata.obsm["X_pca"] = np.ones((N_SPOTS, 2))
    adata.obsm["a b"] = np.ones((N_SPOTS, 2))
    adata.uns["my notes"], adata.uns["kept"] = "text", {"a": 1}
    adata.uns["spatial"] = {"Node 1": {"images": {}, "scalefactors": {"spot_diameter_fullres": 3.0}}}
    read = read_spots(save(adata), sample="S1")
    assert read.obs["donor"].cat.categories.tolist() == ["a", "b"]
    assert read.obs["size"].tolist() == list(range(N_SPOTS))
    assert set(read.obsm) == {"spatial", "X_pca"} and set(read.uns) == {"kept", "spatial"}
    assert list(read.uns["spatial"]) == ["Node_1"]
    assert "'a b' of obsm" in caplog.text and "'my notes' of uns" in caplog.text
    again = read_spots(save(read, "again.h5ad"), sample="S1")
    np.testing.assert_array_equal(again.X.toarray(), read.X.toarray())


def test_second_modalities(adata, save):
    adata.obsm["protein"] = pd.DataFrame(np.ones((N_SPOTS, 2)), adata.obs_names, ["CD3 (T)", "CD4/8"])
    adata.obsm["adt"] = np.zeros((N_SPOTS, 3))
    read = read_spots(save(adata))
    assert read.obsm["protein"].columns.tolist() == ["CD3 (T)", "CD4/8"]
    assert read.obsm["adt"].shape == (N_SPOTS, 3)


@pytest.mark.parametrize("names", [("x", "y"), ("imagecol", "imagerow"), ("pxl_col_in_fullres", "pxl_row_in_fullres")])
def test_coordinates_in_obs(adata, save, names):
    xy = adata.obsm.pop("spatial")
    adata.obs[names[0]], adata.obs[names[1]] = xy.T
    np.testing.assert_array_equal(read_spots(save(adata)).obsm["spatial"], xy)
    assert inspect(save(adata)).has_coordinates


def test_third_coordinate(adata, save):
    xy = adata.obsm["spatial"]
    adata.obsm["spatial"] = np.c_[xy, np.full(N_SPOTS, 7)]
    read = read_spots(save(adata))
    np.testing.assert_array_equal(read.obsm["spatial"], xy)
    assert (read.obs["z"] == 7).all()


def test_coordinates_from_a_table(adata, save, tmp_path):
    xy = adata.obsm.pop("spatial")
    frame = pd.DataFrame({"barcode": adata.obs_names, "x": xy[:, 0], "y": xy[:, 1], "region": "T"})
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "xy.csv", index=False)
    read = read_spots(save(adata), coordinates=tmp_path / "xy.csv")
    np.testing.assert_array_equal(read.obsm["spatial"], xy)
    assert (read.obs["region"] == "T").all()
    frame[1:].to_csv(tmp_path / "xy.csv", index=False)
    problem = fails(lambda: read_spots(save(adata), coordinates=tmp_path / "xy.csv", sample="S1"), "barcode-join")
    assert (problem.sample, problem.file) == ("S1", str(tmp_path / "xy.csv"))


def test_symbols_and_identifiers(adata, save):
    adata.var["feature_name"] = adata.var_names
    adata.var_names = [f"ENSMUSG{i:011d}" for i in range(N_GENES)]
    read = read_spots(save(adata))
    assert read.var_names.tolist() == [f"Gene{i}" for i in range(N_GENES)]
    assert read.var["gene_ids"].iloc[2] == "ENSMUSG00000000002"


def test_one_genome_loses_its_prefix_and_two_do_not(adata, counts, save):
    names = list(adata.var_names)
    adata.var_names = [f"GRCh38_{name}" for name in names]
    assert read_spots(save(adata)).var_names.tolist() == names
    adata.var_names = [f"{'GRCh38' if i < 8 else 'mm10__'}_{name}" for i, name in enumerate(names)]
    mixed = save(adata)
    codes = [problem.code for problem in check_spots(read_spots(mixed), sample="S1")]
    assert "genome-prefix" in codes
    human = read_spots(mixed, genome_prefix="GRCh38_")
    assert human.var_names.tolist() == names[:8]
    np.testing.assert_array_equal(human.X.toarray(), counts[:, :8])
    problem = fails(lambda: read_spots(mixed, genome_prefix="hg19_", sample="S1"), "genome-prefix")
    assert problem.column == "genome_prefix" and "GRCh38_" in problem.fix


def test_duplicate_genes_are_summed_when_asked(adata, counts, save):
    adata.var_names = ["Gene0", "Gene1", "Gene0", *adata.var_names[3:]]
    file = save(adata)
    assert "duplicate-genes" in [problem.code for problem in check_spots(read_spots(file), sample="S1")]
    summed = read_spots(file, duplicate_genes="sum")
    np.testing.assert_array_equal(summed[:, "Gene0"].X.toarray()[:, 0], counts[:, 0] + counts[:, 2])
    np.testing.assert_array_equal(summed[:, "Gene5"].layers["counts"].toarray()[:, 0], counts[:, 5])
    np.testing.assert_array_equal(summed.obsm["spatial"], adata.obsm["spatial"])
    assert check_spots(summed, sample="S1") == []
    with pytest.raises(ValueError, match="duplicate_genes"):
        read_spots(file, duplicate_genes="first")


# files that are damaged ------------------------------------------------------------------------------------------


def test_bit_rot_is_told_by_reading_not_by_inspection(adata, save):
    file = save(adata)
    with h5py.File(file) as opened:
        chunk = opened["X/data"].id.get_chunk_info(0)
    content = bytearray(file.read_bytes())
    for i in range(chunk.byte_offset, chunk.byte_offset + chunk.size):
        content[i] ^= 0xFF
    file.write_bytes(content)
    assert inspect(file).n_spots == N_SPOTS
    problem = fails(lambda: read_spots(file, sample="S1"), "corrupt-h5ad")
    assert (problem.sample, problem.file) == ("S1", str(file))
    assert "download it again and compare the checksum" in problem.fix


def test_unknown_encoding_names_the_element(adata, save):
    file = save(adata)
    with h5py.File(file, "r+") as opened:
        opened["X"].attrs["encoding-type"] = "csr_of_tomorrow"
    problem = fails(lambda: read_spots(file, sample="S1"), "unreadable-h5ad")
    assert "csr_of_tomorrow" in problem.found and "write it again with anndata 0.12" in problem.fix


@pytest.mark.filterwarnings("ignore")
def test_key_with_a_slash(adata, save):
    """AnnData writes it, and cannot read it back."""
    adata.obsm["T/NK"] = np.ones((N_SPOTS, 2))
    file = save(adata)
    problem = fails(lambda: read_spots(file, sample="S1"), "unreadable-h5ad")
    assert "names with '/'" in problem.fix


def test_pickle_is_never_opened(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("opened").touch, ())

    for name in ("spots.pkl", "spots.h5ad", "spots.csv"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        for call in (read_spots, inspect):
            problem = fails(lambda call=call, name=name: call(tmp_path / name, sample="S1"), "pickle-refused")
            assert "write_h5ad" in problem.fix
    assert not (tmp_path / "opened").exists()


def test_formats_that_are_none(tmp_path, adata, save):
    problem = fails(lambda: read_spots(save(adata), format="h5da", sample="S1"), "unknown-format")
    assert (problem.sample, problem.column) == ("S1", "format") and "write h5ad" in problem.fix
    problem = fails(lambda: read_spots(tmp_path, format="h5ad", sample="S1"), "wrong-format")
    assert "leave the column format empty" in problem.fix
    problem = fails(lambda: read_spots(tmp_path / "spot.h5ad", sample="S1"), "not-found")
    assert f"did you mean {tmp_path / 'spots.h5ad'}?" == problem.fix


# counts tables ---------------------------------------------------------------------------------------------------


@pytest.fixture
def coordinates(adata, tmp_path):
    frame = pd.DataFrame(adata.obsm["spatial"], adata.obs_names, ["x", "y"]).rename_axis("barcode")
    frame = pd.concat([frame, pd.DataFrame({"x": 1.0, "y": 2.0}, pd.Index(["unused"], name="barcode"))])
    frame.to_csv(tmp_path / "coordinates.csv")
    return tmp_path / "coordinates.csv"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", ["counts.csv", "counts.tsv", "counts.csv.gz", "counts.tsv.gz"])
def test_table(adata, counts, coordinates, tmp_path, name, transposed):
    frame = pd.DataFrame(counts.astype(int), adata.obs_names, adata.var_names)
    frame = frame.T if transposed else frame
    frame.to_csv(tmp_path / name, sep="," if "csv" in name else "\t")
    read = read_spots(tmp_path / name, coordinates=coordinates)
    assert_counts(read, counts)
    assert read.obs_names.equals(adata.obs_names) and read.var_names.equals(adata.var_names)
    np.testing.assert_array_equal(read.obsm["spatial"], adata.obsm["spatial"])
    assert inspect(tmp_path / name).format == "table"


def test_table_of_r_without_corner(adata, counts, coordinates, tmp_path):
    text = pd.DataFrame(counts.astype(int), adata.obs_names, adata.var_names).to_csv(sep="\t")
    (tmp_path / "counts.tsv").write_text(text[1:])  # the tab of the corner
    assert_counts(read_spots(tmp_path / "counts.tsv", coordinates=coordinates), counts)


def test_table_keeps_genes_of_one_name(adata, counts, coordinates, tmp_path):
    names = ["Gene0", "Gene0", *adata.var_names[2:]]
    pd.DataFrame(counts, adata.obs_names, names).to_csv(tmp_path / "counts.csv")
    read = read_spots(tmp_path / "counts.csv", coordinates=coordinates)
    assert read.var_names.tolist() == names
    assert "duplicate-genes" in [problem.code for problem in check_spots(read, sample="S1")]


def test_table_longer_than_a_block(tmp_path):
    counts = np.random.default_rng(2).poisson(1.0, (2500, 3))
    names = [f"s{i}" for i in range(2500)]
    pd.DataFrame(counts, names, ["a", "b", "c"]).to_csv(tmp_path / "counts.csv")
    pd.DataFrame({"barcode": names, "x": range(2500), "y": 0}).to_csv(tmp_path / "xy.csv", index=False)
    np.testing.assert_array_equal(
        read_spots(tmp_path / "counts.csv", coordinates=tmp_path / "xy.csv").X.toarray(), counts
    )


def test_table_without_coordinates(adata, counts, tmp_path):
    pd.DataFrame(counts, adata.obs_names, adata.var_names).to_csv(tmp_path / "counts.csv")
    problem = fails(lambda: read_spots(tmp_path / "counts.csv", sample="S1"), "no-coordinates-table")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(tmp_path / "counts.csv"), "coordinates")
    assert "barcode, x, y" in problem.fix


def test_table_with_barcodes_of_another_run(adata, counts, coordinates, tmp_path):
    file = tmp_path / "counts.csv"
    frame = pd.DataFrame(counts, adata.obs_names, adata.var_names)
    frame.rename(lambda name: f"other{name}").to_csv(file)
    problem = fails(lambda: read_spots(file, coordinates=coordinates, sample="S1"), "barcode-join")
    assert "otherACGT000-1" in problem.found and "same barcodes in both" in problem.fix
    frame.rename(lambda name: name.removesuffix("-1")).to_csv(file)
    problem = fails(lambda: read_spots(file, coordinates=coordinates, sample="S1"), "barcode-join")
    assert "the suffix -1 is in the positions alone" in problem.fix and "30 of 30 match" in problem.fix


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        (lambda text: text.replace("3.0", "many", 1), "table-not-numeric", "'many' at row 'ACGT"),
        (lambda text: "nothing\nat all\n", "table-unreadable", "1 in the second"),
        (lambda text: text.replace("Gene3,Gene4,", ""), "table-unreadable", "11 cells in the first row and 13"),
        (lambda text: text + "ACGT999-1,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n", "table-unreadable", "ParserError"),
    ],
)
def test_table_that_is_none(adata, counts, coordinates, tmp_path, change, code, found):
    file = tmp_path / "counts.csv"
    file.write_text(change(pd.DataFrame(counts, adata.obs_names, adata.var_names).to_csv()))
    problem = fails(lambda: read_spots(file, coordinates=coordinates, sample="S1"), code)
    assert (problem.sample, problem.file) == ("S1", str(file)) and found in problem.found


@pytest.mark.parametrize(
    ("text", "code", "column", "found"),
    [
        ("barcode,row,col\na,1,2\n", "coordinates-columns", "coordinates", "'barcode', 'row', 'col'"),
        ("barcode,x,y\na,1,2\na,3,4\n", "duplicate-barcodes", "barcode", "1 barcodes that occur twice (a)"),
        ("barcode,x,y\na,1,2\nb,3,?\n", "coordinates-not-numeric", "y", "at b"),
        ("", "table-unreadable", "coordinates", "EmptyDataError"),
    ],
)
def test_coordinates_that_are_none(tmp_path, text, code, column, found):
    (tmp_path / "counts.csv").write_text(",g\na,1\n")
    (tmp_path / "xy.csv").write_text(text)
    problem = fails(lambda: read_spots(tmp_path / "counts.csv", coordinates=tmp_path / "xy.csv", sample="S1"), code)
    assert (problem.sample, problem.file, problem.column) == ("S1", str(tmp_path / "xy.csv"), column)
    assert found in problem.found and problem.fix


def test_missing_values_of_a_table_are_told_by_the_check(adata, counts, coordinates, tmp_path):
    frame = pd.DataFrame(counts, adata.obs_names, adata.var_names)
    frame.iloc[3, 4] = np.nan
    frame.to_csv(tmp_path / "counts.csv")
    read = read_spots(tmp_path / "counts.csv", coordinates=coordinates)
    (problem,) = check_spots(read, sample="S1")
    assert problem.code == "nan-counts" and "'ACGT003-1', gene 'Gene4'" in problem.found


# references ------------------------------------------------------------------------------------------------------


def test_reference(adata, counts, save):
    adata.obs["cell_type"] = pd.Categorical(["T/NK", "B cell", "γδ"] * 10, categories=["B cell", "T/NK", "x", "γδ"])
    adata.layers["umi"], adata.X = adata.X.copy(), log1p(counts)
    file = save(adata)
    reference = read_reference(file, "cell_type", layer="umi", name="cortex")
    assert_counts(reference, counts)
    assert reference.obs["cell_type"].cat.categories.tolist() == ["B cell", "T/NK", "γδ"]
    problem = fails(lambda: read_reference(file, "celltype", name="cortex"), "no-cell-types")
    assert (problem.file, problem.column) == (str(file), "celltype") and problem.fix == "did you mean cell_type?"
    problem = fails(lambda: read_reference(file, "cell_type", layer="umis", name="cortex"), "no-layer")
    assert (problem.file, problem.column) == (str(file), "umis") and problem.fix == "did you mean umi?"


def test_numbers_as_cell_types_become_text(adata, save):
    adata.obs["cluster"] = np.arange(N_SPOTS) % 3
    assert read_reference(save(adata), "cluster").obs["cluster"].cat.categories.tolist() == ["0", "1", "2"]


def test_layer_x_is_taken_as_it_is(adata, counts, save):
    adata.obs["cell_type"] = "T"
    adata.layers["counts"], adata.X = adata.X.copy(), log1p(counts)
    reference = read_reference(save(adata), "cell_type", layer="X")
    np.testing.assert_allclose(reference.X.toarray(), log1p(counts), rtol=1e-6)


# containers ------------------------------------------------------------------------------------------------------


def test_mudata(adata, counts, tmp_path):
    from anndata.io import write_elem

    protein = AnnData(np.arange(2.0 * N_SPOTS).reshape(-1, 2), adata.obs[[]], pd.DataFrame(index=["CD3", "CD4"]))
    file = tmp_path / "spots.h5mu"
    with h5py.File(file, "w") as opened:
        write_elem(opened, "mod/rna", adata)
        write_elem(opened, "mod/protein", protein[::-1].copy())
        write_elem(opened, "mod/hto", protein)
    contents = inspect(file)
    assert (contents.format, contents.n_spots, contents.modalities) == ("h5mu", N_SPOTS, ("rna", "protein"))
    read = read_spots(file)
    assert_counts(read, counts)
    np.testing.assert_array_equal(read.obsm["protein"].to_numpy(), protein.X)  # joined by barcode
    with h5py.File(file, "w") as opened:
        write_elem(opened, "mod/rna", adata)
        write_elem(opened, "mod/protein", protein[4:].copy())
    problem = fails(lambda: read_spots(file, sample="S1"), "modality-join")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(file), "mod/protein")
    assert "26 of 30 spots" in problem.found
    with h5py.File(file, "w") as opened:
        write_elem(opened, "mod/protein", protein)
        write_elem(opened, "mod/atac", protein)
    problem = fails(lambda: inspect(file, sample="S1"), "no-rna")
    assert "atac, protein" in problem.found and "call the modality" in problem.fix


@pytest.mark.filterwarnings("ignore")
def test_spatialdata(adata, counts, tmp_path):
    import spatialdata
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    xy, order = adata.obsm.pop("spatial"), np.random.default_rng(0).permutation(N_SPOTS)
    adata.obs["region"] = pd.Categorical(["spots"] * N_SPOTS)
    adata.obs["spot_id"] = np.arange(N_SPOTS)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 50, 60)).astype(np.uint8)
    store = spatialdata.SpatialData(
        tables={"table": TableModel.parse(adata, region="spots", region_key="region", instance_key="spot_id")},
        shapes={
            "spots": ShapesModel.parse(
                xy[order], geometry=0, radius=20, index=order, transformations={"global": Identity()}
            )
        },
        images={
            "S1_hires_image": Image2DModel.parse(
                pixels, dims=("c", "y", "x"), transformations={"global": Scale([10.0, 10.0], axes=("x", "y"))}
            )
        },
    )
    store.write(tmp_path / "S1.zarr")
    contents = inspect(tmp_path / "S1.zarr")
    assert contents.format == "spatialdata" and contents.has_coordinates and contents.has_image
    assert contents.obs_columns == ("region", "spot_id")
    read = read_spots(tmp_path / "S1.zarr", sample="S1")
    assert_counts(read, counts)
    np.testing.assert_array_equal(read.obsm["spatial"], xy)
    np.testing.assert_array_equal(read.uns["spatial"]["S1"]["images"]["hires"], pixels.transpose(1, 2, 0))
    assert read.uns["spatial"]["S1"]["scalefactors"]["tissue_hires_scalef"] == pytest.approx(0.1)
    assert check_spots(read, sample="S1") == []


# the image -------------------------------------------------------------------------------------------------------


def draw_tissue(scale, background=(240, 238, 242), tissue=(170, 90, 150)):
    """An L-shaped tissue in an image, and spots on it in coordinates ``1 / scale`` times larger."""
    outline = [(150, 120), (420, 100), (440, 480), (650, 470), (640, 700), (170, 720)]
    image = Image.new("RGB", (800, 900), background)
    ImageDraw.Draw(image).polygon(outline, fill=tissue)
    grid = np.stack(np.meshgrid(np.arange(5, 800, 14), np.arange(5, 900, 14)), axis=-1).reshape(-1, 2)
    pixels = np.asarray(image)
    on_tissue = (pixels[grid[:, 1], grid[:, 0]] == tissue).all(axis=1)
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), grid[on_tissue] / scale


@pytest.mark.parametrize("background", [(240, 238, 242), (0, 0, 0)])
@pytest.mark.parametrize("scale", [0.0713, 0.5])
def test_scale_is_found_again(scale, background):
    """Of an image drawn here; mirrored, it must not fit."""
    image, xy = draw_tissue(scale, background)
    fit = fit_scale(image, xy)
    assert fit.convincing and fit.scale == pytest.approx(scale, rel=0.01)
    assert not fit_scale(np.ascontiguousarray(image[:, ::-1]), xy).convincing
    assert not fit_scale(np.full_like(image, 200), xy).convincing
    assert not fit_scale(image, xy - 1e4).convincing


def test_image_of_the_very_frame(adata, save, tmp_path):
    """An image of 3200 × 3600 pixels in which the coordinates are: it is made smaller, and the scale is exact."""
    image, xy = draw_tissue(0.25)
    Image.fromarray(image).resize((3200, 3600)).save(tmp_path / "tissue.jpg")
    spots = AnnData(sparse.csr_matrix(np.ones((len(xy), 3))), obsm={"spatial": xy})
    read = read_spots(save(spots), image=tmp_path / "tissue.jpg", sample="S1")
    entry = read.uns["spatial"]["S1"]
    assert entry["images"]["hires"].shape == (2000, 1778, 3)
    assert entry["scalefactors"]["tissue_hires_scalef"] == pytest.approx(1778 / 3200, rel=1e-12)
    assert entry["scalefactors"]["spot_diameter_fullres"] == pytest.approx(28.0)  # half the spacing of 14 / 0.25
    assert check_spots(read, sample="S1") == []
    given = read_spots(save(spots), image=tmp_path / "tissue.jpg", sample="S1", image_scale=0.9)
    scale = given.uns["spatial"]["S1"]["scalefactors"]["tissue_hires_scalef"]
    assert scale == pytest.approx(0.9 * 1778 / 3200, rel=1e-12)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "I;16", "CMYK"])
def test_image_modes(tmp_path, mode):
    values = np.linspace(0, 255, 40 * 30).reshape(40, 30)
    if mode == "I;16":
        image = Image.fromarray((values * 100).astype(np.uint16))
    else:
        image = Image.fromarray(values.astype(np.uint8)).convert("RGB").convert(mode)
    image.save(tmp_path / "image.tif")
    pixels, factor = read_image(tmp_path / "image.tif")
    assert pixels.shape == (40, 30, 3) and pixels.dtype == np.uint8 and factor == 1
    assert pixels[-1].mean() > pixels[0].mean() + 150  # neither clipped nor wrapped


def test_pyramid_is_read_at_the_page_that_is_large_enough(tmp_path):
    pages = [Image.new("RGB", (side, side), colour) for side, colour in ((4000, "red"), (400, "lime"), (40, "blue"))]
    pages[0].save(tmp_path / "slide.tif", save_all=True, append_images=pages[1:])
    pixels, factor = read_image(tmp_path / "slide.tif", largest_side=300)
    assert pixels.shape == (300, 300, 3) and factor == pytest.approx(300 / 4000)
    assert pixels[0, 0].tolist() == [0, 255, 0]


def test_image_without_coordinates(adata, save, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "image.png")
    del adata.obsm["spatial"]
    problem = fails(lambda: read_spots(save(adata), image=tmp_path / "image.png", sample="S1"), "no-coordinates")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(tmp_path / "image.png"), "image")


def test_real_image_lies_under_its_spots(shared_data):
    """her2st A1: the pathologist's fat is white, and only at the right scale is it under the spots called fat."""
    spots, image = shared_data("her2st/A1.h5ad"), shared_data("her2st/img/A1_HE.png")
    read = read_spots(spots, image=image, sample="A1")
    assert read.shape == (346, 15045)
    entry = read.uns["spatial"]["A1"]
    pixels, scale = entry["images"]["hires"].astype(float), entry["scalefactors"]["tissue_hires_scalef"]
    assert max(pixels.shape) == 2000 and scale == pytest.approx(0.2714, rel=0.01)

    def brightness_gap(scale):
        column, row = (read.obsm["spatial"] * scale).astype(int).T
        around = [pixels[y - 12 : y + 13, x - 12 : x + 13].mean() for x, y in zip(column, row)]
        fat = (read.obs["label"] == "adipose tissue").to_numpy()
        return np.mean(np.array(around)[fat]) - np.mean(np.array(around)[~fat])

    assert brightness_gap(scale) > 30
    assert brightness_gap(scale) > 1.5 * max(brightness_gap(0.8 * scale), brightness_gap(1.2 * scale))
    assert [problem.code for problem in check_spots(read, sample="A1", labels="label")] == ["zero-genes"]


def test_real_image_of_another_section_is_refused(shared_data, tmp_path):
    spots, image = shared_data("her2st/A1.h5ad"), shared_data("her2st/img/A1_HE.png")
    with Image.open(image) as opened:
        opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    problem = fails(lambda: read_spots(spots, image=tmp_path / "mirrored.png", sample="A1"), "image-not-fitted")
    assert (problem.sample, problem.file, problem.column) == ("A1", str(tmp_path / "mirrored.png"), "image")
    assert "give image_scale" in problem.fix
    fails(lambda: read_spots(shared_data("lymph/spots.h5ad"), image=image), "image-not-fitted")


# real samples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "problems"),
    [
        ("mob/rep11.h5ad", (262, 15928), set()),
        ("lymph/spots.h5ad", (1000, 2000), {"zero-genes"}),
        ("starmap/spots.h5ad", (581, 1020), set()),
        ("pdac/spots.h5ad", (428, 25753), {"zero-genes"}),
        ("citeseq/citeseq.h5ad", (500, 19521), {"zero-genes", "no-coordinates"}),
    ],
)
def test_real_samples(shared_data, name, shape, problems):
    read, stored = read_spots(shared_data(name)), anndata.read_h5ad(shared_data(name))
    assert read.shape == shape and (read.X != stored.X).nnz == 0 and (read.layers["counts"] != stored.X).nnz == 0
    assert {problem.code for problem in check_spots(read, sample="S1")} == problems
    contents = inspect(shared_data(name))
    assert (contents.n_spots, contents.n_genes) == shape
    assert contents.obs_columns == tuple(read.obs.columns)
    assert contents.has_coordinates == ("spatial" in read.obsm)


def test_real_modalities(shared_data):
    file = shared_data("citeseq/citeseq.h5ad")
    assert inspect(file).modalities == ("rna", "protein")
    read = read_spots(file)
    assert read.obsm["protein"].shape == (500, 49) and "B220 (CD45R)" in read.obsm["protein"]
    assert read.var_names[0] == "AL627309.1"  # hg19_ is removed


def test_real_sample_that_is_not_counts(shared_data):
    read = read_spots(shared_data("osmfish/osmfish.h5ad"))
    (problem,) = [p for p in check_spots(read, sample="S1", min_spots=10) if p.level == "error"]
    assert problem.code == "normalised" and problem.column == "layers['counts']"


def test_table_compressed_by_name_alone(adata, counts, coordinates, tmp_path):
    with gzip.open(tmp_path / "counts.csv.gz", "wb") as file:
        file.write(b"")
    problem = fails(lambda: read_spots(tmp_path / "counts.csv.gz", coordinates=coordinates), "table-unreadable")
    assert problem.file == str(tmp_path / "counts.csv.gz")
