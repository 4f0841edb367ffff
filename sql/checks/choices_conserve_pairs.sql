-- Every raw pair has exactly one second choice a pairing, and a choice of NULL says why.
-- asset: selection/response_choices
-- blocking: true
with pairs as (
    select count(*) as pairs from raw.raw_pairs
),

choices as (
    select teacher, student, count(*) as choices, count(distinct pair_id) as pairs_chosen, count(*) filter (where reason is null) as unexplained
    from selection.response_choices
    group by teacher, student
)

select
    pairings.teacher,
    pairings.student,
    pairs.pairs,
    coalesce(choices.choices, 0) as choices,
    coalesce(choices.unexplained, 0) as unexplained
from selection.pairings as pairings
cross join pairs
left join choices
    on choices.teacher = pairings.teacher
    and choices.student = pairings.student
where
    coalesce(choices.choices, 0) <> pairs.pairs
    or coalesce(choices.pairs_chosen, 0) <> pairs.pairs
    or coalesce(choices.unexplained, 0) > 0
