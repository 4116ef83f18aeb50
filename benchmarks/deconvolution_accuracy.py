"""How far the proportions of every method, and of other packages, lie from known ones.

    python benchmarks/deconvolution_accuracy.py --output DIR [--sets …] [--methods …] [--peers PYTHON] [--run-peers …]

Ours run anew every time. A peer's result is kept in ``DIR/peers`` with a digest of what it was given, and is run again
only where that has changed; without ``--peers`` kept results are shown and nothing is run.
"""

import argparse
import hashlib
import inspect
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_THREADS = "2"
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, _THREADS)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.optimize import nnls  # noqa: E402

from data import ROOT, SETS, load  # noqa: E402
from pointillist.deconvolution import METHODS, find_consensus, per_cell  # noqa: E402
from pointillist.deconvolution.result import Deconvolution, to_proportions  # noqa: E402
from pointillist.metrics import score_by_type, score_proportions  # noqa: E402
from pointillist.signature import (  # noqa: E402
    Signature,
    build_signature,
    choose_markers,
    genes_for,
    rank_markers,
)

COLUMNS = [
    *("rmse", "jsd", "pearson", "aupr", "rmse_pooled", "pearson_median", "pearson_by_type"),
    *("covered", "covered_present", "interval_width", "auc", "seconds"),
]
BASELINES = ("plain_nnls", "plain_wnnls")
_SETS = ("starmap", "starmap_dat2", "starmap_counts", "seqfishplus_a", "seqfishplus_b", "demo")


@dataclass(frozen=True)
class Peer:
    """Another package: the options of its script, and whether its shares are of the RNA rather than of the cells."""

    options: dict = field(default_factory=dict)
    shares_of_rna: bool = True


PEERS = {
    "flashdeconv": Peer(),
    "rctd": Peer({"smallest_for_sigma": 1}),
    "stereoscope": Peer({"cell_epochs": 200, "spot_epochs": 2000}, shares_of_rna=False),
    "cell2location": Peer(
        {"cell_epochs": 250, "spot_epochs": 5000, "samples": 100, "cells_per_spot": 5, "detection_alpha": 20},
        shares_of_rna=False,
    ),
}


@dataclass(frozen=True)
class Prepared:
    """The reference as the pipeline hands it to methods; the signature is over all genes shared with the spots."""

    signature: Signature
    markers: np.ndarray
    max_genes: int
    seconds: float


@lru_cache(maxsize=1)
def prepare(dataset):
    """What the rules build_signature and choose_markers make, with the demo's options and types of any size."""
    options = _config()
    if dataset.signature is not None:
        table = dataset.signature
        signature = Signature(table.to_numpy(), table.index.to_numpy(), table.columns.to_numpy())
        return Prepared(signature, signature.genes, options["max_genes"], 0.0)
    start = time.perf_counter()
    inputs = dataset.reference, dataset.cell_types, dataset.reference_genes
    signature = build_signature(*inputs).restrict(dataset.genes)
    ranked = rank_markers(*inputs, max_q=options["max_q"])
    markers, _ = choose_markers(signature, ranked, options["markers_per_type"])
    return Prepared(signature, markers["gene"].unique(), options["max_genes"], time.perf_counter() - start)


def run_method(dataset, method, options=None, seed=0):
    """A method of ours on a set, called as scripts/deconvolve.py calls it.

    Returns
    -------
    Deconvolution or None
        None where the method needs what the set lacks.
    """
    prepared = prepare(dataset)
    signature = prepared.signature
    record = METHODS[method]
    genes = genes_for(record, signature, prepared.markers, prepared.max_genes)
    position = pd.Index(dataset.genes).get_indexer(genes)
    context = {
        "spot_totals": np.asarray(dataset.X.sum(axis=1)).ravel(),
        "type_totals": signature.matrix.sum(axis=1),
        "graph": dataset.graph,
        "seed": seed,
    }
    if dataset.reference is not None:
        context["n_cells"] = signature.n_cells
        if record.takes("cells"):
            columns = pd.Index(dataset.reference_genes).get_indexer(genes)
            context["cells"] = dataset.reference[:, columns]
            context["codes"] = pd.Index(signature.cell_types).get_indexer(dataset.cell_types)
            context["cell_totals"] = np.asarray(dataset.reference.sum(axis=1)).ravel()
    elif _requires(record.function, "cells"):
        return None
    options = record.defaults() | (options or {})
    return record.run(dataset.X[:, position], signature.restrict(genes).matrix, options=options, **context)


def run_baseline(dataset, name):
    """`scipy.optimize.nnls` of one spot after another on all shared genes, alike or weighted by the inverse mean."""
    R = prepare(dataset).signature.matrix
    mean = R.mean(axis=0)
    root = 1 / np.sqrt(mean + 0.05 * mean.mean()) if name == "plain_wnnls" else np.ones(R.shape[1])
    design = (R * root).T
    found = [nnls(design, dataset.X[[spot]].toarray().ravel() * root)[0] for spot in range(dataset.X.shape[0])]
    return Deconvolution(to_proportions(np.array(found)))


