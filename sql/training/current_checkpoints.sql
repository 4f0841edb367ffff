-- The checkpoints of each recipe as the profile is now, one a training seed: of its current rows, student and settings,
-- whenever they were trained.
-- grain: one row a (recipe, training_seed)
with wanted as (
    -- The id is a hash over the canonical JSON of all that decides the weights, as models_py/training/manifest.py makes it.
    select
        recipes.recipe,
        students.student,
        students.student_fingerprint,
        settings.training_seed,
        count(*) over (partition by recipes.recipe) as seeds,
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
    wanted.training_seed, -- seed of the order of rows, and of what else is random
    if(wanted.seeds > 1, concat(checkpoints.recipe, '/', wanted.training_seed), checkpoints.recipe) as name, -- what it is called: its recipe, with the training seed where there are several
    checkpoints.checkpoint_id, -- hash of rows, base student and settings
    regexp_replace(checkpoints.path, '^/.*/(checkpoints/[^/]+/[^/]+)$', '\1') as path, -- folder, relative to the warehouse
    checkpoints.data_version, -- rows it was trained on, in training.training_pairs
    checkpoints.snapshot_id, -- lake snapshot that holds those rows
    wanted.student, -- base student's name in the profile
    wanted.student_fingerprint, -- and its fingerprint
    (checkpoints.manifest ->> '$.loss_before')::double as loss_before, -- mean loss of the answers' tokens before training, nats a token
    (checkpoints.manifest ->> '$.loss_after')::double as loss_after, -- and after
    checkpoints.manifest, -- settings, losses, versions, files: a copy of the folder's manifest.json
    checkpoints.created_at -- when it was published, UTC
from training.student_checkpoints as checkpoints
inner join wanted
    on wanted.recipe = checkpoints.recipe
    and wanted.checkpoint_id = checkpoints.checkpoint_id
