-- What every current model gave on each row of everything that is measured: a metric is the sum of its values over the sum of their
-- weights, so that intervals come from drawing rows anew. NULL where a model has no value for a row.
-- grain: one row a (metric, model, item)
with losses as (
    select
        concat('loss on ', held_out) as metric,
        model,
        content_id as item,
        nll as value,
        tokens::double as weight,
        false as higher_is_better
    from evaluation.held_out_losses
),

benchmarks as (
    select
        concat(tasks.task, ' ', items.metric, if(items.filter = 'none', '', concat('/', items.filter))) as metric,
        items.model,
        items.item::varchar as item,
        items.value,
        1.0::double as weight,
        coalesce(runs.higher_is_better, true) as higher_is_better
    from evaluation.benchmark_items as items
    inner join evaluation.benchmark_tasks as tasks on tasks.benchmark_id = items.benchmark_id
    inner join evaluation.models as models on models.model = items.model
    inner join evaluation.benchmark_runs as runs
        on runs.model = items.model
        and runs.benchmark_id = items.benchmark_id
        and runs.metric = items.metric
        and runs.filter = items.filter
),

together as (
    from losses
    union all
    from benchmarks
)

select
    metric, -- what is measured: `loss on <held-out set>` in nats a token, `<task> <metric>` of a benchmark
    model, -- checkpoint_id, of a base student its fingerprint
    item, -- the row: content id, or number in the task's data
    value, -- what the model gave: nats of an answer, 1 or 0
    weight, -- what it counts: tokens of the answer, 1
    higher_is_better -- whether a higher metric is the better one
from together
