"""The kit in third-party applications, with the real libraries."""
