-- Selective Reflection-Tuning as written (arXiv 2402.10110): higher IFD, then lower reversed IFD; a pair whose answer was not reflected is dropped.
-- grain: one row a (teacher, student, pair_id)
with choices as (
    select teacher, student, pair_id, choice
    from selection.response_choices
    where choice in ('response', 'both')
)

select
    choices.teacher, -- teacher
    choices.student, -- student
    choices.pair_id, -- raw pair
    choices.choice as candidate -- response | both
from choices
