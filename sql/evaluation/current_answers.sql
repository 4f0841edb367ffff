-- The answers of the evaluated models to the instructions of the profile, as it says now how they are made.
-- grain: one row a (model, instruction_set, instruction_id)
select
    answers.model, -- checkpoint or base student, in evaluation.models
    instructions.instruction_set, -- name in the profile
    instructions.instruction_id, -- hash of the instruction's texts
    models.name, -- what the model is called
    instructions.category, -- category of the instruction, NULL when absent
    instructions.instruction, -- instruction
    instructions.input, -- optional input, empty when absent
    answers.answer, -- as it was written, NULL unless ok
    answers.finish_reason, -- stop: the model ended its turn; length: it was cut at its limit
    answers.tokens, -- tokens of the answer
    answers.seconds, -- of its batch, divided by the answers in it
    answers.status, -- ok, or why there is no answer
    answers.reason, -- why there is no answer, NULL when ok
    answers.generation -- hash of how it was made
from evaluation.answers as answers
inner join evaluation.models as models on models.model = answers.model
inner join evaluation.instructions as instructions
    on instructions.instruction_id = answers.instruction_id
    and instructions.generation = answers.generation
