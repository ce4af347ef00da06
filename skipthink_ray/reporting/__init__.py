"""From the artifacts of a run to its report: the numbers, the page, the table for the terminal. No ray, no torch."""
