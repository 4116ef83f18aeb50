"""Gene sets: signatures or markers of cell types, from whichever table they come in."""

import csv
import logging
from pathlib import Path

import pandas as pd

from pointillist.errors import InputError, Problem

from .counts import EXAMPLES
from .genes import spreadsheet_dates
from .positions import separator

logger = logging.getLogger(__name__)


def read_gene_sets(path):
    """Read gene sets as a long table.

    Parameters
    ----------
    path : str or Path
        A table with columns ``set`` and ``gene``; a matrix gene × set of 0 and 1; a column of genes per set; or
        GMT. CSV or TSV, gzipped or not.

    Returns
    -------
    DataFrame
        Columns set and gene, each pair once, in the order of the file.

    Raises
    ------
    InputError
        Where the table is none of these, or holds no gene.
    """
    path = Path(path)

    def fail(code, found, fix):
        expected = "columns set and gene, a matrix gene × set of 0 and 1, a column of genes per set, or GMT"
        raise InputError(Problem(code, found, expected, fix, file=str(path), column="gene_sets"))

    if not path.is_file():
        fail("not-found", "no file at this path", "correct the path")
    if path.name.lower().endswith(".gmt"):
        pairs = _read_gmt(path, fail)
    else:
        pairs = _read_table(path, fail)
    frame = pd.DataFrame(pairs, columns=["set", "gene"], dtype=str)
    frame = frame[(frame["gene"] != "") & (frame["set"] != "")].drop_duplicates(ignore_index=True)
    if not len(frame):
        fail("no-gene-sets", "no gene in it", "check which file was exported")
    if dates := spreadsheet_dates(frame["gene"]):
        logger.warning("%s", _dates(dates, file=str(path)))
    logger.info("%d gene sets of %d genes read from %s", frame["set"].nunique(), frame["gene"].nunique(), path)
    return frame


def check_gene_sets(gene_sets, genes, sample, min_genes):
    """Keep the gene sets of which a sample has enough genes.

    Parameters
    ----------
    gene_sets : DataFrame
        Columns set and gene.
    genes : sequence of str, (G,)
        Of the sample.
    sample : str
        For the messages.
    min_genes : int
        A set needs this many genes that the sample has.

    Returns
    -------
    kept : DataFrame
        Columns set and gene: the sets that are kept, with the genes that the sample has.
    problems : list of Problem
        A warning for each set that is left out; an error only where none is left.
    """
    if min_genes < 1:
        raise ValueError(f"min_genes must be at least 1, got {min_genes}")
    genes = pd.Index(genes).astype(str)
    present = gene_sets["gene"].isin(genes)
    table = present.groupby(gene_sets["set"], sort=False).agg(["sum", "size"])
    left_out = table[table["sum"] < min_genes]
    problems = []
    for name, (overlap, size) in zip(left_out.index, left_out.to_numpy()):
        members = gene_sets.loc[gene_sets["set"] == name, "gene"]
        problems.append(
            Problem(
                "small-gene-set",
                f"{overlap} of {size} genes of the set {name!r} in the sample (the set has {_first(members)})",
                f"at least {min_genes}",
                _spelling(members, genes, overlap),
                sample=sample,
                column="gene_sets",
                level="warning",
            )
        )
    if dates := spreadsheet_dates(gene_sets["gene"]):
        problems.append(_dates(dates, sample=sample))
    if len(left_out) == len(table):
        found = (
            f"none of {len(table)} gene sets with {min_genes} genes or more in the sample "
            f"(which has {_first(genes)}; the sets have {_first(gene_sets['gene'])})"
        )
        fix = _spelling(gene_sets["gene"], genes, int(present.sum()))
        problems.append(Problem("no-gene-sets", found, "at least one gene set", fix, sample=sample, column="gene_sets"))
    kept = gene_sets[present & ~gene_sets["set"].isin(left_out.index)].reset_index(drop=True)
    return kept, problems


def _read_gmt(path, fail):
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        if len(rest) < 2:
            fail(
                "gene-sets-format",
                f"line {number} with {1 + len(rest)} fields",
                "write name, description, genes by tabs",
            )
        pairs.extend((name.strip(), gene.strip()) for gene in rest[1:])
    return pairs


def _read_table(path, fail):
    sep = separator(path)
    try:
        cells = pd.read_csv(
            path,
            sep=sep,
            header=None,
            names=range(_widest(path, sep)),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        ).fillna("")
    except Exception as error:  # whatever the parser says of a damaged file
        fail("gene-sets-format", f"{type(error).__name__}: {str(error).splitlines()[0]}", "export the table again")
    cells = cells.apply(lambda column: column.str.strip())
    header, body = cells.iloc[0], cells.iloc[1:]
    names = header.str.lower().tolist()
    if "set" in names and "gene" in names:
        return list(zip(body[names.index("set")], body[names.index("gene")]))
    values = body.iloc[:, 1:].apply(lambda column: pd.to_numeric(column, errors="coerce"))
    if values.size and values.notna().all(axis=None):
        if not values.isin([0, 1]).all(axis=None):
            odd = values.to_numpy()[~values.isin([0, 1]).to_numpy()][0]
            fail(
                "gene-sets-format",
                f"numbers other than 0 and 1 ({odd:g})",
                "write 1 for the genes of a set, or list them in columns set and gene",
            )
        # R leaves the corner out, which moves the names of the sets one to the left
        sets = header.iloc[:-1] if header.iloc[-1] == "" else header.iloc[1:]
        member = values.to_numpy() == 1
        return [(name, gene) for j, name in enumerate(sets) for gene in body[0][member[:, j]]]
    if values.notna().to_numpy().mean() > 0.5 if values.size else False:
        fail("gene-sets-format", "a table of numbers with gaps or text in it", "fill the gaps with 0")
    if (header == "").any() and (body.loc[:, header.index[header == ""]] != "").any(axis=None):
        fail("gene-sets-format", "a column of genes without a name", "name each column after its set")
    return [(name, gene) for column, name in header.items() for gene in body[column]]


def _widest(path, sep):
    import gzip

    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
        return max((len(row) for row in csv.reader(file, delimiter=sep)), default=1)


def _spelling(members, genes, overlap):
    upper = pd.Index(members).str.upper().isin(genes.str.upper()).sum()
    if upper > overlap:
        return f"write genes as the sample does: {upper} would match in upper case (other species? map orthologues)"
    return "none needed where the sample lacks these genes; else name genes as the sample does"


def _dates(dates, **where):
    return Problem(
        "spreadsheet-dates",
        f"{len(dates)} gene names that a spreadsheet turned into dates ({_first(dates)})",
        "gene names such as MARCHF2 or SEPTIN1",
        "write the genes back by hand, or export the table without opening it in a spreadsheet",
        level="warning",
        column="gene_sets",
        **where,
    )


def _first(names):
    return ", ".join(map(str, list(names)[:EXAMPLES]))
