"""Matrix factorisation: a sample as a few factors, each a usage over spots and loadings over genes.

`truncated_svd` is the best approximation there is and the yardstick of the others; `nmf` finds programmes that only
add; `joint_nmf` finds programmes that several modalities of the same spots share.
"""

from pointillist.factorization.centred_log_ratio import centred_log_ratio
from pointillist.factorization.factorization import Factorization
from pointillist.factorization.joint_nmf import JOINT_NMF as JOINT
from pointillist.factorization.joint_nmf import joint_nmf
from pointillist.factorization.metagenes import gene_scores, top_genes
from pointillist.factorization.nmf import NMF, nmf
from pointillist.factorization.svd import SVD, truncated_svd

METHODS = {record.name: record for record in (SVD, NMF)}

__all__ = [
    "JOINT",
    "METHODS",
    "Factorization",
    "centred_log_ratio",
    "gene_scores",
    "joint_nmf",
    "nmf",
    "top_genes",
    "truncated_svd",
]
