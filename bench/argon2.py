"""Measure password verification alone, the part of a login that is expensive on purpose."""

import multiprocessing
import os
import time

from argon2 import PasswordHasher

from auth_app.settings import AuthSettings


def measure_argon2(seconds: int) -> float:
    """Return how many passwords the first core verifies per second, at the default cost."""
    with multiprocessing.get_context("spawn").Pool(1, os.sched_setaffinity, (0, {0})) as pool:
        return pool.apply(_verify, (seconds,))


def _verify(seconds: int) -> float:
    settings, count = AuthSettings(), 0
    hasher = PasswordHasher(settings.argon2_passes, settings.argon2_memory, parallelism=1)
    password_hash, started = hasher.hash("password"), time.perf_counter()
    while time.perf_counter() - started < seconds:
        hasher.verify(password_hash, "password")
        count += 1
    return count / (time.perf_counter() - started)
