"""scoring.guard_scores: the student's reversed-IFD terms of the first phase's texts, for a guarded first choice."""

from assets.scoring.score_pending import scores_asset

guard_scores = scores_asset("scoring.guard_scores", __name__)
