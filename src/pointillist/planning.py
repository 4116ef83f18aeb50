"""Which steps each sample runs, and why it skips the others."""

from dataclasses import dataclass

from pointillist.errors import Problem

# What a method may need, as the report says it of a sample that does not have it.
LACKING = {
    "reference": "no reference is given for the sample",
    "gene_sets": "neither gene sets nor a reference are given for the sample",
    "coordinates": "the sample has no coordinates",
}


# The deconvolution that every other one is measured by, and that residuals are of.
BASELINE = "nnls"


@dataclass(frozen=True)
class Step:
    """One step of one sample: `stage`, and the method, with its size where it has one, as in file names."""

    stage: str
    method: str


@dataclass(frozen=True)
class Plan:
    """Steps of every sample in the order of the stages, and those skipped with the reason."""

    steps: dict
    skipped: list

    def of(self, sample, stage):
        """Methods of a stage that a sample runs."""
        return [step.method for step in self.steps[sample] if step.stage == stage]


def add_baseline(settings, file=""):
    """Put the baseline among the methods of deconvolution where a config leaves it out.

    Parameters
    ----------
    settings : dict
        Checked, with defaults; changed in place.
    file : str
        For the message.

    Returns
    -------
    list of Problem
        A warning that it was added, or nothing.
    """
    section = settings.get("deconvolution")
    methods = section.get("methods") if isinstance(section, dict) else None
    if not isinstance(methods, list) or BASELINE in methods:
        return []
    found = f"methods without the baseline {BASELINE!r}"
    fix = "none needed: it is added, and what the reference leaves unexplained is told from it"
    section["methods"] = [*methods, BASELINE]
    return [Problem("baseline-added", found, "it", fix, file=file, column="deconvolution.methods", level="warning")]


def plan_steps(samples, config, stages):
    """Steps that the config asks for and each sample allows.

    Parameters
    ----------
    samples : list of Sample
    config : dict
        Checked, with defaults.
    stages : dict of str to dict of str to Method
        Records of each stage's methods.

    Returns
    -------
    Plan
    """
    steps, skipped = {}, []
    for sample in samples:
        steps[sample.name] = []
        for step, needs, missing in _wanted(config, stages):
            reason = next((LACKING[need] for need in sorted(needs - sample.has)), None) or missing(sample)
            if reason:
                skipped.append((sample.name, step, reason))
            else:
                steps[sample.name].append(step)
    return Plan(steps, skipped)


def _wanted(config, stages):
    """Yield each step of the config, what it needs, and what else may be missing."""

    def nothing(_):
        return None

    yield Step("preprocessing", "graph"), {"coordinates"}, nothing
    for name in config.get("deconvolution", {}).get("methods", ()):
        yield Step("deconvolution", name), stages["deconvolution"][name].needs, nothing
    for name in config.get("factorization", {}).get("methods", ()):
        for size in config["factorization"]["n_factors"]:
            yield Step("factorization", f"{name}_{size}"), stages["factorization"][name].needs, nothing
    if "joint_nmf" in config:
        yield Step("joint_nmf", "joint_nmf"), frozenset(), lambda sample: _lacking_modalities(sample, config)
    if "archetypes" in config:
        yield Step("archetypes", "archetypes"), frozenset(), nothing
        yield Step("archetypes", "matching"), {"gene_sets"}, nothing
    if "embedding" in config:
        yield Step("embedding", "pca"), frozenset(), nothing
        yield Step("embedding", "neighbour_mean_pca"), {"coordinates"}, nothing
        for name in config["embedding"]["models"]:
            yield Step("embedding", name), stages["embedding"][name].needs, nothing


def _lacking_modalities(sample, config):
    lacking = [name for name in config["joint_nmf"]["modalities"] if name not in sample.contents.modalities]
    return f"the sample has no modality {' or '.join(map(repr, lacking))}" if lacking else None
