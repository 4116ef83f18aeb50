"""The report: figures of a sample, one self-contained page, and what makes a run repeatable."""
