"""Reference-based deconvolution: which cell types are mixed in each spot."""

from pointillist.deconvolution.agreement import compare_methods, find_consensus
from pointillist.deconvolution.cibersort import CIBERSORT, cibersort
from pointillist.deconvolution.constrained_regression import DWLS, NNLS, SIMPLEX, WNNLS, constrained_regression
from pointillist.deconvolution.count_regression import COUNT_REGRESSION, count_regression
from pointillist.deconvolution.generalized_least_squares import GLS, generalized_least_squares
from pointillist.deconvolution.result import Deconvolution, per_cell
from pointillist.deconvolution.signature_vae import SIGNATURE_VAE, signature_vae, usable_gene_sets

METHODS = {record.name: record for record in (COUNT_REGRESSION, GLS, CIBERSORT, DWLS, WNNLS, SIMPLEX, NNLS)}
# Of gene sets instead of a reference: other arguments, and columns that need not be the cell types of METHODS.
SIGNATURE_METHODS = {SIGNATURE_VAE.name: SIGNATURE_VAE}

__all__ = [
    "METHODS",
    "SIGNATURE_METHODS",
    "Deconvolution",
    "cibersort",
    "compare_methods",
    "constrained_regression",
    "count_regression",
    "find_consensus",
    "generalized_least_squares",
    "per_cell",
    "signature_vae",
    "usable_gene_sets",
]
