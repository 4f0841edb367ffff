-- Of the pairs of words in a recipe's rewritten answers as large a share is distinct as in the originals of the same pairs, down to
-- two thirds of it: below that the teacher says much the same of everything. Of at least 20 rows.
-- asset: selection/recycled_pairs
-- severity: warn
with texts as (
    select
        rows.recipe,
        rows.output as rewritten,
        raw_pairs.output as original
    from selection.recycled_pairs as rows
    inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = rows.pair_id
    where rows.candidate in ('instruction', 'response', 'both')
),

-- Longer texts repeat more words whoever writes them: both are looked at up to the length of the shorter one.
words as (
    select
        recipe,
        string_split_regex(lower(trim(rewritten)), '\s+') as rewritten,
        string_split_regex(lower(trim(original)), '\s+') as original
    from texts
),

cut as (
    select
        recipe,
        list_slice(rewritten, 1, least(len(rewritten), len(original))) as rewritten,
        list_slice(original, 1, least(len(rewritten), len(original))) as original
    from words
),

both_texts as (
    select recipe, 'rewritten' as which, rewritten as text from cut
    union all
    select recipe, 'original' as which, original as text from cut
),

bigrams as (
    select
        recipe,
        which,
        unnest(list_transform(range(1, len(text)), place -> concat(text[place], ' ', text[place + 1]))) as bigram
    from both_texts
),

distinct_2 as (
    select
        recipe,
        count(distinct bigram) filter (where which = 'rewritten') / count(*) filter (where which = 'rewritten') as rewritten,
        count(distinct bigram) filter (where which = 'original') / count(*) filter (where which = 'original') as original
    from bigrams
    group by recipe
),

sizes as (
    select recipe, count(*) as row_count from texts group by recipe
)

select
    distinct_2.recipe,
    sizes.row_count,
    distinct_2.rewritten as distinct_2_rewritten,
    distinct_2.original as distinct_2_original
from distinct_2
inner join sizes on sizes.recipe = distinct_2.recipe
where sizes.row_count >= 20 and distinct_2.rewritten < distinct_2.original * 2 / 3
