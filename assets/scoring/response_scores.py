"""scoring.response_scores: the student's reversed-IFD terms of the second phase's texts."""

from assets.scoring.score_pending import scores_asset

response_scores = scores_asset("scoring.response_scores", __name__)
