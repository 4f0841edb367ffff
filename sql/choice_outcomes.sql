-- What the student chose of a teacher's rewrites: how many pairs end with which of the four texts, or with none.
-- grain: one row a (teacher, student, outcome)
with outcomes as (
    select unnest(list_append(selection.candidate_names(), 'dropped')) as outcome
),

choices as (
    select teacher, student, coalesce(choice, 'dropped') as outcome from selection.response_choices
),

pairings as (
    select teacher, student, count(*) as pairs from choices group by teacher, student
),

counted as (
    select teacher, student, outcome, count(*) as pairs from choices group by teacher, student, outcome
)

select
    pairings.teacher, -- teacher whose rewrites competed
    pairings.student, -- student that decided
    outcomes.outcome, -- original | instruction | response | both, dropped where nothing can be chosen
    coalesce(selection.candidate_order(outcomes.outcome), 5) as place, -- order of the outcomes, from 1; dropped comes last
    coalesce(counted.pairs, 0) as pairs, -- pairs with this outcome
    coalesce(counted.pairs, 0) / pairings.pairs as share -- of the pairing's pairs, 0 to 1
from pairings
cross join outcomes
left join counted
    on counted.teacher = pairings.teacher
    and counted.student = pairings.student
    and counted.outcome = outcomes.outcome
