-- What every teacher cost, by phase and by what came of its replies: calls, tokens, dollars, seconds. Replies of earlier prompts count. Dollars are summed as decimals, so that the order of rows has no say.
-- grain: one row a (teacher, phase, status)
with replies as (
    select * from reflection.teacher_replies where error is null
)

select
    teacher, -- name in the profile of who was asked, also when it has left the profile
    phase, -- instruction_reflection | response_reflection
    status, -- ok, or why the reply cannot be used; NULL where it was mirrored before this was kept
    count(*) as replies, -- replies that arrived
    count(*) filter (where parse_attempt > 0) as second_tries, -- of these, asked because an earlier reply about the pair could not be used
    sum(attempts)::bigint as calls, -- calls it took, repeated ones included
    sum(prompt_tokens)::bigint as prompt_tokens, -- as reported, NULL when no reply said
    sum(completion_tokens)::bigint as completion_tokens, -- as reported, NULL when no reply said
    sum(cost_usd::decimal(24, 12))::double as cost_usd, -- US dollars of the replies whose cost is known, NULL when none is
    count(*) filter (where cost_usd is null) as replies_of_unknown_cost, -- replies that cost_usd leaves out
    round(avg(latency_s), 3) as latency_mean_s, -- seconds of the last call, NULL when recorded
    round(quantile_cont(latency_s, 0.5), 3) as latency_p50_s, -- median of the same
    round(quantile_cont(latency_s, 0.95), 3) as latency_p95_s -- 95 of 100 came within
from replies
group by teacher, phase, status
