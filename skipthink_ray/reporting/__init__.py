"""The report of a run: numbers, findings, HTML page and terminal table. Imports neither Ray nor torch."""
