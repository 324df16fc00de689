"""Code that both services share, on top of the kit."""
