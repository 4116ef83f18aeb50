"""All methods' records in one place, for what lists them: titles, citations, the methods text."""

from pointillist.archetypes import RECORD as ARCHETYPES
from pointillist.deconvolution import METHODS as DECONVOLUTION
from pointillist.deconvolution import SIGNATURE_METHODS
from pointillist.embedding import METHODS as EMBEDDING
from pointillist.factorization import JOINT
from pointillist.factorization import METHODS as FACTORIZATION

BASELINES = {"pca": "Principal components", "neighbour_mean_pca": "Neighbour-mean components"}

RECORDS = {
    **DECONVOLUTION,
    **SIGNATURE_METHODS,
    **FACTORIZATION,
    JOINT.name: JOINT,
    ARCHETYPES.name: ARCHETYPES,
    **EMBEDDING,
}
STEPS = {"graph": "Neighbour graph", "matching": "Matching of archetypes to signatures"}
CONSENSUS = {"consensus": "Consensus"}
TITLES = {**STEPS, **BASELINES, **CONSENSUS, **{name: record.title for name, record in RECORDS.items()}}
