"""What the stages stand on: artifacts on storage, the Ray cluster, tracking, progress."""
