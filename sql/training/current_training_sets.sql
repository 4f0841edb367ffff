-- The frozen rows that are just those which a recipe selects now, whenever they were frozen; a recipe of which they are not frozen has none.
-- grain: one row a recipe
-- A content_id stands for its texts, so none of them is read.
with selected as (
    select
        recipe,
        count(*) as row_count,
        sum(hash(rank, pair_id, candidate, content_id)) as hashes
    from selection.recycled_pairs
    group by recipe
),

frozen as (
    select
        recipe,
        data_version,
        count(*) as row_count,
        sum(hash(rank, pair_id, candidate, content_id)) as hashes
    from training.training_pairs
    group by recipe, data_version
)

select
    frozen.recipe, -- recipe
    frozen.data_version, -- its rows, in training.training_pairs
    frozen.row_count -- how many they are
from frozen
inner join selected
    on selected.recipe = frozen.recipe
    and selected.row_count = frozen.row_count
    and selected.hashes = frozen.hashes
