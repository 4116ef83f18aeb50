"""The record that each method keeps of itself, from which everything that lists methods is derived."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Method:
    """What the rest of Pointillist knows of a method.

    Config schema, stage targets, report sections, docs tables and citations are made from these records:
    a new method is one file that holds one, and one line in its stage's ``METHODS``.

    Parameters
    ----------
    name : str
        As written in the config and in file names.
    title : str
        As written in the report.
    summary : str
        One line, in the field's words.
    function : callable
        Takes arrays, returns a frozen dataclass of arrays.
    citations : tuple of str
        Keys of ``citations.bib``.
    needs : frozenset of str
        Of ``reference``, ``gene_sets``, ``coordinates``, ``modalities``: a sample without one of them skips the
        method, and the report says so.
    gives : str
        Key in the AnnData contract, such as ``nnls_proportions``.
    genes : {"markers", "discriminating", "shared"}
        Of a method that uses a reference: marker genes, genes that some type expresses above the others, or all that
        sample and reference share; see `signature.genes_for`.
    options : dict
        JSON Schema of each option, with its default and description.
    """

    name: str
    title: str
    summary: str
    function: Callable
    citations: tuple = ()
    needs: frozenset = frozenset()
    gives: str = ""
    genes: str = "markers"
    options: dict = field(default_factory=dict)

    def defaults(self):
        """Options at their default values."""
        return {name: schema["default"] for name, schema in self.options.items()}

    def takes(self, name):
        """Whether the method has a use for some context."""
        return name in inspect.signature(self.function).parameters

    def run(self, *arrays, options=None, **context):
        """Call the method with its options and what its signature takes of the context (seed, totals, graph, …)."""
        return self.function(
            *arrays, **(options or {}), **{name: context[name] for name in context if self.takes(name)}
        )
