"""Whether the genes of two tables are named alike, and what would make them so."""

import re

import numpy as np
import pandas as pd

from pointillist.errors import Problem

from .counts import EXAMPLES

GENOME_PREFIX = re.compile(r"^((?:GRCh\d+|GRCm\d+|hg\d+|mm\d+|mRatBN\d+|Rnor\d+)(?:_)+)(?=.)", re.IGNORECASE)
ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{6,}(\.\d+)?$")
# 2-Mar, Mar-02, 1-Sep, 2006-09-07: what spreadsheets make of MARCH2, SEPTIN1
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
SPREADSHEET_DATE = re.compile(
    rf"^(\d{{1,2}}-({_MONTHS})|({_MONTHS})-\d{{1,2}}|\d{{4}}-\d\d-\d\d( 00:00:00)?)$", re.IGNORECASE
)


def check_shared_genes(
    spot_genes,
    reference_genes,
    *,
    sample,
    reference,
    min_shared_genes,
    spot_gene_ids=None,
    reference_gene_ids=None,
    file="",
):
    """Count the genes that a sample and a reference share, by name.

    Parameters
    ----------
    spot_genes, reference_genes : sequence of str, (G,) and (G',)
    sample, reference : str
        Their names, for the message.
    min_shared_genes : int
        Fewer than this are an error.
    spot_gene_ids, reference_gene_ids : sequence of str, optional
        Ensembl identifiers, in the order of the genes: tried for the advice, not for the match.
    file : str
        The sample's, for the message.

    Returns
    -------
    shared : pandas.Index
        Genes in both, in the sample's order.
    problems : list of Problem
        With the spelling that would match best, and examples of both sides.
    """
    if min_shared_genes < 1:
        raise ValueError(f"min_shared_genes must be at least 1, got {min_shared_genes}")
    spots, cells = _unique(spot_genes), _unique(reference_genes)
    shared = spots[spots.isin(cells)]
    if len(shared) >= min_shared_genes:
        return shared, []
    found = (
        f"{_share(len(shared), spots, 'sample')} and {_share(len(shared), cells, f'reference {reference!r}')} shared; "
        f"sample has {_examples(spots)}; reference has {_examples(cells)}"
    )
    problem = Problem(
        "few-shared-genes",
        found,
        f"at least {min_shared_genes} shared genes (min_shared_genes)",
        _best_spelling(spots, cells, spot_gene_ids, reference_gene_ids, len(shared)),
        sample=sample,
        file=str(file),
        column="var_names",
    )
    return shared, [problem]


def check_gene_names(names, *, problem=Problem):
    """Collect what is wrong with gene names: duplicates, genome prefixes, dates made of genes.

    Parameters
    ----------
    names : sequence of str, (G,)
    problem : callable
        `Problem`, or a partial of it that knows the sample and the file.

    Returns
    -------
    list of Problem
    """
    names = pd.Index(names).astype(str)
    problems = []
    if not names.is_unique:
        duplicates = names[names.duplicated()].unique()
        problems.append(
            problem(
                "duplicate-genes",
                f"{len(duplicates)} gene names that occur more than once ({_examples(duplicates)})",
                "each gene once",
                "put their Ensembl identifiers in var['gene_ids'], or add the counts up with duplicate_genes='sum'",
                column="var_names",
            )
        )
    counts = genome_prefixes(names)
    if counts:
        listed = ", ".join(f"{prefix} {n}" for prefix, n in counts.items())
        problems.append(
            problem(
                "genome-prefix",
                f"{sum(counts.values())} of {len(names)} gene names that begin with a genome ({listed})",
                "plain gene names of one species",
                f"name the genome to keep: genome_prefix='{next(iter(counts))}'",
                column="var_names",
            )
        )
    if dates := spreadsheet_dates(names):
        problems.append(
            problem(
                "spreadsheet-dates",
                f"{len(dates)} gene names that a spreadsheet turned into dates ({_examples(dates)})",
                "gene names such as MARCHF2 or SEPTIN1",
                "export the table again without opening it in a spreadsheet",
                column="var_names",
                level="warning",
            )
        )
    return problems


def genome_prefixes(names):
    """Number of genes of each genome prefix such as ``GRCh38_``, the most frequent first."""
    found = (GENOME_PREFIX.match(str(name)) for name in names)
    counts = pd.Series([match.group(1) for match in found if match], dtype=object).value_counts()
    return {str(prefix): int(n) for prefix, n in counts.items()}


def spreadsheet_dates(names):
    """Names among `names` that a spreadsheet made of genes: ``2-Mar``, ``Mar-02``."""
    return [str(name) for name in names if SPREADSHEET_DATE.match(str(name))]


def without_version(names):
    """Ensembl identifiers without the ``.12`` of their version; other names as they are."""
    return pd.Index([re.sub(r"\.\d+$", "", name) if ENSEMBL.match(name) else name for name in map(str, names)])


def _best_spelling(spots, cells, spot_ids, cell_ids, now):
    """The one change of names that would match the most genes, as a fix."""

    def plain(names):
        return pd.Index([GENOME_PREFIX.sub("", str(name)) for name in names])

    def upper(names):
        return pd.Index([str(name).upper() for name in names])

    def same(names):
        return names

    tries = [
        (
            "write the gene names of both in upper case (other species? then map orthologues)",
            upper,
            spots,
            cells,
        ),
        ("strip the version (.12) from the Ensembl identifiers of both", without_version, spots, cells),
        ("strip the genome prefix (GRCh38_) from the gene names", plain, spots, cells),
    ]
    if spot_ids is not None:
        tries.append(("use var['gene_ids'] of the sample as its gene names", without_version, spot_ids, cells))
    if cell_ids is not None:
        tries.append(("use var['gene_ids'] of the reference as its gene names", without_version, spots, cell_ids))
    if spot_ids is not None and cell_ids is not None:
        tries.append(("use var['gene_ids'] of both as gene names", without_version, spot_ids, cell_ids))
    best, most = "", now
    for fix, change, left, right in tries:
        matched = _unique(change(_unique(left))).isin(_unique(change(_unique(right)))).sum()
        if matched > most:
            best, most = f"{fix}: {matched} genes would match", int(matched)
    return best or _other_names(spots, cells)


def _other_names(spots, cells):
    """What to do where no spelling matches: other kinds of names, or other genes altogether."""
    kinds = [np.mean([bool(ENSEMBL.match(name)) for name in names]) > 0.5 for names in (spots, cells)]
    if kinds[0] == kinds[1]:
        return "check that both are of the same species and name genes alike (symbols or Ensembl identifiers)"
    whose, other = ("sample", "reference") if kinds[0] else ("reference", "sample")
    return (
        f"the {whose} has Ensembl identifiers and the {other} symbols: put symbols into the {whose}'s var_names, or "
        f"identifiers into the {other}'s (sc.queries.biomart_annotations gives both)"
    )


def _unique(names):
    return pd.Index(names).dropna().astype(str).unique()


def _share(n, names, whose):
    return f"{n} of {len(names)} genes of the {whose} ({n / max(len(names), 1):.1%})"


def _examples(names):
    return ", ".join(map(str, list(names)[:EXAMPLES])) or "none"
