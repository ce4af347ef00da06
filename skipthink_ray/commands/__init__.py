"""Commands other than the pipeline, one file each."""
