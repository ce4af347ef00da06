"""Thin entry points for `ray job submit ... -- python -m jobs.<name> --config ...`, one per stage and one for all."""
