"""Model files -> Relax modules with their constants inside, one file a format."""
