-- A student scores a text once in the instruction phase.
-- asset: scoring/instruction_scores
-- blocking: true
select student_fingerprint, content_id, count(*) as copies
from scoring.instruction_scores
group by student_fingerprint, content_id
having count(*) > 1
