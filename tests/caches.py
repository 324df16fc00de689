"""Cache in each process what every application under test would compute again.

Each test has an application of its own, so that no test depends on another. Most of its cost was parsing the
same files, and compiling the same templates and statements again. Nothing modifies the shared results:
test_contract.py compares the contracts with their files. The first application of a process computes them as
in production.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy.util import LRUCache

from shared.contract import Contract


@contextmanager
def share_parsed_files() -> Iterator[None]:
    """Parse each contract once, and each private key: checking that it is one takes 40 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.contract.Contract", cache(Contract))
        load_key = lru_cache(maxsize=16)(load_pem_private_key)
        patch.setattr("auth_app.keys.signing_key.load_pem_private_key", load_key)
        yield


def share_compiled(app: Flask, engine: sa.Engine) -> None:
    """Let an application use the templates and statements that others have compiled."""
    app.jinja_env.bytecode_cache = _TEMPLATES
    engine.update_execution_options(compiled_cache=_STATEMENTS)


class _Templates(BytecodeCache):
    """Compiled templates, by their names and the digest of their sources."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._compiled.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key, bucket.checksum] = bucket.code


class _Statements(LRUCache[tuple[Any, ...], Any]):
    """Compiled statements, by the names of dialect and driver: each engine has a dialect of its own."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((key[0].name, key[0].driver, *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        super().__setitem__((key[0].name, key[0].driver, *key[1:]), value)


_TEMPLATES = _Templates()
_STATEMENTS = _Statements(500)
