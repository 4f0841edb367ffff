-- Of 20 rewrites or more that a student compares in a phase it refuses some and takes some, at least one in fifty: else its statistics decide nothing.
-- asset: selection/response_choices
-- severity: warn
with compared as (
    select teacher, student, 'instruction' as phase, reason from selection.instruction_choices
    union all
    select teacher, student, 'response' as phase, reason from selection.response_choices
),

shares as (
    select
        teacher,
        student,
        phase,
        count(*) as rewrites,
        count(*) filter (where reason = 'rewrite_wins') / count(*) as taken_share
    from compared
    where reason in ('rewrite_wins', 'rewrite_vetoed', 'rewrite_too_hard', 'rewrite_off_topic', 'tie')
    group by teacher, student, phase
)

select
    teacher,
    student,
    phase,
    rewrites,
    taken_share
from shares
where rewrites >= 20 and taken_share not between 0.02 and 0.98
