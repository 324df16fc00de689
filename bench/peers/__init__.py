"""The peers: the same protected view, or the same grants, written with other libraries."""
