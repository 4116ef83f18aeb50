"""A figure of the report with what is said of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A figure with its stage, a name for its file, a title and a caption."""

    stage: str
    name: str
    title: str
    caption: str
    figure: object
