"""What the page says of a run: made from the results, laid out by the template."""

import pandas as pd

from pointillist.data.contract import recorded_steps
from pointillist.metrics import DEFINITIONS
from pointillist.report.page import explorer_data
from pointillist.report.provenance import load_citations, reference

# Sections of a sample in the order of the docs, and what each one shows.
SECTIONS = {
    "quality": ("Quality", "Which spots were kept, and what the tissue looks like."),
    "deconvolution": (
        "Cell types",
        "Shares of the reference's cell types in each spot. Non-negative least squares is the baseline: a method is "
        "worth its cost where it does better.",
    ),
    "scores": ("Fit to the truth", "Estimated proportions beside the known ones."),
    "factorization": ("Factors", "Programmes of genes that vary together, and how much each spot uses them."),
    "joint_nmf": ("Joint factors", "Programmes that the modalities of the same spots share."),
    "archetypes": (
        "Archetypes",
        "The extreme spots of which all others are mixtures, their anchor spots, and the signatures that they match.",
    ),
    "embedding": ("Embedding", "A few numbers per spot, and the domains that they fall into."),
}
_LOWER_IS_BETTER = {"rmse", "jsd", "rmse_pooled"}


def is_simulated(spots):
    """Whether a sample came from Pointillist's simulator."""
    return "simulation" in recorded_steps(spots)


def describe_sample(name, spots, figures, row, skipped, titles, known=None):
    """Cards, notes, map and sections of one sample.

    Parameters
    ----------
    name : str
    spots : AnnData
        With all results, by the contract.
    figures : list of dict
        ``stage``, ``title``, ``caption``, ``url``.
    row : dict of str to str
        The sample's row of the sheet.
    skipped : DataFrame
        Steps that it left out, with the reason.
    titles : dict of str to str
    known : dict of str to DataFrame, optional
        What labels and truth say of its archetypes: ``label_enrichment``, ``truth_correlation``.

    Returns
    -------
    dict
        What the template calls ``sample``.
    """
    kept = spots.obs[~spots.obs["filtered"]]
    cards = {
        "spots kept": len(kept),
        "taken out": spots.n_obs - len(kept),
        "median counts": kept["total_counts"].median(),
        "median genes": kept["n_genes"].median(),
        "genes": spots.n_vars,
    }
    for key, table in spots.obsm.items():
        if key.endswith("_fit"):
            cards[f"median R, {titles.get(key.removesuffix('_fit'), key)}"] = table["pearson"].median()
    notes = [
        f"Skipped, since {reason}: {', '.join(titles.get(step, step) for step in steps)}."
        for reason, steps in skipped.groupby("reason", sort=False)["method"]
    ]
    if row.get("reference"):
        notes.append(f"Reference: {row['reference']}.")
    sections = []
    for stage, (title, text) in SECTIONS.items():
        shown = [figure for figure in figures if figure["stage"] == stage]
        tables = [*_tables(stage, spots), *_known_tables(stage, known or {})]
        findings = list(_findings(spots)) if stage == "deconvolution" else []
        if shown or tables:
            section = {"stage": stage, "title": title, "text": text, "findings": findings}
            sections.append({**section, "figures": shown, "tables": tables})
    return {
        "name": name,
        "simulated": is_simulated(spots),
        "cards": cards,
        "notes": notes,
        "explorer": explorer_data(spots, titles),
        "sections": sections,
    }


def describe_across_samples(consensus, markers, figures):
    """Text, figures and tables about the archetypes of all samples.

    Parameters
    ----------
    consensus, markers : DataFrame
        As `match_across_samples` gives them.
    figures : list of dict

    Returns
    -------
    dict
        What the template calls ``across``.
    """
    grouped = consensus[consensus["group"].notna() & (consensus["group"] != "")]
    sizes = grouped["group"].value_counts()
    text = (
        "Archetypes are found in each sample by itself. Those of two samples are then paired by stable marriage on the "
        "correlation of their communities over the markers of both, and the pairs of all samples are merged into "
        f"groups with at most one archetype of a sample: {len(sizes)} groups hold {len(grouped)} of {len(consensus)} "
        "archetypes. The others are of one sample alone, or too few genes are shared to tell."
    )
    columns = ["group", "n_samples", "sample", "archetype", "signature", "similarity", "mass"]
    shown = consensus[[name for name in columns if name in consensus]].fillna({"group": "", "signature": ""})
    leading = markers.groupby("group", sort=False)["gene"].apply(lambda genes: ", ".join(genes.head(12)))
    tables = [
        {
            "title": "Consensus groups, and archetypes of one sample alone",
            "frame": shown,
            "text": ["group", "sample", "archetype", "signature"],
            "open": len(shown) <= 40,
        }
    ]
    if len(markers):
        frame = leading.rename("markers of most members").reset_index()
        tables.append({"title": "Markers of the groups", "frame": frame, "text": list(frame), "open": False})
    return {"text": text, "figures": figures, "tables": tables}


