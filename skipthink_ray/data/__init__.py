"""Input files and data sets to clean rows: columns, splits, golds, duplicates, leaked questions."""
