-- First choice: the student keeps the instruction with the higher IFD. A tie keeps the original, a score that is NULL wins nothing.
-- With `first_choice: guarded` a rewrite that wins must also have IFD < 1 and a reversed IFD no worse than the original's.
-- materialized: table
-- grain: one row a (teacher, student, pair_id)
with settings as (
    select distinct teacher, student, first_choice from profile.recipes
),

pairs as (
    select
        pairings.teacher,
        pairings.student,
        pairings.scorer_fingerprint,
        coalesce(settings.first_choice = 'guarded', false) as is_guarded,
        raw_pairs.pair_id
    from selection.pairings as pairings
    inner join settings
        on settings.teacher = pairings.teacher
        and settings.student = pairings.student
    cross join raw.raw_pairs as raw_pairs
),

reflections as (
    select teacher, pair_id, status, case when status = 'ok' then content_id end as rewrite_id
    from selection.current_instruction_reflections
),

scores as (
    select
        student_fingerprint,
        content_id,
        status,
        case when status = 'ok' then selection.ppl_ratio(answer_nll_given_instruction, answer_nll, answer_tokens) end as ifd
    from scoring.instruction_scores
),

guard as (
    select
        student_fingerprint,
        content_id,
        status,
        case when status = 'ok' then selection.ppl_ratio(instruction_nll_given_answer, instruction_nll, instruction_tokens) end as r_ifd
    from scoring.guard_scores
),

compared as (
    select
        pairs.teacher,
        pairs.student,
        pairs.pair_id,
        pairs.is_guarded,
        reflections.status as reflection_status,
        original_scores.ifd as ifd_original,
        rewrite_scores.ifd as ifd_instruction,
        case when pairs.is_guarded then original_guard.r_ifd end as r_ifd_original,
        case when pairs.is_guarded then rewrite_guard.r_ifd end as r_ifd_instruction,
        reflections.rewrite_id is not null as has_rewrite,
        original_scores.status is null
        or (pairs.is_guarded and original_guard.status is null)
        or (
            reflections.rewrite_id is not null
            and (rewrite_scores.status is null or (pairs.is_guarded and rewrite_guard.status is null))
        ) as awaits_scores
    from pairs
    left join reflections
        on reflections.teacher = pairs.teacher
        and reflections.pair_id = pairs.pair_id
    left join scores as original_scores
        on original_scores.student_fingerprint = pairs.scorer_fingerprint
        and original_scores.content_id = pairs.pair_id
    left join scores as rewrite_scores
        on rewrite_scores.student_fingerprint = pairs.scorer_fingerprint
        and rewrite_scores.content_id = reflections.rewrite_id
    left join guard as original_guard
        on original_guard.student_fingerprint = pairs.scorer_fingerprint
        and original_guard.content_id = pairs.pair_id
    left join guard as rewrite_guard
        on rewrite_guard.student_fingerprint = pairs.scorer_fingerprint
        and rewrite_guard.content_id = reflections.rewrite_id
),

reasoned as (
    select
        *,
        case
            when reflection_status is null then 'awaiting_reflection'
            when awaits_scores then 'awaiting_scores'
            when ifd_original is null and ifd_instruction is null then 'not_scored'
            when not has_rewrite then 'no_rewrite'
            when ifd_instruction is null then 'rewrite_not_scored'
            when ifd_original is null then 'base_not_scored'
            when selection.higher_wins(ifd_instruction, ifd_original)
                then coalesce(if(is_guarded, selection.guard_objection(ifd_instruction, r_ifd_instruction, r_ifd_original), null), 'rewrite_wins')
            when ifd_instruction = ifd_original then 'tie'
            else 'rewrite_vetoed'
        end as reason
    from compared
)

select
    reasoned.teacher, -- teacher
    reasoned.student, -- student that decided
    reasoned.pair_id, -- raw pair
    case
        when reasoned.reason in ('rewrite_wins', 'base_not_scored') then 'instruction'
        when reasoned.reason in ('tie', 'rewrite_vetoed', 'rewrite_too_hard', 'rewrite_off_topic', 'guard_not_scored', 'rewrite_not_scored', 'no_rewrite')
            then 'original'
    end as choice, -- original | instruction, NULL when neither can be chosen
    reasoned.ifd_original, -- IFD of the original, NULL when not scored
    reasoned.ifd_instruction, -- IFD of the rewrite, NULL when absent or not scored
    reasoned.r_ifd_original, -- reversed IFD of the original, NULL when not guarded or not scored
    reasoned.r_ifd_instruction, -- reversed IFD of the rewrite, NULL when not guarded, absent or not scored
    reasoned.reason, -- rewrite_wins, rewrite_vetoed, tie, the guard's rewrite_too_hard or rewrite_off_topic, or why there was no comparison
    reasoned.reflection_status -- status of the teacher's reply
from reasoned
