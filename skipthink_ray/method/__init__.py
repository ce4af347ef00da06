"""The method itself, in plain Python and numpy: no ray, no torch, no files."""
