-- At least 80 % of a teacher's reflections can be used.
-- assets: reflection/instruction_reflections, reflection/response_reflections
-- severity: warn
select teacher, count(*) as replies, count(*) filter (where status = 'ok') as usable
from selection.current_{{ name }}
group by teacher
having count(*) filter (where status = 'ok') < 0.8 * count(*)
