-- Ablation: one of the pair's scored texts at random, by a hash of the recipe's seed, the pair and the candidate: the same seed chooses the same rows everywhere.
-- response_reflection: all
-- grain: one row a (seed, teacher, student, pair_id)
with recipes as (
    select distinct teacher, student, seed from profile.recipes
),

scores as (
    select teacher, student, pair_id, candidate
    from selection.candidate_scores
    where status = 'ok'
)

select
    recipes.seed, -- recipe seed the choice belongs to
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    first(
        scores.candidate
        order by md5(concat_ws(' ', 'random_choice', recipes.seed, scores.pair_id, scores.candidate)), scores.candidate
    ) as candidate -- original | instruction | response | both
from recipes
inner join scores
    on scores.teacher = recipes.teacher
    and scores.student = recipes.student
group by recipes.seed, scores.teacher, scores.student, scores.pair_id
