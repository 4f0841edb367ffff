"""One HTML file of what selection did. Knows nothing of Dagster or of the lake."""
