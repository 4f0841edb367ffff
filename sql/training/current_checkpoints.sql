-- The checkpoint of each recipe as the profile is now: of its current rows, student and settings, whenever it was trained.
-- grain: one row a recipe
with wanted as (
    -- The id is a hash over the canonical JSON of all that decides the weights, as models_py/training/manifest.py makes it.
    select
        recipes.recipe,
        sha256(concat(
            '["', recipes.recipe, '","', sets.data_version, '","', students.student_fingerprint, '",', settings.settings, ']'
        ))[:12] as checkpoint_id
    from profile.recipes as recipes
    inner join training.current_training_sets as sets on sets.recipe = recipes.recipe
    inner join profile.students as students on students.student = recipes.student
    inner join profile.training_settings as settings on settings.recipe = recipes.recipe
)

select
    checkpoints.recipe, -- recipe
    checkpoints.checkpoint_id, -- hash of rows, base student and settings
    regexp_replace(checkpoints.path, '^/.*/(checkpoints/[^/]+/[^/]+)$', '\1') as path, -- folder, relative to the warehouse
    checkpoints.data_version, -- rows it was trained on, in training.training_pairs
    checkpoints.snapshot_id, -- lake snapshot that holds those rows
    checkpoints.student_fingerprint, -- base student
    (checkpoints.manifest ->> '$.loss_before')::double as loss_before, -- mean loss of the answers' tokens before training, nats a token
    (checkpoints.manifest ->> '$.loss_after')::double as loss_after, -- and after
    checkpoints.manifest, -- settings, losses, versions, files: a copy of the folder's manifest.json
    checkpoints.created_at -- when it was published, UTC
from training.student_checkpoints as checkpoints
inner join wanted
    on wanted.recipe = checkpoints.recipe
    and wanted.checkpoint_id = checkpoints.checkpoint_id
