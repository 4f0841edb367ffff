-- Who is compared, and with whom: each recipe's current checkpoints and the base students, each beside its base, the recipe of
-- untouched originals, and the recipes of as many rows drawn at random and of as many longest ones, where the profile has such.
-- grain: one row a model
with checkpoints as (
    select
        current.recipe,
        current.checkpoint_id as model,
        current.student_fingerprint,
        (current.manifest ->> '$.rows')::bigint as row_count,
        (current.manifest ->> '$.target_tokens')::bigint as target_tokens,
        (current.manifest ->> '$.steps')::bigint as steps,
        recipes.policy,
        recipes.top_fraction is null and recipes.top_k is null and recipes.rows_as is null
        and recipes.ifd_below is null and recipes.r_ifd_below is null as is_whole
    from training.current_checkpoints as current
    inner join profile.recipes as recipes on recipes.recipe = current.recipe
),

recipes as (
    select distinct recipe, student_fingerprint, policy, is_whole, row_count
    from checkpoints
),

rivals as (
    -- Of several that would do, the first by name.
    select
        recipes.recipe,
        min(others.recipe) filter (where others.policy = 'original' and others.is_whole) as original,
        min(others.recipe) filter (where others.policy = 'random_rows' and others.row_count = recipes.row_count) as random_rows,
        min(others.recipe) filter (where others.policy = 'longest' and others.row_count = recipes.row_count) as longest
    from recipes
    left join recipes as others
        on others.student_fingerprint = recipes.student_fingerprint
        and others.recipe <> recipes.recipe
    group by recipes.recipe
)

select
    models.model, -- checkpoint_id, of a base student its fingerprint
    coalesce(models.recipe, models.name) as subject, -- recipe, or the base student's label
    models.kind, -- checkpoint | base
    models.training_seed, -- seed of its training, NULL of a base
    checkpoints.row_count, -- rows it was trained on, NULL of a base
    checkpoints.target_tokens, -- target tokens of these rows
    checkpoints.steps, -- optimizer steps
    bases.name as base, -- label of the base student it was made from, NULL of a base
    rivals.original, -- recipe of untouched originals of the same student
    rivals.random_rows, -- recipe of as many rows, drawn at random
    rivals.longest -- recipe of as many rows, those of the longest answers
from evaluation.models as models
left join checkpoints on checkpoints.model = models.model
left join rivals on rivals.recipe = models.recipe
left join evaluation.models as bases
    on models.kind = 'checkpoint'
    and bases.kind = 'base'
    and bases.model = models.student_fingerprint
