-- Baseline: every pair as it came, in an order by a hash of the recipe's seed and the pair. A cut makes it a rival of equal size.
-- grain: one row a (seed, teacher, student, pair_id)
with recipes as (
    select distinct teacher, student, seed from profile.recipes
),

scores as (
    select teacher, student, pair_id, candidate
    from selection.candidate_scores
    where candidate = 'original' and status = 'ok'
)

select
    recipes.seed, -- recipe seed the order belongs to
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    scores.candidate, -- always original
    md5_number_upper(concat_ws(' ', 'random_rows', recipes.seed, scores.pair_id))::double as rank_by -- the hash, as a number
from recipes
inner join scores
    on scores.teacher = recipes.teacher
    and scores.student = recipes.student
