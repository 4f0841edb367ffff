-- The candidate with the reflected answer that stands against a base in the second choice; NULL for what is no base.
create or replace macro selection.twin_of_base(base) as case base when 'original' then 'response' when 'instruction' then 'both' end
