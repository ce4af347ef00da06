"""The eight stages. Each is a function from a Context to one artifact. No stage imports another."""
