-- Instructions that a model has not answered yet as the profile says now how answers are made.
-- grain: one row a (model, instruction_id)
select
    models.model,
    instructions.generation,
    instructions.instruction_id,
    any_value(instructions.system) as system,
    any_value(instructions.history) as history,
    any_value(instructions.instruction) as instruction,
    any_value(instructions.input) as input
from evaluation.models as models
cross join evaluation.instructions as instructions
anti join evaluation.answers as answers
    on answers.model = models.model
    and answers.generation = instructions.generation
    and answers.instruction_id = instructions.instruction_id
group by models.model, instructions.generation, instructions.instruction_id
order by models.model, instructions.instruction_id
