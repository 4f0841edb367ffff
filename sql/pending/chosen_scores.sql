-- Rewritten answers whose IFD terms are wanted and unknown: those that beat their base, with `response_reflection: all` every one.
-- grain: one row a (student_fingerprint, content_id)
with settings as (
    select distinct teacher, student, response_reflection from profile.recipes
),

-- Of few rows, mostly: so texts are read of few.
unscored as not materialized (
    select
        candidates.*,
        pairings.scorer_fingerprint as student_fingerprint
    from selection.response_candidates as candidates
    inner join selection.pairings as pairings
        on pairings.teacher = candidates.teacher
        and pairings.student = candidates.student
    anti join scoring.instruction_scores as first_phase
        on first_phase.student_fingerprint = pairings.scorer_fingerprint
        and first_phase.content_id = candidates.content_id
    anti join scoring.chosen_scores as chosen
        on chosen.student_fingerprint = pairings.scorer_fingerprint
        and chosen.content_id = candidates.content_id
    where selection.base_of_twin(candidates.candidate) is not null
),

scores as not materialized (
    select
        student_fingerprint,
        content_id,
        case when status = 'ok' then selection.ppl_ratio(instruction_nll_given_answer, instruction_nll, instruction_tokens) end as r_ifd
    from selection.instruction_terms
),

contests as (
    select
        twins.student_fingerprint,
        twins.content_id,
        twins.pair_id,
        twins.candidate,
        twins.system,
        twins.history,
        twins.instruction,
        twins.input,
        twins.output
    from unscored as twins
    inner join settings
        on settings.teacher = twins.teacher
        and settings.student = twins.student
    inner join scores as twin_scores
        on twin_scores.student_fingerprint = twins.student_fingerprint
        and twin_scores.content_id = twins.content_id
    left join selection.response_candidates as bases
        on bases.teacher = twins.teacher
        and bases.student = twins.student
        and bases.pair_id = twins.pair_id
        and bases.candidate = selection.base_of_twin(twins.candidate)
    left join scores as base_scores
        on base_scores.student_fingerprint = twins.student_fingerprint
        and base_scores.content_id = bases.content_id
    where settings.response_reflection = 'all' or selection.lower_wins(twin_scores.r_ifd, base_scores.r_ifd)
)

select
    contests.student_fingerprint,
    contests.content_id,
    contests.system,
    contests.history,
    contests.instruction,
    contests.input,
    contests.output,
    true as answer_terms,
    false as instruction_terms
from contests
-- A window and no aggregate, as in instruction_scores.sql.
qualify row_number() over (partition by contests.student_fingerprint, contests.content_id order by contests.pair_id, contests.candidate) = 1
order by contests.student_fingerprint, contests.content_id
