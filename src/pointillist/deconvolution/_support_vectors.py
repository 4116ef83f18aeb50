"""Linear ν-support-vector regression of many mixtures on one signature, to the optimum.

    min  ½‖w‖² + C Σ_i max(0, |r_i| − ε) + C ν n ε,     r = y − A w − b,     over w, b and ε ≥ 0

This is libsvm's scaling. The dual has one β per gene and the primal K + 2 unknowns in all, K the number of cell types.
Each gene's loss is written with a slack ξ and three inequalities, ``s₀ = ξ``, ``s₁ = ξ − r + ε``, ``s₂ = ξ + r + ε``,
all ≥ 0, with multipliers γ ≥ 0 that sum to C; β = γ₁ − γ₂. A primal-dual interior-point method (Mehrotra's predictor
and corrector) eliminates ξ and γ gene by gene, which leaves (K + 2) × (K + 2) systems ``I + Σ_i h_i a_i a_iᵀ``. All
mixtures share A, so that their systems are one matrix product: h (mixtures × genes) with the products of A's columns.

Once a mixture's gap is small, the genes on the edge of the tube are read off and the optimality conditions solved as
linear equations, which gives the optimum to rounding. It is accepted by its duality gap: the objective is strongly
convex, and weights with a gap of g are within √(2 g) of the optimum.

References
----------
Schölkopf et al. (2000), Neural Computation 12:1207. Mehrotra (1992), SIAM Journal on Optimization 2:575.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

_MAX_ITERATIONS = 80
_GAP = 5e-11  # √(2 gap) = 1e-5: ten times nearer the optimum than promised
_RESIDUAL = 1e-8  # of the dual's equations
_SMALLEST_GAP = 1e-12
_STEP = 0.995  # of the way to the boundary
_SMALLEST_SCALE = 1e-4  # of residuals, at the start
_POLISH_BELOW = 1e-4  # gap at which the edge of the tube can be read off
_TIED_BELOW = 1e-7  # gap at which it should have been: look for dependent equations
_CLOSED = 1e-6  # ε
_NOT_OUTSIDE = 1e-2  # genes: at ν = 1 the multipliers of ξ have no interior, and a tube that closes earlier is sought
_PULL = 1e-9
_RIDGE = 10.0  # in units of the rounding
_MAX_SINGLE = 8  # iterations in single precision
_SINGLE_ABOVE = 2e-4  # gap per gene and C, far above what single precision can still tell apart
_MARGIN = 1e-5  # of slacks, when single precision is left
_ELEMENTS = 49152  # of a batch's mixtures × genes: about 20 such arrays have to stay in the cache


@dataclass(frozen=True)
class SupportVectors:
    """Optima of several mixtures.

    Attributes
    ----------
    weights : ndarray, mixtures × cell types
    intercept, tube : ndarray, mixtures
        b and ε.
    dual : ndarray, mixtures × genes
        β, in [−C, C]: the weights are ``Aᵀ β``.
    gap : ndarray, mixtures
        Primal minus dual objective.
    """

    weights: np.ndarray
    intercept: np.ndarray
    tube: np.ndarray
    dual: np.ndarray
    gap: np.ndarray


class NuRegression:
    """Linear ν-support-vector regression on one design.

    Parameters
    ----------
    A : ndarray, genes × cell types
        Standardised: its values are of order 1, as are those of the mixtures.
    C : float
        Weight of the loss.
    """

    def __init__(self, A, C=1.0):
        self.A, self.C = np.ascontiguousarray(A, dtype=float), float(C)
        self.n_genes, self.n_types = self.A.shape
        self.design = np.column_stack([self.A, np.ones(self.n_genes)])
        rows, columns = np.triu_indices(self.n_types + 1)
        self.products = self.design[:, rows] * self.design[:, columns]
        self.single = self.design.astype(np.float32), self.products.astype(np.float32)
        self.unpack = np.empty((self.n_types + 1, self.n_types + 1), dtype=int)
        self.unpack[rows, columns] = self.unpack[columns, rows] = np.arange(len(rows))
        gram = self.design.T @ self.design + np.diag([1.0] * self.n_types + [0.0])
        self.least_squares = np.linalg.solve(gram, self.design.T)

    @property
    def batch(self):
        """Number of mixtures (times ν) that are best solved at a time."""
        return max(48, _ELEMENTS // self.n_genes)

    def solve(self, Y, nu):
        """Optima of a batch of mixtures, all in memory at once.

        Parameters
        ----------
        Y : ndarray, mixtures × genes
            Standardised.
        nu : float or ndarray, mixtures

        Returns
        -------
        SupportVectors
            A mixture that did not converge is NaN, with an infinite gap.
        """
        Y = np.asarray(Y, dtype=float)
        nu = np.broadcast_to(np.asarray(nu, dtype=float), len(Y))
        n, K = len(Y), self.n_types
        out = SupportVectors(
            np.full((n, K), np.nan), *np.full((2, n), np.nan), np.full((n, self.n_genes), np.nan), np.full(n, np.inf)
        )
        left = np.arange(n)
        state = _State(self, Y, nu)
        for _ in range(_MAX_ITERATIONS):
            finished = state.finish(out, left)
            if finished.any():
                left = left[~finished]
                if not len(left):
                    break
                state.keep(~finished)
            state.step()
            state.refine()
        return out


class _State:
    """Iterates of a batch. Arrays of three planes hold what belongs to s₀, s₁ and s₂."""

    def __init__(self, problem, Y, nu):
        self.problem, self.Y = problem, Y
        self.bound = problem.C * nu * problem.n_genes  # of Σ|β|
        self.sum = np.minimum(self.bound, problem.C * (problem.n_genes - _NOT_OUTSIDE))  # of γ₁ and γ₂
        self.solution = Y @ problem.least_squares.T  # w and b
        residual = Y - self.solution @ problem.design.T
        size = np.abs(residual)
        scale = np.maximum(size.mean(axis=1, keepdims=True), _SMALLEST_SCALE)
        rank = np.clip(((1 - nu) * Y.shape[1]).astype(int), 0, Y.shape[1] - 1)
        self.tube = np.take_along_axis(np.sort(size, axis=1), rank[:, None], axis=1)
        slack = np.maximum(size - self.tube, 0) + 0.3 * scale
        self.s = np.stack([slack, slack - residual + self.tube, slack + residual + self.tube])
        # Near the central path: multipliers in inverse proportion to the slacks.
        self.g = 1 / self.s
        self.g *= problem.C / self.g.sum(axis=0)
        self.single_steps = 0
        self._set(np.float32)

    def _set(self, precision):
        self.precision = precision
        single = precision is np.float32
        self.design, self.products = self.problem.single if single else (self.problem.design, self.problem.products)
        self.s, self.g = self.s.astype(precision), self.g.astype(precision)
        shape = self.s.shape[1:]
        self.planes = [np.empty((3, *shape), precision) for _ in range(4)]
        self.flat = [np.empty(shape, precision) for _ in range(9)]

    def keep(self, kept):
        self.Y, self.bound, self.sum = self.Y[kept], self.bound[kept], self.sum[kept]
        self.solution, self.tube = self.solution[kept], self.tube[kept]
        self.s, self.g = self.s[:, kept], self.g[:, kept]
        n = len(self.Y)
        self.planes = [plane[:, :n] for plane in self.planes]
        self.flat = [flat[:n] for flat in self.flat]

    def refine(self):
        """Go on in double precision once a mixture needs it; the first iterations, far from the optimum, do not."""
        self.single_steps += 1
        far = self.gap.min() > _SINGLE_ABOVE * self.problem.C * self.problem.n_genes
        if self.precision is np.float64 or (far and self.single_steps < _MAX_SINGLE):
            return
        self._set(np.float64)
        residual = self.Y - self.solution @ self.problem.design.T
        slack = np.maximum(self.s[0], np.abs(residual) - self.tube + _MARGIN)
        self.s = np.stack([slack, slack - residual + self.tube, slack + residual + self.tube])
        self.g *= self.problem.C / self.g.sum(axis=0)

    def step(self):
        """One predictor-corrector iteration."""
        problem, s, g = self.problem, self.s, self.g
        C, n_types, n_genes = problem.C, problem.n_types, problem.n_genes
        product, e, ds, dg = self.planes
        total, inverse_e, q, p, k, m, h, dr, work = self.flat
        n = len(self.Y)

        np.multiply(g, s, out=product)
        self.gap = gap = np.einsum("jsg->s", product)
        mu = gap / (3 * n_genes)
        np.divide(g, s, out=e)
        np.add(e[1], e[2], out=p)
        np.subtract(e[1], e[2], out=q)
        np.add(e[0], p, out=total)
        np.divide(1.0, total, out=inverse_e)
        np.multiply(e[0], inverse_e, out=work)
        np.multiply(q, work, out=k)
        np.multiply(p, work, out=m)
        # h = p − q²/E, without the cancellation.
        np.multiply(e[1], inverse_e, out=h)
        h *= e[2]
        h *= 4.0
        h += m
        q *= inverse_e
        p *= inverse_e

        system = np.empty((n, n_types + 2, n_types + 2), self.precision)
        system[:, :-1, :-1] = np.take(h @ self.products, problem.unpack, axis=1)
        system[:, -1, :-1] = system[:, :-1, -1] = k @ self.design
        system[:, -1, -1] = m.sum(axis=1)
        diagonal = np.arange(n_types)
        system[:, diagonal, diagonal] += 1.0

        def direction(right, right_tube, T):
            """Solve for the unknowns; `ds` is filled with the steps of the slacks."""
            rhs = np.empty((n, n_types + 2, 1), self.precision)
            rhs[:, :-1, 0] = right
            rhs[:, :n_types, 0] -= self.solution[:, :n_types]
            rhs[:, -1, 0] = right_tube - self.sum
            d = _solve(system, rhs)[:, :, 0]
            dtube = d[:, -1:]
            np.matmul(d[:, :-1], -self.design.T, out=dr)
            np.multiply(q, dr, out=ds[0])
            np.multiply(p, dtube, out=work)
            ds[0] -= work
            np.multiply(inverse_e, T, out=work)
            ds[0] -= work
            np.add(ds[0], dtube, out=work)
            np.subtract(work, dr, out=ds[1])
            np.add(work, dr, out=ds[2])
            return d

        direction(C * (q @ self.design), C * p.sum(axis=1), C)
        # Of the predictor, dγ/γ = −1 − ds/s, so that ds/s gives both step lengths and the products of both steps.
        ds /= s
        steepest = np.maximum(-ds.min(axis=(0, 2)), 1 + ds.max(axis=(0, 2)))
        length = 1 / np.maximum(1, steepest)
        np.add(ds, 1.0, out=dg)
        dg *= ds
        reached = (1 - length) * gap - length**2 * np.einsum("jsg,jsg->s", product, dg)
        # Slacks below the rounding of the residuals they are differences of would be noise.
        target = np.maximum(np.maximum(reached / gap, 0) ** 3 * mu, _SMALLEST_GAP / (3 * n_genes))[:, None]
        target = target.astype(self.precision)
        dg *= g
        np.divide(target, s, out=ds)
        dg += ds
        np.add(dg[1], dg[2], out=h)
        np.subtract(C - dg[0], h, out=m)
        np.multiply(p, m, out=work)
        h += work
        right_tube = h.sum(axis=1)
        np.subtract(dg[1], dg[2], out=h)
        np.multiply(q, m, out=work)
        h += work
        d = direction(h @ self.design, right_tube, m)
        dg -= g
        e *= ds
        dg -= e
        np.divide(ds, s, out=product)
        primal = (_STEP / np.maximum(-product.min(axis=(0, 2)), _STEP))[:, None]
        np.divide(dg, g, out=product)
        dual = (_STEP / np.maximum(-product.min(axis=(0, 2)), _STEP))[:, None]
        ds *= primal
        s += ds
        dg *= dual
        g += dg
        self.solution += primal * d[:, :-1]
        self.tube += primal * d[:, -1:]

    def finish(self, out, left):
        """Write what is at its optimum to rows `left` of `out`; returns which of the batch's mixtures those are."""
        gap = np.einsum("jsg,jsg->s", self.g, self.s)
        near = np.flatnonzero(gap < _POLISH_BELOW)
        finished = np.zeros(len(left), dtype=bool)
        if self.precision is np.float32 or not len(near):
            return finished
        for candidate in (self._polished(near, gap[near] < _TIED_BELOW), self._iterate(near)):
            solution, tube, dual = candidate
            gap, residual = self._certificate(near, solution, tube, dual)
            good = (gap <= _GAP) & (residual <= _RESIDUAL) & ~finished[near]
            rows = left[near[good]]
            out.weights[rows], out.intercept[rows] = solution[good, :-1], solution[good, -1]
            out.tube[rows], out.dual[rows], out.gap[rows] = tube[good], dual[good], gap[good]
            finished[near[good]] = True
            if finished[near].all():
                break
        return finished

    def _iterate(self, rows):
        return self.solution[rows], self.tube[rows, 0], self.g[1, rows] - self.g[2, rows]

    def _polished(self, rows, tied):
        """Optimum given which genes are on the edge of the tube (both ξ = 0 and |r| = ε), outside and inside of it."""
        problem = self.problem
        C, K = problem.C, problem.n_types
        s, g = self.s[:, rows], self.g[:, rows]
        nearest = np.where(s[1] < s[2], 1, 2)
        sign = np.where(nearest == 1, 1.0, -1.0)
        slack = np.minimum(s[1], s[2])
        multiplier = np.where(nearest == 1, g[1], g[2])
        outside = slack * C < multiplier
        inside = s[0] * C < g[0]
        edge = outside & inside
        closed = self.tube[rows, 0] < _CLOSED
        dual = np.where(outside & ~edge, sign * C, 0.0)
        for row in np.flatnonzero(tied | (edge.sum(axis=1) > K + 2)):
            genes = np.flatnonzero(edge[row])
            if not len(genes):
                continue
            some = genes[self._independent(genes, np.where(closed[row], 0.0, sign[row, genes]), g[:, row, genes])]
            dual[row, genes] = g[1, row, genes] - g[2, row, genes]
            edge[row] = False
            edge[row, some] = True
            dual[row, some] = 0.0
        size = edge.sum(axis=1)
        width = max(size.max(), 1)
        real = np.arange(width) < size[:, None]  # the rest is padding
        order = np.zeros((len(rows), width), dtype=int)
        order[real] = np.nonzero(edge)[1]
        columns = np.empty((len(rows), K + 2, width))
        columns[:, : K + 1] = problem.design[order].transpose(0, 2, 1)
        columns[:, K + 1] = np.take_along_axis(sign, order, axis=1)
        columns *= real[:, None]
        columns[closed, K + 1] = 0.0
        system = np.zeros((len(rows), K + 2 + width, K + 2 + width))
        system[:, : K + 2, K + 2 :] = -columns
        system[:, K + 2 :, : K + 2] = columns.transpose(0, 2, 1)
        diagonal = np.arange(K + 2 + width)
        # Too small to be seen, and keeps the equations of equal genes solvable.
        system[:, diagonal, diagonal] = 1e-14
        system[:, diagonal[:K], diagonal[:K]] = 1.0
        # Where a whole interval of b and ε is optimal, they stay where they are.
        system[:, [K, K + 1], [K, K + 1]] = _PULL
        system[closed, K + 1, K + 1] = 1.0
        system[:, diagonal[K + 2 :], diagonal[K + 2 :]] += ~real
        rhs = np.empty((len(rows), K + 2 + width, 1))
        rhs[:, : K + 1, 0] = dual @ problem.design
        rhs[:, K, 0] += _PULL * self.solution[rows, K]
        rhs[:, K + 1, 0] = np.abs(dual).sum(axis=1) - self.bound[rows] + _PULL * self.tube[rows, 0]
        rhs[closed, K + 1, 0] = 0.0
        rhs[:, K + 2 :, 0] = np.where(real, np.take_along_axis(self.Y[rows], order, axis=1), 0.0)
        try:
            found = np.linalg.solve(system, rhs)[:, :, 0]
        except np.linalg.LinAlgError:  # tied genes, not yet known as such
            return self._iterate(rows)
        dual[edge] = np.clip(found[:, K + 2 :], -C, C)[real]
        return found[:, : K + 1], found[:, K + 1], dual

    def _independent(self, genes, sign, multipliers):
        """Of tied genes, as many as the unknowns, whose β are free to change: the others keep theirs."""
        equations = np.column_stack([self.problem.design[genes], sign]) * np.sort(multipliers, axis=0)[1][:, None]
        triangle, order = qr(equations.T, mode="r", pivoting=True, check_finite=False)
        size = np.abs(np.diagonal(triangle))
        return order[: max(1, (size > 1e-10 * size[0]).sum())]

    def _certificate(self, rows, solution, tube, dual):
        """Duality gap, and by how much the dual's equations are missed."""
        problem = self.problem
        residual = self.Y[rows] - solution @ problem.design.T
        loss = np.maximum(np.abs(residual) - tube[:, None], 0) * problem.C
        used = np.abs(dual)
        gap = (loss - dual * residual + used * tube[:, None]).sum(axis=1)
        sums = dual @ problem.design
        sums[:, :-1] -= solution[:, :-1]
        missed = used.sum(axis=1) - self.bound[rows]
        missed = np.where(tube > 0, np.abs(missed), np.maximum(missed, 0))  # a closed tube leaves some unused
        worst = np.maximum(np.abs(sums).max(axis=1), missed)
        return np.where(tube >= -1e-12, np.maximum(gap, 0), np.inf), worst


def _solve(system, rhs):
    """Solve many systems at once; where tied genes leave one that is singular to rounding, with a ridge."""
    try:
        return np.linalg.solve(system, rhs)
    except np.linalg.LinAlgError:
        diagonal = np.einsum("sii->si", system)
        diagonal += _RIDGE * np.finfo(system.dtype).eps * diagonal.max(axis=1, keepdims=True)
        return np.linalg.solve(system, rhs)
