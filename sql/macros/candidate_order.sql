-- Place of one of a pair's four texts, 1 = as it came, 4 = both rewritten: a tie keeps the less rewritten.
create or replace macro selection.candidate_order(candidate) as list_position(selection.candidate_names(), candidate)
