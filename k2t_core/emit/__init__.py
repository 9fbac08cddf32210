"""Plan → the four files of a conversion."""
