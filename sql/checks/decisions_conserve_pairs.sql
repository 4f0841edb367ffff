-- In every recipe, kept + dropped with a reason = raw pairs, and every kept pair is a training row.
-- asset: selection/recycled_pairs
-- blocking: true
with pairs as (
    select count(*) as pairs from raw.raw_pairs
),

decisions as (
    select
        recipe,
        count(*) filter (where kept) as kept,
        count(*) filter (where not kept and drop_reason is not null) as dropped
    from selection.pair_decisions
    group by recipe
),

recycled as (
    select recipe, count(*) as training_rows from selection.recycled_pairs group by recipe
)

select
    recipes.recipe,
    pairs.pairs,
    coalesce(decisions.kept, 0) as kept,
    coalesce(decisions.dropped, 0) as dropped,
    coalesce(recycled.training_rows, 0) as training_rows
from profile.recipes as recipes
cross join pairs
left join decisions on decisions.recipe = recipes.recipe
left join recycled on recycled.recipe = recipes.recipe
where
    coalesce(decisions.kept, 0) + coalesce(decisions.dropped, 0) <> pairs.pairs
    or coalesce(decisions.kept, 0) <> coalesce(recycled.training_rows, 0)
