"""The kit in other people's applications, with the real libraries."""
