"""The commands beside the pipeline: one file each."""
