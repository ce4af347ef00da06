"""The eight stages: each a function from a Context (config, input artifacts) to one artifact. No stage imports another."""
