"""Generated inputs: thousands of requests to each service."""
