-- No text without a sound score is ever a training row.
-- asset: selection/recycled_pairs
-- blocking: true
select recycled.recipe, recycled.pair_id, recycled.candidate, scores.status, scores.reason
from selection.recycled_pairs as recycled
inner join profile.recipes as recipes on recipes.recipe = recycled.recipe
left join selection.candidate_scores as scores
    on scores.teacher = recipes.teacher
    and scores.student = recipes.student
    and scores.pair_id = recycled.pair_id
    and scores.candidate = recycled.candidate
where coalesce(scores.status, 'not_scored') <> 'ok' or recycled.ifd is null
