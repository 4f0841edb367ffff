-- What each current model reaches in each task that the profile asks for, and the means that lm-eval's groups are, once all
-- their tasks are done.
-- grain: one row a (model, task, metric, filter)
with runs as (
    select
        models.model,
        models.name,
        tasks.benchmark,
        tasks.groups,
        runs.benchmark_id,
        runs.task,
        runs.metric,
        runs.filter,
        runs.value,
        runs.stderr,
        runs.n,
        runs.num_fewshot,
        runs.task_version,
        runs.lm_eval_version,
        runs.higher_is_better
    from evaluation.benchmark_runs as runs
    inner join evaluation.models as models on models.model = runs.model
    inner join evaluation.benchmark_tasks as tasks on tasks.benchmark_id = runs.benchmark_id
),

memberships as (
    -- One row a task and mean that it is part of.
    select
        benchmark_id,
        unnest(from_json(groups, '[{"group": "VARCHAR", "metric": "VARCHAR", "filters": ["VARCHAR"], "is_weighted": "BOOLEAN"}]')) as part
    from evaluation.benchmark_tasks
),

sizes as (
    select part."group" as task, count(distinct benchmark_id) as tasks
    from memberships
    group by part."group"
),

complete as (
    -- The groups of which a model has done every task.
    select runs.model, memberships.part."group" as task
    from runs
    inner join memberships on memberships.benchmark_id = runs.benchmark_id
    inner join sizes on sizes.task = memberships.part."group"
    group by runs.model, memberships.part."group"
    having count(distinct runs.benchmark_id) = any_value(sizes.tasks)
),

means as (
    -- By size as a rule; the error is that of a pooled sample, as lm-eval has it.
    select
        runs.model,
        any_value(runs.name) as name,
        any_value(runs.benchmark) as benchmark,
        memberships.part."group" as task,
        runs.metric,
        runs.filter,
        if(bool_and(memberships.part.is_weighted), sum(runs.n * runs.value) / sum(runs.n), avg(runs.value)) as value,
        sqrt(sum((runs.n - 1) * runs.stderr * runs.stderr * runs.n) / nullif(sum(runs.n) - count(*), 0) / sum(runs.n)) as stderr,
        sum(runs.n)::bigint as n,
        if(count(distinct runs.num_fewshot) = 1, min(runs.num_fewshot), null) as num_fewshot,
        null::varchar as task_version,
        any_value(runs.lm_eval_version) as lm_eval_version,
        bool_and(runs.higher_is_better) as higher_is_better
    from runs
    inner join memberships
        on memberships.benchmark_id = runs.benchmark_id
        and memberships.part.metric = runs.metric
        and (memberships.part.filters is null or list_contains(memberships.part.filters, runs.filter))
    inner join complete
        on complete.model = runs.model
        and complete.task = memberships.part."group"
    group by runs.model, memberships.part."group", runs.metric, runs.filter
),

together as (
    select *, false as is_mean from (select * exclude (groups, benchmark_id) from runs)
    union all by name
    select *, true as is_mean from means
)

select
    model, -- checkpoint_id, of a base student its fingerprint
    name, -- the model's label
    benchmark, -- task, group or tag in the profile that it comes from
    task, -- lm-eval's name of the task or of the group
    is_mean, -- whether it is a group: the mean of its tasks
    metric, -- acc, acc_norm, exact_match, ...
    filter, -- how the answer was read, none as a rule
    value, -- the mean over the items, as a rule
    stderr, -- its standard error by lm-eval, NULL where that gives none
    n, -- items asked
    num_fewshot, -- examples before each item, NULL of a group whose tasks differ
    task_version, -- as the task says
    lm_eval_version, -- lm-eval's release
    higher_is_better -- as the task says
from together
