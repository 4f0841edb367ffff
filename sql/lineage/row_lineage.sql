-- Every row that was ever frozen for training: back to the line it came from and the requests that rewrote it, as they
-- were then, forward to the checkpoints that were trained on it.
-- grain: one row a (recipe, data_version, rank)
with checkpoints as (
    select
        recipe,
        data_version,
        list(checkpoint_id order by created_at, checkpoint_id) as checkpoints
    from training.student_checkpoints
    group by recipe, data_version
),

current_sets as (
    select recipe, data_version from training.current_training_sets
),

reflections as (
    select teacher, pair_id, request_id, prompt_version, critique, status, created_at
    from reflection.instruction_reflections
    union all
    select teacher, pair_id, request_id, prompt_version, critique, status, created_at
    from reflection.response_reflections
),

-- A request is of one phase, and may have been asked under several prompt versions: they differ in what follows a reply.
-- A window and no arg_max: what that holds of long texts cannot wait on the disk.
newest as (
    select teacher, pair_id, request_id, prompt_version, critique, status
    from reflections
    where status <> 'failed'
    qualify row_number() over (
        partition by teacher, pair_id, request_id
        order by created_at desc, prompt_version desc
    ) = 1
)

select
    rows.recipe, -- recipe
    rows.data_version, -- hash of the rows of its set
    rows.rank, -- place in the set, from 1
    rows.pair_id, -- raw pair
    rows.candidate, -- original | instruction | response | both: which of its texts
    rows.source, -- source of the raw pair as it was when the set was frozen; NULL = frozen by 0.1
    rows.file, -- its file then
    rows.source_row, -- its row in that file then, from 1
    rows.teacher, -- teacher whose rewrites competed; NULL here and below = frozen before this was kept
    rows.scorer_fingerprint, -- student whose statistics decided
    rows.first_choice, -- original | instruction
    rows.first_reason, -- why the first choice fell as it did
    rows.ifd_original, -- IFD of the original
    rows.ifd_instruction, -- IFD of the rewritten instruction with its answer
    rows.second_choice, -- original | instruction | response | both
    rows.second_reason, -- why the second choice fell as it did
    rows.r_ifd_base, -- reversed IFD of the first choice
    rows.r_ifd_reflected, -- and of the same with the better answer
    rows.is_mixed_in, -- true when `mix` put the untouched original back
    rows.ifd, -- IFD of the row
    rows.r_ifd, -- reversed IFD of the row
    rows.instruction_request_id, -- request of the first phase, in reflection.teacher_replies
    first_phase.prompt_version as instruction_prompt_version, -- its prompt version
    first_phase.status as instruction_status, -- ok, or why its reply could not be used
    first_phase.critique as instruction_critique, -- what the teacher found lacking
    rows.response_request_id, -- request of the second phase
    second_phase.prompt_version as response_prompt_version, -- its prompt version
    second_phase.status as response_status, -- ok, or why its reply could not be used
    second_phase.critique as response_critique, -- what the teacher found lacking
    coalesce(checkpoints.checkpoints, []) as checkpoints, -- trained on that set, oldest first
    current_sets.recipe is not null as is_current, -- true when the recipe selects just that set now
    rows.created_at as frozen_at -- when the set was frozen, UTC
from training.training_pairs as rows
left join checkpoints
    on checkpoints.recipe = rows.recipe
    and checkpoints.data_version = rows.data_version
left join current_sets
    on current_sets.recipe = rows.recipe
    and current_sets.data_version = rows.data_version
left join newest as first_phase
    on first_phase.teacher = rows.teacher
    and first_phase.pair_id = rows.pair_id
    and first_phase.request_id = rows.instruction_request_id
left join newest as second_phase
    on second_phase.teacher = rows.teacher
    and second_phase.pair_id = rows.pair_id
    and second_phase.request_id = rows.response_request_id
