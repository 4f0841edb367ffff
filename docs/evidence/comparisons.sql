-- Each planted rewrite beside its original, by every statistic.
-- grain: one row a (kind, pair_id)
select
    rewrite.teacher as kind, -- expert | off_topic | cut_third | wrong_fact | padded
    rewrite.pair_id, -- raw pair
    original.ifd as ifd_original, -- IFD: the higher is preferred
    rewrite.ifd as ifd_rewrite,
    original.r_ifd as r_ifd_original, -- reversed IFD: the lower is preferred
    rewrite.r_ifd as r_ifd_rewrite,
    original.ifd_loss as ifd_loss_original, -- ratio of mean losses: the higher is preferred
    rewrite.ifd_loss as ifd_loss_rewrite,
    original.ppl_answer_given_instruction as ppl_original, -- ppl(y | x): the lower is preferred
    rewrite.ppl_answer_given_instruction as ppl_rewrite,
    original.answer_tokens as tokens_original, -- length: the longer is preferred
    rewrite.answer_tokens as tokens_rewrite,
    selection.guard_objection(rewrite.ifd, rewrite.r_ifd, original.r_ifd) as guard_objection -- what the guard of the first choice would say
from selection.candidate_scores as rewrite
inner join selection.candidate_scores as original
    on original.teacher = rewrite.teacher
    and original.student = rewrite.student
    and original.pair_id = rewrite.pair_id
    and original.candidate = 'original'
where rewrite.candidate = 'response' and rewrite.status = 'ok' and original.status = 'ok'
order by kind, rewrite.pair_id
