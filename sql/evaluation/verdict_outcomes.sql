-- What becomes of two answers in the eyes of a judge. Judged in both orders, a model wins that is preferred in both, or
-- in one and is equal in the other; the mirror image is a loss, everything else a tie. Identical answers are a tie that
-- nobody was asked about. Annotations from files are one verdict each, the model's answer being the second.
-- grain: one row a (judge, model, opponent, instruction_set, instruction_id)
with current_verdicts as (
    -- +1: the first answer is preferred; NULL where the verdict has no scores
    select *, sign(score_1 - score_2) as first_wins from evaluation.current_verdicts where status <> 'failed'
),

compared as (
    select
        judges.judge,
        opponents.model,
        opponents.opponent,
        instructions.instruction_set,
        instructions.instruction_id,
        answers.answer as answer,
        others.answer as other,
        answers.answer = others.answer as identical,
        one.status as status_1,
        two.status as status_2,
        one.first_wins as first_wins_1,
        two.first_wins as first_wins_2
    from evaluation.opponents as opponents
    cross join evaluation.judges as judges
    cross join evaluation.instructions as instructions
    left join evaluation.answers as answers
        on answers.model = opponents.model
        and answers.generation = instructions.generation
        and answers.instruction_id = instructions.instruction_id
    left join evaluation.answers as others
        on others.model = opponents.opponent
        and others.generation = instructions.generation
        and others.instruction_id = instructions.instruction_id
    left join current_verdicts as one
        on one.judge = judges.judge
        and one.generation = instructions.generation
        and one.instruction_id = instructions.instruction_id
        and one.model_1 = opponents.model
        and one.model_2 = opponents.opponent
    left join current_verdicts as two
        on two.judge = judges.judge
        and two.generation = instructions.generation
        and two.instruction_id = instructions.instruction_id
        and two.model_1 = opponents.opponent
        and two.model_2 = opponents.model
),

ours as (
    select
        judge,
        model,
        opponent,
        instruction_set,
        instruction_id,
        case
            when identical then 'tie'
            when 'unreadable' in (status_1, status_2) then 'unreadable'
            when status_1 is null or status_2 is null then 'unjudged'
            when first_wins_1 - first_wins_2 > 0 then 'win'
            when first_wins_1 - first_wins_2 < 0 then 'loss'
            else 'tie'
        end as outcome,
        coalesce(identical, false) as identical,
        coalesce((first_wins_1 = 1)::bigint, 0) + coalesce((first_wins_2 = 1)::bigint, 0) as first_wins,
        coalesce((first_wins_1 = -1)::bigint, 0) + coalesce((first_wins_2 = -1)::bigint, 0) as second_wins,
        length(answer) as chars,
        length(other) as opponent_chars,
        null::double as weight
    from compared
),

annotated as (
    select
        annotations.annotator as judge,
        coalesce(models.model, annotations.generator_2) as model,
        coalesce(others.model, annotations.generator_1) as opponent,
        annotations.annotation as instruction_set,
        concat('row ', annotations.source_row) as instruction_id,
        case
            when annotations.preference is null then 'unreadable'
            when annotations.preference > 1.5 then 'win'
            when annotations.preference < 1.5 then 'loss'
            else 'tie'
        end as outcome,
        false as identical,
        null::bigint as first_wins,
        null::bigint as second_wins,
        annotations.chars_2 as chars,
        annotations.chars_1 as opponent_chars,
        annotations.preference - 1 as weight
    from evaluation.annotations as annotations
    left join evaluation.models as models on models.name = annotations.generator_2
    left join evaluation.models as others on others.name = annotations.generator_1
),

together as (
    from ours
    union all by name
    from annotated
)

select
    judge, -- judge of the profile, or annotator of a file
    model, -- in evaluation.models, or a generator of a file
    opponent, -- the other
    instruction_set, -- set of instructions, or file of annotations
    instruction_id, -- instruction, or row of the file
    outcome, -- win | tie | loss | unreadable | unjudged
    identical, -- true where both answered the same
    case outcome
        when 'win' then coalesce(weight, 1.0)
        when 'tie' then coalesce(weight, 0.5)
        when 'loss' then coalesce(weight, 0.0)
    end as preference, -- 0 to 1, a tie 0.5, between them how sure the judge is; NULL where there is no outcome
    first_wins, -- verdicts that prefer the answer that was shown first, NULL where the order is unknown
    second_wins, -- verdicts that prefer the other
    chars, -- characters of the model's answer
    opponent_chars -- characters of the opponent's answer
from together