def score_blocks(scores, titles):
    """Scores as one block for each sample and stage, methods in rows and metrics in columns, the best marked."""
    blocks = []
    for (sample, stage), table in scores.groupby(["sample", "stage"], sort=False):
        wide = table.pivot(index="method", columns="metric", values="value")
        metrics = [name for name in DEFINITIONS if name in wide]
        best = {name: wide[name].min() if name in _LOWER_IS_BETTER else wide[name].max() for name in metrics}
        counts = table.groupby("method")["n_spots"].first()
        rows = [
            {
                "method": titles.get(method, method),
                "n_spots": int(counts[method]),
                "cells": [{"value": wide.loc[method, m], "best": wide.loc[method, m] == best[m]} for m in metrics],
            }
            for method in table["method"].unique()
        ]
        title = "proportions against the truth" if stage == "deconvolution" else "domains against the labels"
        blocks.append({"sample": sample, "title": title, "metrics": metrics, "rows": rows})
    return blocks


def references(keys):
    """Lines of the list of references."""
    entries = load_citations()
    return [reference(entries[key]) for key in keys]


def _findings(spots):
    """What is to be known of the reference before its results are read."""
    found = spots.uns.get("deconvolution", {})
    if "summary" not in found:
        return
    row = pd.DataFrame(found["summary"]).iloc[0]
    yield (
        f"Reference: {row['n_shared_genes']:.0f} genes shared with the sample hold {row['share_of_counts']:.0%} of its "
        f"counts; condition number {row['condition_number']:.3g}, and {row['scaled_condition_number']:.3g} with cell "
        "types of one length."
    )
    findings = pd.DataFrame(found["findings"])
    for _, row in findings.iterrows():
        yield f"{row['subject']}: {row['found']}. So {row['implies']}. What to do: {row['fix']}."
    if not len(findings):
        yield "Nothing was found that speaks against the reference."


def _tables(stage, spots):
    if stage == "deconvolution" and "cell_types" in spots.uns.get("deconvolution", {}):
        frame = pd.DataFrame(spots.uns["deconvolution"]["cell_types"])
        text = ["cell_type", "most_similar"]
        yield {"title": "What the reference can tell apart", "frame": frame, "text": text, "open": len(frame) <= 12}
    if stage == "deconvolution" and "residuals" in spots.varm:
        genes = spots.varm["residuals"].dropna().rename_axis("gene")
        for name in [name for name in genes if name.startswith("missing_")]:
            frame = genes[genes[name] > 0].sort_values(name, ascending=False, kind="stable").head(20).reset_index()
            frame = frame[["gene", name, "log2_ratio", "excess", "observed", "fitted"]].rename(columns={name: "weight"})
            title = f"Genes that go up together beyond the fit: {name.replace('_', ' ')}"
            yield {"title": title, "frame": frame, "text": ["gene"], "open": False}
    if stage == "factorization":
        for key in [key for key in spots.varm if key.endswith("_loadings") and key != "joint_nmf_loadings"]:
            yield _top_features(f"Leading genes: {key.removesuffix('_loadings').upper()}", spots.varm[key])
    if stage == "joint_nmf" and "joint_nmf_loadings" in spots.varm:
        yield _top_features("Leading genes of the joint factors", spots.varm["joint_nmf_loadings"])
        for key in [key for key in spots.uns if key.startswith("joint_nmf_loadings_")]:
            modality = key.removeprefix("joint_nmf_loadings_")
            yield _top_features(f"Leading features of the joint factors: {modality}", spots.uns[key])
    if stage == "archetypes" and "archetypes" in spots.uns:
        found = spots.uns["archetypes"]
        if "matching" in found:
            frame = pd.DataFrame(found["matching"])
            text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
            yield {
                "title": "Archetypes and signatures, with both sides' ranks",
                "frame": frame,
                "text": text,
                "open": True,
            }
        if "refinement" in found and len(found["refinement"]):
            frame = pd.DataFrame(found["refinement"])
            text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
            yield {"title": "What refinement changed, round by round", "frame": frame, "text": text, "open": False}
        markers = pd.DataFrame(found["markers"])
        if len(markers):
            leading = markers.groupby("archetype", sort=True)["gene"].apply(lambda genes: ", ".join(genes.head(10)))
            frame = leading.rename("leading markers").reset_index()
            yield {"title": "Markers of each archetype", "frame": frame, "text": list(frame), "open": False}


def _known_tables(stage, known):
    """What labels and truth, seen by no method, say of the archetypes."""
    table = known.get("label_enrichment")
    if stage == "archetypes" and table is not None and len(table):
        best = table.sort_values(["archetype", "q_value", "odds_ratio"], ascending=[True, True, False])
        best = best[best["q_value"] < 0.05].drop(columns="sample", errors="ignore")
        yield {
            "title": "Labels enriched in the communities (q < 0.05; no method saw them)",
            "frame": best,
            "text": ["archetype", "label"],
            "open": False,
        }
    table = known.get("truth_correlation")
    if stage == "scores" and table is not None and len(table):
        best = table[table["rank"] == 1].drop(columns=["rank", "sample"], errors="ignore")
        judged = best["right"].astype(str).str.strip().str.lower().map({"true": "yes", "false": "no"}).fillna("")
        yield {
            "title": "Which known cell type each archetype's weights follow most, and whether it was paired with it",
            "frame": best.assign(right=judged).fillna({"signature": ""}),
            "text": ["archetype", "cell_type", "signature", "right"],
            "open": True,
        }


def _top_features(title, loadings, n=8):
    rows = []
    for factor in loadings:
        leading = loadings[factor].dropna().sort_values(ascending=False, kind="stable").index[:n]
        rows.append({"factor": factor, "leading features": ", ".join(map(str, leading))})
    return {"title": title, "frame": pd.DataFrame(rows), "text": ["factor", "leading features"], "open": False}
