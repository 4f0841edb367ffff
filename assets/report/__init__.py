"""The last stage: what happened, to be looked at."""
