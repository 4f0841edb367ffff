-- No opening of four words begins a fifth of a recipe's rewritten answers, and at least five: the teacher's manner, which a student learns first.
-- asset: selection/recycled_pairs
-- severity: warn
with openings as (
    select
        recipe,
        array_to_string(string_split_regex(lower(trim(output)), '\s+')[:4], ' ') as opening
    from selection.recycled_pairs
    where candidate <> 'original'
),

counted as (
    select
        recipe,
        opening,
        count(*) as answers,
        sum(count(*)) over (partition by recipe) as rewritten_answers
    from openings
    group by recipe, opening
)

select
    recipe,
    opening,
    answers,
    answers / rewritten_answers as share
from counted
where answers >= 5 and answers >= 0.2 * rewritten_answers
