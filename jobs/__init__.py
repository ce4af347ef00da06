"""Entry points for `ray job submit ... -- python -m jobs.<name> ...`: one per command that uses a cluster."""
