-- Second choice: of the chosen base and its twin with the reflected answer, the student keeps the one with the lower reversed IFD.
-- A tie keeps the base, a score that is NULL wins nothing.
-- materialized: table
-- grain: one row a (teacher, student, pair_id)
with first_choices as (
    select
        teacher,
        student,
        pair_id,
        choice as base,
        selection.twin_of_base(choice) as twin,
        reason as first_reason
    from selection.instruction_choices
),

scores as (
    select
        teacher,
        student,
        pair_id,
        candidate,
        content_id,
        status,
        case when status = 'ok' then ifd end as ifd,
        case when status = 'ok' then r_ifd end as r_ifd
    from selection.candidate_scores
),

compared as (
    select
        first_choices.teacher,
        first_choices.student,
        first_choices.pair_id,
        first_choices.base,
        first_choices.twin,
        first_choices.first_reason,
        reflections.status as reflection_status,
        base_scores.r_ifd as r_ifd_base,
        twin_scores.r_ifd as r_ifd_reflected,
        base_scores.ifd as ifd_base,
        twin_scores.ifd as ifd_reflected,
        twin_scores.candidate is not null as has_rewrite,
        (base_scores.status = 'ok' and base_scores.r_ifd is null)
        or coalesce(twin_scores.status = 'not_scored', false)
        -- A rewrite that wins is a training row, and those have an IFD: it is not chosen before that is known.
        or (twin_scores.status = 'ok' and twin_scores.ifd is null and selection.lower_wins(twin_scores.r_ifd, base_scores.r_ifd)) as awaits_scores
    from first_choices
    left join scores as base_scores
        on base_scores.teacher = first_choices.teacher
        and base_scores.student = first_choices.student
        and base_scores.pair_id = first_choices.pair_id
        and base_scores.candidate = first_choices.base
    left join selection.current_response_reflections as reflections
        on reflections.teacher = first_choices.teacher
        and reflections.pair_id = first_choices.pair_id
        and reflections.base = first_choices.base
        and reflections.base_content_id = base_scores.content_id
    left join scores as twin_scores
        on twin_scores.teacher = first_choices.teacher
        and twin_scores.student = first_choices.student
        and twin_scores.pair_id = first_choices.pair_id
        and twin_scores.candidate = first_choices.twin
),

reasoned as (
    select
        *,
        case
            when base is null then first_reason
            when reflection_status is null then 'awaiting_reflection'
            when awaits_scores then 'awaiting_scores'
            when r_ifd_base is null and r_ifd_reflected is null then 'not_scored'
            when not has_rewrite then 'no_rewrite'
            when r_ifd_reflected is null then 'rewrite_not_scored'
            when r_ifd_base is null then 'base_not_scored'
            when selection.lower_wins(r_ifd_reflected, r_ifd_base) then 'rewrite_wins'
            when r_ifd_reflected = r_ifd_base then 'tie'
            else 'rewrite_vetoed'
        end as reason
    from compared
),

chosen as (
    select
        *,
        case
            when reason in ('rewrite_wins', 'base_not_scored') then twin
            when reason in ('tie', 'rewrite_vetoed', 'rewrite_not_scored', 'no_rewrite') then base
        end as choice
    from reasoned
)

select
    chosen.teacher, -- teacher
    chosen.student, -- student that decided
    chosen.pair_id, -- raw pair
    chosen.choice, -- original | instruction | response | both, NULL when nothing can be chosen
    chosen.r_ifd_base, -- reversed IFD of the chosen base, NULL when not scored
    chosen.r_ifd_reflected, -- reversed IFD of its twin, NULL when absent or not scored
    case when chosen.choice = chosen.twin then chosen.ifd_reflected when chosen.choice = chosen.base then chosen.ifd_base end as ifd, -- IFD of what was chosen
    chosen.reason, -- rewrite_wins, rewrite_vetoed, tie, or why there was no comparison
    chosen.reflection_status -- status of the teacher's reply
from chosen
