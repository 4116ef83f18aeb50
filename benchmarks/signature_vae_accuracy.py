"""The signature-guided autoencoder beside averages of its gene sets' scores, which it has to beat.

    python benchmarks/signature_vae_accuracy.py [--data DIR] [--seeds 0 1 2]

On the demo's simulated tissue with its own gene sets, of which one has no cell type and one cell type no set, each seed
a tissue of its own, without and with the histology of its image; and on the STARmap sets with the reference's markers
as gene sets, each seed a run of its own. Proportions are compared over the types that sets and truth share.

The control is the mean z-score of a set's genes (log counts per 10,000), clipped at 0, as shares.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from data import ROOT, load
from pointillist.data.histology import histology_features, tissue_image
from pointillist.data.simulation import simulate_tissue
from pointillist.deconvolution import signature_vae, usable_gene_sets
from pointillist.metrics import score_proportions
from pointillist.preprocessing import spatial_graph
from pointillist.signature import build_signature, choose_markers, rank_markers

REAL = ("starmap", "starmap_counts")


def mean_scores(X, genes, gene_sets):
    """The control."""
    counts = np.asarray(X.todense(), dtype=float)
    logs = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    spread = logs.std(axis=0)
    z = (logs - logs.mean(axis=0)) / np.where(spread > 0, spread, 1)
    position = pd.Index(genes)
    scores = np.column_stack([z[:, position.isin(members)].mean(axis=1) for members in gene_sets.values()])
    return np.clip(scores, 0, None)


def score(values, names, truth, spots):
    """RMSE and JSD over the types that both have, each divided by its sum."""
    shared = [name for name in names if name in truth]
    estimate = pd.DataFrame(values, index=spots, columns=list(names))[shared]
    total = estimate.sum(axis=1)
    estimate = estimate.div(total.where(total > 0), axis=0).fillna(1 / len(shared))
    known = truth.loc[spots, shared]
    known = known[known.sum(axis=1) > 0]
    found = score_proportions(estimate.loc[known.index], known.div(known.sum(axis=1), axis=0))
    return found["rmse"], found["jsd"]


def simulated(seed):
    """Of one simulated tissue: the figures of control, autoencoder and autoencoder with histology."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tissue = simulate_tissue(seed=seed, **config["simulation"])
    spots = tissue.spots
    gene_sets = {name: list(rows) for name, rows in tissue.gene_sets.groupby("set")["gene"]}
    gene_sets = usable_gene_sets(spots.X, spots.var_names, gene_sets)
    graph = spatial_graph(spots.obsm["spatial"])[0]
    image, scale, diameter = tissue_image(spots)
    features = histology_features(image, spots.obsm["spatial"] * scale, diameter * scale).to_numpy()
    given = spots.X, spots.var_names, gene_sets
    found = {
        "control": mean_scores(*given),
        "signature_vae": signature_vae(*given, graph=graph, seed=seed).proportions,
        "with histology": signature_vae(
            *given, graph=graph, image_features=features, histology="image", seed=seed
        ).proportions,
    }
    return {name: score(values, gene_sets, tissue.truth, spots.obs_names) for name, values in found.items()}


def real(dataset, seed):
    """Of one run on a real tissue: the figures of control and autoencoder."""
    reference = dataset.reference, dataset.cell_types, dataset.reference_genes
    signature = build_signature(*reference).restrict(dataset.genes)
    markers, _ = choose_markers(signature, rank_markers(*reference))
    gene_sets = {name: list(rows) for name, rows in markers.groupby("cell_type")["gene"]}
    gene_sets = usable_gene_sets(dataset.X, dataset.genes, gene_sets)
    given = dataset.X, dataset.genes, gene_sets
    found = {
        "control": mean_scores(*given),
        "signature_vae": signature_vae(*given, graph=dataset.graph, seed=seed).proportions,
    }
    return {name: score(values, gene_sets, dataset.truth, dataset.spots) for name, values in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="folder of the sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    runs = {"demo": simulated} | {
        name: lambda seed, name=name: real(load(name, args.data), seed) for name in REAL if args.data.exists()
    }
    for name, run in runs.items():
        found = [run(seed) for seed in args.seeds]
        for method in found[0]:
            figures = np.array([figures[method] for figures in found])
            spread = " ".join(f"{rmse:.3f}/{jsd:.3f}" for rmse, jsd in figures)
            print(f"{name:16}{method:16}RMSE / JSD by seed: {spread}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
