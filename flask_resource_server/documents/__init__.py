"""Keep documents from files and URLs up to date. Knows neither tokens nor Flask."""