def run_peer(dataset, name, arguments):
    """A peer's kept or new results.

    Returns
    -------
    dict of str to (DataFrame, float, str)
        Proportions, seconds and version, by the peer's name; a peer with two results has two names.
    """
    options = {"seed": arguments.seed} | PEERS[name].options | arguments.peer_options.get(name, {})
    folder = arguments.output / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    given, kept = folder / f"{dataset.name}.input.npz", folder / f"{dataset.name}.{name}.npz"
    record = kept.with_suffix(".json")
    arrays = _peer_input(dataset)
    key = {"digest": _digest(arrays), "options": options}
    fresh = kept.exists() and record.exists() and json.loads(record.read_text(encoding="utf-8")) == key
    if not fresh or (name in arguments.redo and arguments.peers):
        if not arguments.peers or name not in arguments.run_peers:
            if kept.exists():
                print(f"{dataset.name}: the result kept of {name} is of other input or options: run it with --peers")
            return {}
        np.savez(given, **arrays)
        script = Path(__file__).with_name(f"peers_{name}.py")
        extra = {"tables": str((arguments.output / "rctd_tables.npz").resolve())} if name == "rctd" else {}
        with open(kept.with_suffix(".log"), "w", encoding="utf-8") as log:
            command = [arguments.peers, str(script), str(given), str(kept), json.dumps(options | extra)]
            done = subprocess.run(command, stdout=log, stderr=log, check=False)
        given.unlink()
        if done.returncode:
            print(f"{dataset.name}: {name} failed, see {kept.with_suffix('.log')}")
            return {}
        record.write_text(json.dumps(key), encoding="utf-8")
    with np.load(kept) as stored:
        tables = [part for part in stored.files if part.startswith("proportions")]
        return {
            name + part.removeprefix("proportions"): (
                pd.DataFrame(stored[part], index=dataset.spots, columns=stored["types"]),
                float(stored["seconds"]),
                str(stored["version"]),
            )
            for part in tables
        }


def score(dataset, estimate):
    """Figures of one estimate: distance from the truth, or the AUC of cancer cells in the annotated regions."""
    if dataset.truth is not None:
        by_type = score_by_type(estimate, dataset.truth)["pearson"]
        return score_proportions(estimate, dataset.truth) | {"pearson_by_type": float(by_type.mean())}
    from sklearn.metrics import roc_auc_score

    known = (dataset.regions != "undetermined").to_numpy() & estimate.notna().all(axis=1).to_numpy()
    found, regions = estimate.loc[known, "Cancer Epithelial"], dataset.regions[known]
    return {
        "auc": roc_auc_score(regions == "invasive cancer", found),
        "auc_with_in_situ": roc_auc_score(regions.isin(["invasive cancer", "cancer in situ"]), found),
    }


def coverage(dataset, result, estimate):
    """Share of true proportions inside their interval, of all and of those above 0, and the intervals' mean width."""
    truth = dataset.truth.reindex(index=estimate.index, columns=estimate.columns, fill_value=0).to_numpy(dtype=float)
    known = dataset.truth.loc[estimate.index].sum(axis=1).to_numpy()[:, None]
    truth = truth / known
    inside = (truth >= result.lower - 1e-9) & (truth <= result.upper + 1e-9)
    return {
        "covered": inside.mean(),
        "covered_present": inside[truth > 0].mean(),
        "interval_width": np.nanmean(result.upper - result.lower),
    }


def measure(dataset, arguments):
    """Rows of the table of one set: each method on shares of the RNA and, with cells known, on shares of the cells."""
    prepared = prepare(dataset)
    _ = dataset.graph  # made before anything is timed
    rows, ours = [], {}

    def add(method, kind, estimate, seconds, version="", shares="RNA", result=None):
        tables = {shares: estimate}
        if shares == "RNA" and dataset.reference is not None:
            tables["cells"] = _of_cells(estimate, prepared.signature)
        for of, table in tables.items():
            known = {"set": dataset.name, "method": method, "shares": of, "kind": kind}
            timed = {"seconds": seconds, "preparation_seconds": prepared.seconds, "version": version}
            rows.append(known | score(dataset, table) | timed)
            if result is not None and result.lower is not None and dataset.truth is not None:
                bounds = result if of == "RNA" else per_cell(result, prepared.signature.mean_counts)
                rows[-1] |= coverage(dataset, bounds, table)
        figures = rows[-len(tables)]
        values = " ".join(f"{name} {figures[name]:.4f}" for name in COLUMNS if name in figures)
        print(f"{dataset.name} {method}: {values}", flush=True)

    for method in arguments.methods:
        start = time.perf_counter()
        if method in METHODS:
            options = _config().get(method, {}) | arguments.options.get(method, {})
            result = run_method(dataset, method, options, arguments.seed)
        else:
            result = run_baseline(dataset, method)
        seconds = time.perf_counter() - start
        if result is None:
            print(f"{dataset.name} {method}: not run, the set has no single cells")
            continue
        table = pd.DataFrame(result.proportions, index=dataset.spots, columns=prepared.signature.cell_types)
        if method in METHODS:
            ours[method] = table
        add(method, "pointillist" if method in METHODS else "baseline", table, seconds, result=result)
    members = [name for name in _config()["consensus"] if name in ours]
    if len(members) > 1:
        add("consensus", "pointillist", find_consensus(ours, members)[0], np.nan)
    if dataset.reference is not None:
        for name, peer in PEERS.items():
            for label, (table, seconds, version) in run_peer(dataset, name, arguments).items():
                add(label, "peer", table, seconds, version, "RNA" if peer.shares_of_rna else "own")
    return rows


