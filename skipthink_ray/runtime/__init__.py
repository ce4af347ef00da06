"""Services that every stage uses: artifacts on storage, the Ray cluster, teachers, tracking and progress."""
