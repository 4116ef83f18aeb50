"""What makes a run repeatable: versions, seeds, checksums and command; and what it owes to others."""

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import yaml

import pointillist
from pointillist.catalogue import BASELINES, RECORDS

_PACKAGES = (
    "snakemake numpy scipy pandas anndata scanpy squidpy scikit-learn scikit-misc statsmodels torch matplotlib plotly"
).split()
_ALWAYS = ("molder2021", "wolf2018", "stuart2019", "palla2022")


def package_versions():
    """Versions of Pointillist, Python and the packages that results depend on."""
    versions = {"pointillist": pointillist.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # a job's environment may lack what it does not use
            versions[name] = "not installed"
    return versions


def methods_that_ran(steps):
    """Names of the methods behind the steps of all samples, in the order of the stages.

    Parameters
    ----------
    steps : dict of str to list of Step
    """
    names = []
    for step in (step for steps_of_sample in steps.values() for step in steps_of_sample):
        name, _, size = step.method.rpartition("_")
        name = name if size.isdigit() else step.method
        if name in RECORDS and name not in names:
            names.append(name)
    return [name for name in RECORDS if name in names]


def methods_text(steps, config):
    """Paragraphs for a paper's methods section, of the steps that ran.

    Parameters
    ----------
    steps : dict of str to list of Step
    config : dict
        With every default.

    Returns
    -------
    list of str
    """
    bibliography = load_citations()
    preprocessing = config["preprocessing"]
    ran = {step.method for steps_of_sample in steps.values() for step in steps_of_sample}
    thresholds = [preprocessing[name] for name in ("min_counts", "min_genes", "max_mitochondrial")]
    rule = (
        f"spots beyond {preprocessing['n_mads']:g} median absolute deviations (log scale for counts and genes) in "
        "total counts, genes detected or mitochondrial share were taken out"
        if thresholds == ["auto"] * 3
        else f"spots were filtered by counts ({thresholds[0]}), genes ({thresholds[1]}) and mitochondrial share "
        f"({thresholds[2]}), where auto is {preprocessing['n_mads']:g} median absolute deviations"
    )
    text = [
        f"Spots were analysed with Pointillist {pointillist.__version__}, a Snakemake workflow "
        f"({short(bibliography['molder2021'])}), with seed {config['seed']}. In each sample {rule}; counts were scaled "
        f"to the median library size and log-transformed, and {preprocessing['n_variable_genes']:,} variable genes "
        f"({short(bibliography['stuart2019'])}) and {preprocessing['n_components']} principal components computed "
        f"(scanpy, {short(bibliography['wolf2018'])})."
    ]
    if "graph" in ran:
        text[0] += f" Neighbouring spots were joined in a graph (squidpy, {short(bibliography['palla2022'])})."
    if any(RECORDS[name].needs & {"reference"} for name in methods_that_ran(steps)):
        n_range = config["deconvolution"]["markers_per_type"]
        max_q = config["deconvolution"]["max_q"]
        text.append(
            "Signatures are mean expression per cell type, scaled to 10,000 counts a cell. Marker genes are "
            f"over-expressed in one type against every other (Welch's t-test, q < {max_q:g}); of {n_range[0]} to "
            f"{n_range[1]} markers a type, the number with the lowest condition number of the signature was taken "
            f"({short(bibliography['newman2015'])})."
        )
    for name in methods_that_ran(steps):
        record = RECORDS[name]
        cited = "; ".join(short(bibliography[key]) for key in record.citations)
        text.append(f"{record.title}: {record.summary[0].lower()}{record.summary[1:]}{f' ({cited})' if cited else ''}.")
    archetypal = [name for name in steps if any(step.method == "archetypes" for step in steps[name])]
    if len(archetypal) > 1:
        text.append(
            "Archetypes of different samples were paired by stable marriage on the Pearson correlation of their "
            "communities' standardised mean expression over the markers of both samples (at least "
            f"{config['archetypes']['min_similarity']:g}), and the pairs merged into groups with at most one archetype "
            "of a sample."
        )
    if ran & set(BASELINES):
        text.append("Domains are Gaussian mixtures of each embedding; principal components are shown as the baseline.")
    return text


def cited_keys(steps, scored=False):
    """Keys of everything that the steps that ran are to cite."""
    keys = [*_ALWAYS, *(key for name in methods_that_ran(steps) for key in RECORDS[name].citations)]
    return sorted({*keys, *(("sangaram2024", "hubert1985") if scored else ())})


def load_citations():
    """All known citations by key."""
    return yaml.safe_load(files("pointillist.report").joinpath("citations.yaml").read_text(encoding="utf-8"))


def short(entry):
    """Author and year, as in a text."""
    families = [author.rsplit(" ", 1)[0] for author in entry["authors"]]
    if "others" in entry["authors"] or len(families) > 2:
        return f"{families[0]} et al. {entry['year']}"
    return f"{' & '.join(families)} {entry['year']}"


def reference(entry):
    """One line of a list of references."""
    authors = ", ".join("et al." if author == "others" else author for author in entry["authors"])
    place = entry["journal"]
    if "volume" in entry:
        place += f" {entry['volume']}:{entry['pages']}"
    link = f" https://doi.org/{entry['doi']}" if "doi" in entry else ""
    return f"{authors} ({entry['year']}). {entry['title']}. {place}.{link}"


def bibtex(keys):
    """Entries in BibTeX."""
    entries = load_citations()
    blocks = []
    for key in keys:
        entry = entries[key]
        fields = {
            "author": " and ".join(
                "others" if a == "others" else ", ".join(a.rsplit(" ", 1)) for a in entry["authors"]
            ),
            "title": f"{{{entry['title']}}}",
            **{name: entry[name] for name in ("journal", "year", "volume", "pages", "doi") if name in entry},
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        blocks.append(f"@article{{{key},\n{lines}\n}}\n")
    return "\n".join(blocks)
