"""Keep documents from files and from the network current; knows neither tokens nor Flask."""
