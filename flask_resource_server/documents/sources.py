"""Interfaces that a kind of fetched document implements: the document, and the source it comes from."""

from typing import Protocol, TypeVar


class Document(Protocol):
    """A fetched document, parsed into the form that requests use."""

    @property
    def content(self) -> bytes:
        """Return the bytes to write to the copy on disk."""


D = TypeVar("D", bound=Document)


class Source(Protocol[D]):
    """Where a document comes from. `fetch` and `parse` may raise any exception if it cannot be used."""

    url: str

    def fetch(self) -> D:
        """Return the document as the issuer publishes it now."""

    def parse(self, content: bytes) -> D:
        """Return the document that was written to disk as `content`."""

    def merge(self, new: D, known: D | None) -> D:
        """Return the document to use when `new` was fetched or read and `known` is in use."""

    def refresh(self, document: D) -> float:
        """Return the maximum number of seconds between two fetches."""
