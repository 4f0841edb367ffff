-- The rewritten answers of a recipe are at the median at most five times as long as their originals, where these have 20 rows or more:
-- what a judge rewards in such a student may be length alone.
-- asset: selection/recycled_pairs
-- severity: warn
select
    rows.recipe,
    count(*) as rewritten_answers,
    median(length(rows.output) / length(raw_pairs.output)) as median_growth,
    arg_max(rows.pair_id, length(rows.output) / length(raw_pairs.output)) as grown_most
from selection.recycled_pairs as rows
inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = rows.pair_id
where rows.candidate in ('instruction', 'response', 'both') and length(raw_pairs.output) > 0
group by rows.recipe
having count(*) >= 20 and median(length(rows.output) / length(raw_pairs.output)) > 5
