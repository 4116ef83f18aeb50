"""The inputs that settings and sample sheet name: found, looked at from outside, and every problem told at once."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pointillist.data.contents import Contents
from pointillist.data.inspection import inspect
from pointillist.data.sample_sheet import carried_columns, read_sample_sheet
from pointillist.errors import InputError, Problem
from pointillist.schema import nearest

ALL_SAMPLES = "all"

# What a simulated tissue holds, known before it is made.
_SIMULATED = Contents(
    "h5ad",
    obs_columns=("array_row", "array_col", "in_tissue", "region"),
    obsm_keys=("protein", "spatial"),
    has_coordinates=True,
    has_image=True,
    modalities=("rna", "protein"),
)


@dataclass(frozen=True)
class Sample:
    """A row of the sample sheet with what its input holds.

    Parameters
    ----------
    name : str
    row : dict of str to str
    contents : Contents
    """

    name: str
    row: dict
    contents: Contents = field(default_factory=lambda: Contents("h5ad"))

    @property
    def has(self):
        """What methods may need of it, of ``reference``, ``gene_sets``, ``coordinates``."""
        has = set()
        if self.row.get("reference"):
            has |= {"reference", "gene_sets"}  # a reference's markers serve as gene sets
        if self.row.get("gene_sets"):
            has.add("gene_sets")
        if self.contents.has_coordinates:
            has.add("coordinates")
        return frozenset(has)


@dataclass(frozen=True)
class Inputs:
    """Samples in the sheet's order; references and gene sets by name, with paths as the workflow names them."""

    samples: list
    references: dict
    gene_sets: dict
    carried: list


def find_inputs(settings, sheet_schema, folder, config_file, simulated=None):
    """Find what settings and sample sheet name, without loading any matrix.

    Parameters
    ----------
    settings : dict
        Checked, with defaults.
    sheet_schema : dict
        JSON Schema of a row of the sheet.
    folder : str
        Folder that the settings' own paths are relative to; the sheet's are relative to the sheet.
    config_file : str
        For the messages.
    simulated : dict of str to str, optional
        Paths of the files that a rule will make, by their role: ``spots``, ``reference``, ``truth``, ``gene_sets``.

    Returns
    -------
    inputs : Inputs
    problems : list of Problem
    """
    planned = set((simulated or {}).values())
    references, problems = _find_references(settings, folder, config_file, planned)
    gene_sets, found = _find_gene_sets(settings, folder, config_file, planned)
    problems += found
    samples, carried = [], []
    if "samples" in settings:
        sheet_path = Path(_resolve(settings["samples"], folder))
        try:
            sheet, found = read_sample_sheet(sheet_path, sheet_schema)
        except InputError as error:
            return Inputs([], references, gene_sets, []), [*problems, *error.problems]
        problems += found
        carried = carried_columns(sheet, sheet_schema)
        for row in sheet.to_dict("records"):
            sample, found = _find_sample(row, sheet_path, references, gene_sets, planned)
            samples.append(sample)
            problems += found
    return Inputs(samples, references, gene_sets, carried), problems


def _find_sample(row, sheet_path, references, gene_sets, planned):
    name, sheet, problems = row["sample"], str(sheet_path), []
    row = dict(row)
    for column in ("path", "coordinates", "image", "truth"):
        if not row[column]:
            continue
        given = row[column]
        row[column] = _resolve(given, sheet_path.parent)
        if row[column] not in planned and not os.path.exists(row[column]):
            problems.append(_missing_file(given, row[column], name, sheet, column))
    for column, known in (("reference", references), ("gene_sets", gene_sets)):
        if row[column] and row[column] not in known:
            problems.append(_unknown_entry(row[column], known, name, sheet, column))
    if not row["gene_sets"] and ALL_SAMPLES in gene_sets:
        row["gene_sets"] = ALL_SAMPLES
    contents, found = _look_into(row, name, planned)
    problems += found
    if contents:
        problems += _check_row(row, contents, name, sheet)
    return Sample(name, row, contents or Contents(row["format"] or "h5ad")), problems


