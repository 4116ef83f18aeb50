"""Reference-based deconvolution: which cell types are mixed in each spot."""

from pointillist.deconvolution.agreement import compare_methods, find_consensus
from pointillist.deconvolution.cibersort import CIBERSORT, cibersort
from pointillist.deconvolution.constrained_regression import DWLS, NNLS, SIMPLEX, WNNLS, constrained_regression
from pointillist.deconvolution.count_regression import COUNT_REGRESSION, count_regression
from pointillist.deconvolution.generalized_least_squares import GLS, generalized_least_squares
from pointillist.deconvolution.result import Deconvolution, per_cell

METHODS = {record.name: record for record in (GLS, COUNT_REGRESSION, CIBERSORT, DWLS, WNNLS, SIMPLEX, NNLS)}

__all__ = [
    "METHODS",
    "Deconvolution",
    "cibersort",
    "compare_methods",
    "constrained_regression",
    "count_regression",
    "find_consensus",
    "generalized_least_squares",
    "per_cell",
]
