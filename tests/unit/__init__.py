"""Tests inside one process: no server, no subprocess."""
