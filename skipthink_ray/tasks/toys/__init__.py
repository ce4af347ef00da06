"""The toy generators, one file per benchmark, and what they share."""
