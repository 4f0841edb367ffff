"""scoring.instruction_scores: the student's IFD terms of the first phase's texts."""

from assets.scoring.score_pending import scores_asset

instruction_scores = scores_asset("scoring.instruction_scores", __name__)
