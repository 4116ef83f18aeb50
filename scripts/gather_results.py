"""Creates spots.h5ad: a sample with everything that its steps found, by the AnnData contract."""

from pathlib import Path

import pandas as pd

from job import job
from pointillist.data import contract
from pointillist.data.files import read_parquet, sha256, write_h5ad
from pointillist.deconvolution import METHODS


def read(*parts):
    return read_parquet(folder.joinpath(*parts))


def add_deconvolution(method):
    proportions, fit = (
        read("deconvolution", method, "proportions.parquet"),
        read("deconvolution", method, "fit.parquet"),
    )
    contract.add_spots_table(spots, f"{method}_proportions", proportions)
    contract.add_spots_table(spots, f"{method}_fit", fit)
    if "total_abundance" in fit:
        contract.add_spots_table(spots, f"{method}_abundance", proportions.mul(fit["total_abundance"], axis=0))


def add_factorization(method):
    # The first size of a method has its plain name, so that what reads it need not know the size.
    name = method.rpartition("_")[0]
    name = method if f"{name}_usage" in spots.obsm else name
    contract.add_spots_table(spots, f"{name}_usage", read("factorization", method, "usage.parquet"))
    contract.add_genes_table(spots, f"{name}_loadings", read("factorization", method, "loadings.parquet").T)


def add_joint_nmf(_):
    contract.add_spots_table(spots, "joint_nmf_usage", read("joint_nmf", "usage.parquet"))
    for file in sorted((folder / "joint_nmf").glob("loadings_*.parquet")):
        modality, loadings = file.stem.removeprefix("loadings_"), read_parquet(file).T
        if modality == "rna":
            contract.add_genes_table(spots, "joint_nmf_loadings", loadings)
        else:
            spots.uns[f"joint_nmf_loadings_{modality}"] = loadings


def add_archetypes(step):
    if step == "archetypes":
        contract.add_spots_table(spots, "archetype_weights", read("archetypes", "weights.parquet"))
        spots.uns["archetypes"] = {
            "components": read("archetypes", "archetypes.parquet"),
            "curve": pd.read_csv(folder / "archetypes/curve.csv"),
            "anchors": pd.read_csv(folder / "archetypes/anchors.csv", dtype={"barcode": str}),
            "communities": pd.read_csv(folder / "archetypes/communities.csv", dtype={"barcode": str}),
            "markers": pd.read_csv(folder / "archetypes/markers.csv"),
            "tree": (folder / "archetypes/tree.json").read_text(),
        }
        if snakemake.params.config["archetypes"]["n_bootstraps"]:
            spots.uns["archetypes"]["stability"] = pd.read_csv(folder / "archetypes/stability.csv")
    else:
        contract.add_spots_table(spots, "signature_scores", read("archetypes", "signature_scores.parquet"))
        for name in ("matching", "refinement", "signature_anchors"):
            table = pd.read_csv(folder / f"archetypes/{name}.csv", dtype={"barcode": str})
            texts = table.select_dtypes(object).columns
            spots.uns["archetypes"][name] = table.fillna(dict.fromkeys(texts, ""))


def add_embedding(model):
    if model != "pca":
        contract.add_spots_table(spots, f"X_{model}", read("embedding", model, "latent.parquet"), as_array=True)
    domains = pd.read_csv(folder / f"embedding/{model}/domains.csv", dtype=str).set_index("barcode")["domain"]
    spots.obs[f"{model}_domain"] = domains.reindex(spots.obs_names).astype("category")
    losses = folder / f"embedding/{model}/losses.csv"
    if losses.exists():
        spots.uns[f"{model}_losses"] = pd.read_csv(losses)


def add_diagnostics():
    def table(name):
        return pd.read_csv(folder / "deconvolution" / name, keep_default_na=False, na_values=[""])

    contract.add_spots_table(spots, "residuals", read("deconvolution", "residuals.parquet"))
    contract.add_genes_table(spots, "residuals", table("residual_genes.csv").set_index("gene"))
    diagnostics = {name: table(f"diagnostics/{name}.csv") for name in ("cell_types", "findings", "summary")}
    # Cell types as rows alone: as columns, names with a slash could not be read back.
    correlations = table("diagnostics/correlations.csv").melt("cell_type", var_name="other", value_name="correlation")
    spots.uns["deconvolution"] = {**diagnostics, "correlations": correlations}
    if (folder / "deconvolution/agreement_by_type.csv").exists():
        spots.uns["deconvolution"]["agreement_by_type"] = table("agreement_by_type.csv")


ADD = {
    "deconvolution": add_deconvolution,
    "factorization": add_factorization,
    "joint_nmf": add_joint_nmf,
    "archetypes": add_archetypes,
    "embedding": add_embedding,
}

with job(snakemake) as log:
    spots = contract.read_spots_h5ad(snakemake.input.spots)
    folder = Path(snakemake.output[0]).parent
    checksums = {Path(file).name: sha256(file) for file in snakemake.params.checksums}
    for step in snakemake.params.steps:
        if step.stage in ADD:
            ADD[step.stage](step.method)
            section = snakemake.params.config[step.stage]
            contract.record_step(spots, step.method, section, snakemake.params.seed, input_sha256=checksums)
    if any(step.stage == "deconvolution" and step.method in METHODS for step in snakemake.params.steps):
        add_diagnostics()
    agreement = folder / "deconvolution/agreement.parquet"
    if agreement.exists():
        contract.add_spots_table(spots, "consensus_proportions", read("deconvolution", "consensus.parquet"))
        contract.add_spots_table(spots, "agreement", read_parquet(agreement))
    log.info("obsm: %s", ", ".join(spots.obsm))
    write_h5ad(spots, snakemake.output[0])
