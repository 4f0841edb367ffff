-- A recipe keeps something of every category and of every source that has ten pairs or more, unless it keeps fewer rows than these are.
-- asset: selection/recycled_pairs
-- severity: warn
with kept as (
    select recipe, pair_id from selection.recycled_pairs
),

recipes as (
    select recipe, count(*) as row_count from kept group by recipe
),

traits as (
    select pair_id, 'category' as trait, category as value from raw.raw_pairs where category is not null
    union all
    select pair_id, 'source' as trait, source as value from raw.raw_pairs
),

sizes as (
    select trait, value, count(*) as pairs from traits group by trait, value having count(*) >= 10
),

kept_of as (
    select kept.recipe, traits.trait, traits.value, count(*) as row_count
    from kept
    inner join traits on traits.pair_id = kept.pair_id
    group by kept.recipe, traits.trait, traits.value
)

select
    recipes.recipe,
    sizes.trait,
    sizes.value,
    sizes.pairs
from recipes
cross join sizes
left join kept_of
    on kept_of.recipe = recipes.recipe
    and kept_of.trait = sizes.trait
    and kept_of.value = sizes.value
where kept_of.row_count is null
    and recipes.row_count >= (select count(*) from sizes as others where others.trait = sizes.trait)
