"""scoring.chosen_scores: the student's IFD terms of the rewritten answers that won the second choice."""

from assets.scoring.score_pending import scores_asset

chosen_scores = scores_asset("scoring.chosen_scores", __name__)
