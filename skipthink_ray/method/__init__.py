"""The method in plain Python and numpy, without ray, torch or file access."""