def _look_into(row, name, planned):
    if row["path"] in planned:
        return _SIMULATED, []
    if not row["path"] or not os.path.exists(row["path"]):
        return None, []
    bin_um = int(row["bin_um"]) if row["bin_um"].isdigit() else None
    try:
        return inspect(row["path"], row["format"], bin_um=bin_um, sample=name), []
    except InputError as error:
        return None, [problem for problem in error.problems if problem.code != "unknown-format"]


def _check_row(row, contents, name, sheet):
    if contents.format == "table" and not row["coordinates"]:
        yield Problem(
            "no-coordinates-table",
            "a counts table alone",
            "its spots' coordinates",
            "name a table with columns barcode, x, y in the column `coordinates`",
            name,
            sheet,
            "coordinates",
        )
    if row["labels"] and contents.obs_columns and row["labels"] not in contents.obs_columns:
        near = nearest(row["labels"], contents.obs_columns)
        yield Problem(
            "missing-column",
            f"obs with columns {', '.join(contents.obs_columns)}",
            f"the column {row['labels']!r}",
            f"write {near!r}" if near else "name one of these",
            name,
            row["path"],
            "labels",
        )


def _find_references(settings, folder, config_file, planned):
    references, problems = {}, []
    for name, reference in settings.get("references", {}).items():
        if not isinstance(reference, dict) or "path" not in reference:
            continue  # told by the schema
        path = _resolve(reference["path"], folder)
        references[name] = {**reference, "path": path}
        column = f"references.{name}"
        if path in planned:
            continue
        if not os.path.exists(path):
            problems.append(_missing_file(reference["path"], path, None, config_file, f"{column}.path"))
            continue
        try:
            contents = inspect(path, "h5ad")
        except InputError as error:
            problems += error.problems
            continue
        for key, known in (("cell_type", contents.obs_columns), ("layer", (*contents.layers, "X", "raw"))):
            value = reference.get(key)
            if value and value not in known:
                near = nearest(value, known)
                problems.append(
                    Problem(
                        f"missing-{key}",
                        f"{', '.join(known) or 'nothing'} in {'obs' if key == 'cell_type' else 'layers'}",
                        repr(value),
                        f"write {near!r}" if near else "name one of these",
                        None,
                        path,
                        f"{column}.{key}",
                    )
                )
    return references, problems


def _find_gene_sets(settings, folder, config_file, planned):
    given = settings.get("gene_sets") or {}
    if isinstance(given, str):
        given = {ALL_SAMPLES: given}
    gene_sets, problems = {}, []
    for name, path in given.items():
        gene_sets[name] = _resolve(path, folder)
        if gene_sets[name] not in planned and not os.path.exists(gene_sets[name]):
            column = "gene_sets" if name == ALL_SAMPLES else f"gene_sets.{name}"
            problems.append(_missing_file(path, gene_sets[name], None, config_file, column))
    return gene_sets, problems


def _resolve(path, folder):
    """A path relative to `folder`, as the workflow names it: relative where it lies in the working folder."""
    absolute = os.path.normpath(os.path.join(os.path.abspath(folder), path))
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith(os.pardir) else relative


def _missing_file(given, path, sample, file, column):
    return Problem(
        "missing-file",
        f"nothing at {given!r}",
        "a file or folder",
        f"correct the path, which is looked for at {os.path.abspath(path)}",
        sample,
        file,
        column,
    )


def _unknown_entry(value, known, sample, file, column):
    section = "references" if column == "reference" else "gene_sets"
    near = nearest(value, known)
    return Problem(
        f"unknown-{column}",
        repr(value),
        f"one of: {', '.join(known)}" if known else f"an entry of `{section}` in the config, which has none",
        f"write {near!r}" if near else f"add {value!r} under `{section}` in the config",
        sample,
        file,
        column,
    )
