"""What an input holds, told from names and headers alone: no matrix is read, and nothing is ever unpickled."""

from pathlib import Path

from .containers import inspect_h5mu, inspect_spatialdata
from .contents import Contents, inspect_anndata
from .formats import check_format, open_hdf5, recognise_format
from .visium import inspect_layout


def inspect(path, format="", *, bin_um=None, sample=""):
    """Tell what an input holds without loading a matrix.

    Parameters
    ----------
    path : str or Path
    format : str, optional
        One of `FORMATS`; recognised when empty.
    bin_um : int, optional
        Bin size of a Visium HD sample, in µm.
    sample : str, optional
        For the messages.

    Returns
    -------
    Contents

    Raises
    ------
    InputError
        With every reason why the input cannot be read, as far as its header tells.
    """
    path = Path(path)
    format = format or recognise_format(path, sample=sample)
    check_format(format, path, sample=sample)
    match format:
        case "visium" | "visium_hd":
            return inspect_layout(path, bin_um if format == "visium_hd" else None, format=format, sample=sample)
        case "h5ad":
            with open_hdf5(path, sample=sample) as file:
                return inspect_anndata(file, path, sample)
        case "h5mu" | "spatialdata":
            return (inspect_h5mu if format == "h5mu" else inspect_spatialdata)(path, sample=sample)
        case "table":
            return Contents(format, has_coordinates=True)  # a table is not read without its coordinates
