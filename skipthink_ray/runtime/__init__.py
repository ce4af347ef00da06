"""Services that every stage uses: artifacts on storage, the Ray cluster, actor pools, tracking, progress."""
