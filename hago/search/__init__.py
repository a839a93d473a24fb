"""search: which precision each group of edges gets, decided by what was measured."""
