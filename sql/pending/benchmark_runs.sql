-- Tasks that a model has not been given yet.
-- grain: one row a (model, benchmark_id)
select
    models.model,
    tasks.benchmark_id,
    tasks.task
from evaluation.models as models
cross join evaluation.benchmark_tasks as tasks
anti join evaluation.benchmark_runs as runs
    on runs.model = models.model
    and runs.benchmark_id = tasks.benchmark_id
order by models.model, tasks.benchmark_id
