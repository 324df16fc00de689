"""Say what a fetched document is, and where one comes from."""

from typing import Protocol, TypeVar


class Document(Protocol):
    """A fetched document, in the form that requests use."""

    @property
    def content(self) -> bytes:
        """Return what to write to the copy on disk."""


D = TypeVar("D", bound=Document)


class Source(Protocol[D]):
    """Where a document comes from. `fetch` and `parse` raise if it cannot be used."""

    url: str

    def fetch(self) -> D:
        """Return the document as the issuer publishes it now."""

    def parse(self, content: bytes) -> D:
        """Return the document in the content of a copy on disk."""

    def merge(self, new: D, known: D | None) -> D:
        """Return the document to use after `new` was fetched or read while `known` was in use."""

    def refresh(self, document: D) -> float:
        """Return the seconds from one fetch to the next, at most."""
