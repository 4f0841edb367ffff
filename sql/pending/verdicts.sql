-- Pairs of answers that a judge has not compared yet, each in both orders; what both answered alike nobody is asked about.
-- grain: one row a (judge, instruction_id, model_1, model_2)
with answers as (
    select distinct model, generation, instruction_id, answer from evaluation.current_answers where status = 'ok'
),

shown as (
    select instruction_id, any_value(system) as system, any_value(history) as history,
        any_value(instruction) as instruction, any_value(input) as input
    from evaluation.instructions
    group by instruction_id
),

both_orders as (
    select model as model_1, opponent as model_2 from evaluation.opponents
    union
    select opponent, model from evaluation.opponents
)

select
    judges.judge,
    judges.prompt_version,
    first.generation,
    first.instruction_id,
    both_orders.model_1,
    both_orders.model_2,
    shown.system,
    shown.history,
    shown.instruction,
    shown.input,
    first.answer as answer_1,
    second.answer as answer_2
from evaluation.judges as judges
cross join both_orders
inner join answers as first on first.model = both_orders.model_1
inner join answers as second
    on second.model = both_orders.model_2
    and second.instruction_id = first.instruction_id
    and second.generation = first.generation
    and second.answer <> first.answer
inner join shown on shown.instruction_id = first.instruction_id
anti join evaluation.verdicts as verdicts
    on verdicts.judge = judges.judge
    and verdicts.prompt_version = judges.prompt_version
    and verdicts.generation = first.generation
    and verdicts.instruction_id = first.instruction_id
    and verdicts.model_1 = both_orders.model_1
    and verdicts.model_2 = both_orders.model_2
    and verdicts.status <> 'failed'
order by judges.judge, first.instruction_id, both_orders.model_1, both_orders.model_2
