"""A task of lm-evaluation-harness for a trained student.

lm_eval run --include_path skipthink_ray/lm_eval --tasks skipthink
"""
