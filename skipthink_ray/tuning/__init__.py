"""Sweeps: a search space becomes trials (space, plan), Ray Tune runs them (search, trial), dev chooses."""
