"""What does a card say that neither the folder nor the repository knows: who made it, of which data, in which experiment?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from hfmirror.config.config import Config
from hfmirror.facts import hubids
from hfmirror.facts.facts import Facts


class Author(NamedTuple):
    """Who made it."""

    name: str
    email: str | None = None


class DataSet(NamedTuple):
    """What it was made of: a name on the Hub, or any words."""

    name: str
    description: str | None = None


class Link(NamedTuple):
    """Where the configuration and results of the run are, or the model that they made. ``url`` None: nowhere to be shown."""

    text: str
    url: str | None


class Additions(NamedTuple):
    """What was configured or asked for. ``sections`` is {heading, also as ``ethical_considerations``: Markdown}.

    ``links`` is {what is behind it: where}.
    """

    language: tuple[str, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()
    authors: tuple[Author, ...] = ()
    datasets: tuple[DataSet, ...] = ()
    sections: Mapping[str, str] = {}
    links: Mapping[str, Link] = {}

    def over(self, others: Additions) -> Additions:
        """Return these, and where they say nothing, ``others``."""
        return Additions(
            self.language or others.language,
            self.license or others.license,
            self.tags or others.tags,
            self.authors or others.authors,
            self.datasets or others.datasets,
            {**others.sections, **self.sections},
            {**others.links, **self.links},
        )

    @property
    def mark(self) -> str | None:
        """Sixteen hex digits that stand for all of it, None for nothing."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16] if self != NOTHING else None

    def added(self, facts: Facts) -> Facts:
        """Return ``facts`` with what stands in the front matter: the configured language and licence, tags and data sets besides."""
        named = tuple(one.name for one in self.datasets if hubids.is_id(one.name))
        return replace(
            facts,
            language=self.language or facts.language,
            license=self.license or facts.license,
            tags=tuple(dict.fromkeys([*facts.tags, *self.tags])),
            datasets=tuple(dict.fromkeys([*facts.datasets, *named])),
        )


NOTHING = Additions()


def configured(config: Config) -> Additions:
    """Return what the section ``model_card`` of the configuration adds."""
    card = config.model_card
    return Additions(
        language=tuple(card.language),
        license=card.license,
        tags=tuple(card.tags),
        authors=tuple(Author(one.name, one.email) for one in card.authors),
        datasets=tuple(DataSet(one.name, one.description) for one in card.datasets),
        sections=card.sections,
    )
