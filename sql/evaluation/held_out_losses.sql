-- What each current model makes of each held-out answer. NULL with a reason where it has no likelihood; no row where it was not asked yet.
-- grain: one row a (model, held_out, content_id)
select
    scores.model, -- checkpoint_id, of a base student its fingerprint
    models.name, -- the model's label
    held_out.held_out, -- name of the set in the profile
    scores.content_id, -- the answer with its instruction
    held_out.file, -- where it was read
    held_out.source_row, -- row in that file, from 1
    scores.nll, -- summed negative log-likelihood of the answer given its instruction, nats
    scores.tokens, -- target tokens of the answer: nll / tokens is the loss that training reports
    scores.truncated, -- true when the answer lost its tail to max_length
    scores.history_truncated, -- true when the oldest turns before it were left out
    scores.status, -- ok, or why nll is NULL
    scores.reason -- how it failed, NULL when ok
from evaluation.held_out_scores as scores
inner join evaluation.models as models on models.model = scores.model
inner join evaluation.held_out_rows as held_out on held_out.content_id = scores.content_id
