-- No row of a training set, nor the original it comes from, holds a copy of what an evaluation file asks.
-- asset: selection/recycled_pairs
-- severity: warn
with texts as (
    select recipe, pair_id, candidate, unnest(list_distinct([content_id, pair_id])) as content_id
    from selection.recycled_pairs
)

select
    texts.recipe,
    texts.pair_id,
    texts.candidate,
    found.content_id,
    found.evaluation,
    found.file,
    found.item_row,
    found.share_covered
from texts
inner join selection.contaminated_texts as found on found.content_id = texts.content_id
