"""The task of lm-evaluation-harness for a student of ours: `lm_eval run --include_path skipthink_ray/lm_eval --tasks skipthink`."""
