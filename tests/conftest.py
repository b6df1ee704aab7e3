"""Settings of the whole suite: property tests draw the same cases on every run and have no deadline."""

from __future__ import annotations

from hypothesis import settings

# No deadline, because no test measures time; derandomized, so that a failure is there on the next run as well.
settings.register_profile("throughtime", deadline=None, derandomize=True, database=None)
settings.load_profile("throughtime")
