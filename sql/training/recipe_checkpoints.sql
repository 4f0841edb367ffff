-- Each recipe with its current checkpoints: what it keeps now, how the training went, where the model lies. NULL where none was trained.
-- grain: one row a (recipe, training_seed)
with summaries as (
    select recipe, policy, kept from selection.selection_summary
),

checkpoints as (
    select * from training.current_checkpoints
)

select
    summaries.recipe, -- recipe
    checkpoints.training_seed, -- seed of the training, NULL where none was
    coalesce(checkpoints.name, summaries.recipe) as name, -- recipe, with the training seed where there are several
    summaries.policy, -- file in sql/policies
    summaries.kept, -- rows the recipe keeps now
    checkpoints.checkpoint_id, -- hash of rows, base student and settings
    checkpoints.path, -- folder, relative to the warehouse
    checkpoints.data_version, -- rows it was trained on, in training.training_pairs
    checkpoints.loss_before, -- mean loss of the answers' tokens before training, nats a token
    checkpoints.loss_after, -- and after
    checkpoints.created_at -- when it was published, UTC
from summaries
left join checkpoints on checkpoints.recipe = summaries.recipe
