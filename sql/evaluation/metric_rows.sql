-- What every current model gave on each row of everything that is measured: a metric is the sum of its values over the sum of their
-- weights, so that intervals come from drawing rows anew. NULL where a model has no value for a row. A figure of a benchmark that is no
-- mean over its items (a perplexity) has no rows: what those say is something else, perhaps the other way round.
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

means as (
    select
        model,
        benchmark_id,
        metric,
        filter,
        avg(value) as value
    from evaluation.benchmark_items
    group by model, benchmark_id, metric, filter
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
    inner join means
        on means.model = runs.model
        and means.benchmark_id = runs.benchmark_id
        and means.metric = runs.metric
        and means.filter = runs.filter
        and abs(means.value - runs.value) <= 1e-6 * greatest(1, abs(runs.value))
),

-- Against the base student that it was made from; against itself that one ties.
against_base as (
    select
        outcomes.judge,
        outcomes.instruction_set,
        outcomes.instruction_id,
        outcomes.model,
        outcomes.opponent as base,
        outcomes.preference
    from evaluation.verdict_outcomes as outcomes
    inner join evaluation.models as models
        on models.model = outcomes.model
        and models.student_fingerprint = outcomes.opponent
),

judged as (
    select judge, instruction_set, instruction_id, model, preference from against_base
    union all
    select distinct judge, instruction_set, instruction_id, base as model, 0.5::double as preference from against_base
),

win_rates as (
    select
        concat('win rate on ', instruction_set, ', ', judge) as metric,
        model,
        instruction_id as item,
        preference as value,
        1.0::double as weight,
        true as higher_is_better
    from judged
),

together as (
    from losses
    union all
    from benchmarks
    union all
    from win_rates
)

select
    metric, -- what is measured: `loss on <held-out set>` in nats a token, `<task> <metric>` of a benchmark, `win rate on <set>, <judge>` against the base student
    model, -- checkpoint_id, of a base student its fingerprint
    item, -- the row: content id, or number in the task's data
    value, -- what the model gave: nats of an answer, 1 or 0
    weight, -- what it counts: tokens of the answer, 1
    higher_is_better -- whether a higher metric is the better one
from together
