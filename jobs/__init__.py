"""Entry points for `ray job submit ... -- python -m jobs.<name> ...`: single stages and the whole run."""
