-- Held-out answers that a model has not been asked for yet.
-- grain: one row a (model, content_id)
select
    models.model,
    held_out.content_id,
    any_value(held_out.system) as system,
    any_value(held_out.history) as history,
    any_value(held_out.instruction) as instruction,
    any_value(held_out.input) as input,
    any_value(held_out.output) as output
from evaluation.models as models
cross join evaluation.held_out_rows as held_out
anti join evaluation.held_out_scores as scores
    on scores.model = models.model
    and scores.content_id = held_out.content_id
group by models.model, held_out.content_id
order by models.model, held_out.content_id
