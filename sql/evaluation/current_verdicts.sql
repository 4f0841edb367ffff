-- The verdicts of the judges, models and instructions that the profile names now, on answers as it says now how they are made; one that came
-- after all hides the failures before it.
-- grain: one row a (judge, instruction_id, model_1, model_2)
select
    verdicts.judge, -- judge of the profile
    verdicts.prompt_version, -- of its prompt
    verdicts.generation, -- hash of how the answers were made
    verdicts.instruction_id, -- instruction that both answered
    verdicts.model_1, -- model whose answer was shown first
    verdicts.model_2, -- model whose answer was shown second
    verdicts.request_id, -- request in the teacher's ledger
    verdicts.reply, -- what the judge said
    verdicts.score_1, -- score of the first answer, NULL unless ok
    verdicts.score_2, -- score of the second answer, NULL unless ok
    verdicts.status, -- ok, or why there are no scores
    verdicts.reason, -- why there are no scores, NULL when ok
    verdicts.prompt_tokens, -- tokens of the request, NULL where the server tells none
    verdicts.completion_tokens, -- tokens of the reply, NULL where the server tells none
    verdicts.cost_usd -- NULL where the price is unknown
from evaluation.verdicts as verdicts
semi join evaluation.judges as judges
    on judges.judge = verdicts.judge
    and judges.prompt_version = verdicts.prompt_version
semi join evaluation.instructions as instructions
    on instructions.generation = verdicts.generation
    and instructions.instruction_id = verdicts.instruction_id
semi join evaluation.opponents as opponents
    on (opponents.model = verdicts.model_1 and opponents.opponent = verdicts.model_2)
    or (opponents.model = verdicts.model_2 and opponents.opponent = verdicts.model_1)
qualify row_number() over (
    partition by verdicts.judge, verdicts.instruction_id, verdicts.model_1, verdicts.model_2
    order by verdicts.status = 'failed', verdicts.rowid desc
) = 1
