-- First choice: the student keeps the instruction with the higher IFD. A tie keeps the original, a score that is NULL wins nothing.
-- materialized: table
-- grain: one row a (teacher, student, pair_id)
with pairs as (
    select
        pairings.teacher,
        pairings.student,
        pairings.scorer_fingerprint,
        raw_pairs.pair_id
    from selection.pairings as pairings
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

compared as (
    select
        pairs.teacher,
        pairs.student,
        pairs.pair_id,
        reflections.status as reflection_status,
        original_scores.ifd as ifd_original,
        rewrite_scores.ifd as ifd_instruction,
        reflections.rewrite_id is not null as has_rewrite,
        original_scores.status is null or (reflections.rewrite_id is not null and rewrite_scores.status is null) as awaits_scores
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
            when selection.higher_wins(ifd_instruction, ifd_original) then 'rewrite_wins'
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
        when reasoned.reason in ('tie', 'rewrite_vetoed', 'rewrite_not_scored', 'no_rewrite') then 'original'
    end as choice, -- original | instruction, NULL when neither can be chosen
    reasoned.ifd_original, -- IFD of the original, NULL when not scored
    reasoned.ifd_instruction, -- IFD of the rewrite, NULL when absent or not scored
    reasoned.reason, -- rewrite_wins, rewrite_vetoed, tie, or why there was no comparison
    reasoned.reflection_status -- status of the teacher's reply
from reasoned
