"""Archetypes: the extreme spots of which all others are mixtures, and which signature each of them is."""

from pointillist.archetypes.across_samples import community_profiles, match_across_samples
from pointillist.archetypes.anchors import archetype_anchors, score_signatures, signature_anchors
from pointillist.archetypes.archetypal_analysis import ArchetypalAnalysis, archetypal_analysis
from pointillist.archetypes.communities import archetypal_communities, community_size, find_markers
from pointillist.archetypes.enrichment import label_enrichment, truth_correlation
from pointillist.archetypes.granularity import archetype_tree, merge_by_radius
from pointillist.archetypes.number_of_archetypes import choose_n_archetypes
from pointillist.archetypes.signal_dimension import signal_dimension
from pointillist.archetypes.signatures import match_signatures, matching_table, refine_signatures
from pointillist.archetypes.stability import archetype_names, bootstrap_stability
from pointillist.archetypes.stable_marriage import blocking_pairs, stable_marriage
from pointillist.record import Method


def _option(default, description, **schema):
    return {"default": default, "description": description, **schema}


RECORD = Method(
    name="archetypes",
    title="Archetypal analysis",
    summary="Principal convex hull analysis of the components, with communities, markers and matching to signatures",
    function=archetypal_analysis,
    citations=("cutler1994", "morup2012", "he2024", "gale1962"),
    gives="archetype_weights",
    options={
        "n_archetypes": _option(
            "auto",
            "number of archetypes; auto: by the rule",
            anyOf=[{"const": "auto"}, {"type": "integer", "minimum": 2}],
        ),
        "max_archetypes": _option(20, "largest number tried by auto", type="integer", minimum=3),
        "rule": _option(
            "dimension",
            "where auto stops: one more than the dimensions above chance, the curve's elbow, or before a small gain",
            enum=["dimension", "elbow", "gain"],
        ),
        "gain": _option(1e-3, "explained variance that another archetype must add, for the rule gain", type="number"),
        "n_starts": _option(5, "starts, of which the best is kept", type="integer", minimum=1),
        "max_iter": _option(500, "most iterations of a start", type="integer", minimum=1),
        "community_size": _option(
            100, "spots nearest to an archetype; fewer in small samples", type="integer", minimum=5
        ),
        "granularity": _option("tree", "how near archetypes are merged", enum=["tree", "radius"]),
        "level": _option(
            0.0, "height of the tree at which archetypes are merged; 0 keeps all", type="number", minimum=0, maximum=1
        ),
        "radius": _option(100, "for the rule radius: neighbours within which archetypes are merged", type="integer"),
        "n_markers": _option(50, "most markers of a community", type="integer", minimum=5),
        "n_anchors": _option(60, "anchor spots of an archetype or signature", type="integer", minimum=3),
        "min_score": _option(0.5, "least mean score of a pair, in standard deviations over spots", type="number"),
        "max_q": _option(0.05, "largest q-value of a pair's enrichment", type="number", exclusiveMinimum=0, maximum=1),
        "preference": _option(
            "two_sided", "score against enrichment, or shared anchors (Starfysh)", enum=["two_sided", "overlap"]
        ),
        "n_added": _option(10, "markers that a paired archetype lends its signature", type="integer", minimum=0),
        "n_rounds": _option(5, "most rounds of refinement", type="integer", minimum=0),
        "n_bootstraps": _option(
            20,
            "draws of spots behind the stability of each archetype; 0: none",
            anyOf=[{"const": 0}, {"type": "integer", "minimum": 2}],
        ),
        "min_similarity": _option(
            0.4, "least correlation of two archetypes paired across samples", type="number", minimum=-1, maximum=1
        ),
    },
)

__all__ = [
    "RECORD",
    "ArchetypalAnalysis",
    "archetypal_analysis",
    "archetypal_communities",
    "archetype_anchors",
    "archetype_names",
    "archetype_tree",
    "blocking_pairs",
    "bootstrap_stability",
    "choose_n_archetypes",
    "community_profiles",
    "community_size",
    "find_markers",
    "label_enrichment",
    "match_across_samples",
    "match_signatures",
    "matching_table",
    "merge_by_radius",
    "refine_signatures",
    "score_signatures",
    "signal_dimension",
    "signature_anchors",
    "stable_marriage",
    "truth_correlation",
]
