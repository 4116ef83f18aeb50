"""Reference-based deconvolution: which cell types are mixed in each spot."""

from pointillist.deconvolution.agreement import compare_methods
from pointillist.deconvolution.cibersort import CIBERSORT, cibersort
from pointillist.deconvolution.constrained_regression import NNLS, SIMPLEX, constrained_regression
from pointillist.deconvolution.result import Deconvolution

METHODS = {record.name: record for record in (NNLS, SIMPLEX, CIBERSORT)}

__all__ = ["METHODS", "Deconvolution", "cibersort", "compare_methods", "constrained_regression"]
