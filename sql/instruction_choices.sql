-- First choice: the student keeps the instruction with the higher IFD. A tie keeps the original, a score that is NULL wins nothing.
-- materialized: table
-- grain: one row a (teacher, student, pair_id)
with pairings as (
    select * from selection.pairings
),

scored_candidates as (
    select
        pairings.teacher,
        pairings.student,
        candidates.pair_id,
        candidates.candidate,
        scores.status,
        case
            when scores.status = 'ok'
                then selection.ppl_ratio(scores.answer_nll_given_instruction, scores.answer_nll, scores.answer_tokens)
        end as ifd
    from pairings
    inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
    left join scoring.instruction_scores as scores
        on scores.student_fingerprint = pairings.scorer_fingerprint
        and scores.content_id = candidates.content_id
),

by_pair as (
    select
        teacher,
        student,
        pair_id,
        max(ifd) filter (where candidate = 'original') as ifd_original,
        max(ifd) filter (where candidate = 'instruction') as ifd_instruction,
        bool_or(candidate = 'instruction') as has_rewrite,
        bool_or(status is null) as awaits_scores
    from scored_candidates
    group by teacher, student, pair_id
),

reasoned as (
    select
        by_pair.*,
        reflections.status as reflection_status,
        case
            when reflections.status is null then 'awaiting_reflection'
            when by_pair.awaits_scores then 'awaiting_scores'
            when by_pair.ifd_original is null and by_pair.ifd_instruction is null then 'not_scored'
            when not by_pair.has_rewrite then 'no_rewrite'
            when by_pair.ifd_instruction is null then 'rewrite_not_scored'
            when by_pair.ifd_original is null then 'base_not_scored'
            when by_pair.ifd_instruction > by_pair.ifd_original then 'rewrite_wins'
            when by_pair.ifd_instruction = by_pair.ifd_original then 'tie'
            else 'rewrite_vetoed'
        end as reason
    from by_pair
    left join selection.current_instruction_reflections as reflections
        on reflections.teacher = by_pair.teacher
        and reflections.pair_id = by_pair.pair_id
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
