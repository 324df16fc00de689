"""What our two services have in common beyond the kit."""
