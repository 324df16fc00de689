"""Keep documents from files and URLs up to date. This layer knows neither tokens nor Flask."""
