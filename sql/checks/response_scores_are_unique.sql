-- A student scores a text once in the response phase.
-- asset: scoring/response_scores
-- blocking: true
select student_fingerprint, content_id, count(*) as copies
from scoring.response_scores
group by student_fingerprint, content_id
having count(*) > 1
