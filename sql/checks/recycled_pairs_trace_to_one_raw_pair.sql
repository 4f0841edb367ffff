-- Every training row descends from exactly one raw pair, and a recipe uses a pair at most once.
-- asset: selection/recycled_pairs
-- blocking: true
select recycled.recipe, recycled.pair_id, count(*) as recycled_rows, count(raw_pairs.pair_id) as raw_rows
from selection.recycled_pairs as recycled
left join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = recycled.pair_id
group by recycled.recipe, recycled.pair_id
having count(*) <> 1 or count(raw_pairs.pair_id) <> 1
