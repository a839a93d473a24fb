"""How fast hago's artifacts are beside what users can have today: ``python -m tests.bench``."""
