-- What is evaluated: the current checkpoint of every recipe and training seed, and the base students they were made from.
-- grain: one row a model
with checkpoints as (
    select
        checkpoint_id as model,
        'checkpoint' as kind,
        name,
        recipe,
        training_seed,
        student,
        student_fingerprint,
        path
    from training.current_checkpoints
),

bases as (
    select
        student_fingerprint as model,
        'base' as kind,
        concat(min(student), ' (base)') as name,
        null::varchar as recipe,
        null::bigint as training_seed,
        min(student) as student,
        student_fingerprint,
        null::varchar as path
    from checkpoints
    group by student_fingerprint
),

together as (
    from checkpoints
    union all
    from bases
)

select
    model, -- checkpoint id, or fingerprint of a base student
    kind, -- checkpoint | base
    name, -- what it is called: its recipe, with the training seed where there are several; of a base its student
    recipe, -- recipe, NULL of a base
    training_seed, -- seed of its training, NULL of a base
    student, -- base student's name in the profile
    student_fingerprint, -- and its fingerprint
    path -- folder, relative to the warehouse, NULL of a base
from together