def to_markdown(table):
    """A table for each set, best first, with shares of the cells beside shares of the RNA."""
    lines = ["# Accuracy of deconvolution", ""]
    if "rmse_pooled" in table:
        figures = table[table["rmse_pooled"].notna() & (table["shares"] != "cells")]
        wide = figures.pivot(index="method", columns="set", values="rmse_pooled")
        wide = wide.reindex(columns=figures["set"].unique()).loc[figures["method"].unique()]
        lines += ["## RMSE over all entries, shares as fitted", "", "| method | " + " | ".join(wide.columns) + " |"]
        lines += ["|---|" + "---|" * wide.shape[1]]
        for method, row in wide.iterrows():
            lines.append(f"| {method} | " + " | ".join("" if pd.isna(x) else f"{x:.4f}" for x in row) + " |")
        lines.append("")
    for name, rows in table.groupby("set", sort=False):
        columns = [column for column in COLUMNS if column in rows and rows[column].notna().any()]
        first = "auc" if "auc" in columns else "rmse"
        lines += [f"## {name}", "", "| method | shares | " + " | ".join(columns) + " |"]
        lines += ["|---|---|" + "---|" * len(columns)]
        for _, row in rows.sort_values(first, ascending=first == "rmse", kind="stable").iterrows():
            values = ["" if pd.isna(row[c]) else f"{row[c]:.{1 if c == 'seconds' else 3}f}" for c in columns]
            lines.append(f"| {row['method']} | {row['shares']} | " + " | ".join(values) + " |")
        lines.append("")
    return "\n".join(lines)


def main():
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.sets:
        dataset = load(name, arguments.data)
        print(f"{name}: {dataset.X.shape[0]} spots × {len(dataset.genes)} genes", flush=True)
        rows += measure(dataset, arguments)
        table = pd.DataFrame(rows)
        table.to_csv(arguments.output / "deconvolution_accuracy.csv", index=False)
        (arguments.output / "deconvolution_accuracy.md").write_text(to_markdown(table), encoding="utf-8")


@lru_cache(maxsize=1)
def _config():
    """The section `deconvolution` of the demo's config over its defaults."""
    import yaml

    written = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["deconvolution"]
    defaults = {"max_q": 0.3, "markers_per_type": [10, 100], "max_genes": 5000, "consensus": []}
    return defaults | written


def _of_cells(estimate, signature):
    """Shares of the RNA turned into shares of the cells."""
    types = signature.cell_types
    found = per_cell(Deconvolution(estimate[types].to_numpy()), signature.mean_counts)
    return pd.DataFrame(found.proportions, index=estimate.index, columns=types)


def _requires(function, name):
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _peer_input(dataset):
    arrays = {"labels": dataset.cell_types}
    for name, matrix in (("X", dataset.X), ("reference", dataset.shared_reference)):
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        arrays |= {f"{name}_{part}": np.asarray(values) for part, values in parts.items()}
    if dataset.coordinates is not None:
        arrays["coordinates"] = dataset.coordinates
    return arrays


def _digest(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the tables and of the peers' results")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=_SETS, choices=list(SETS))
    parser.add_argument("--methods", nargs="*", default=[*METHODS, *BASELINES], choices=[*METHODS, *BASELINES])
    parser.add_argument(
        "--options", type=json.loads, default={}, help='JSON, such as {"gls": {"platform_effect": "never"}}'
    )
    parser.add_argument("--peers", help="Python of the peers; without it only kept results are shown")
    parser.add_argument("--run-peers", nargs="*", default=list(PEERS), choices=list(PEERS), help="peers that may run")
    parser.add_argument("--peer-options", type=json.loads, default={}, help="JSON, as --options")
    parser.add_argument("--redo", nargs="*", default=[], choices=list(PEERS), help="peers to run again")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
