-- Whether a challenger takes the place of its base: the lower ratio wins, a tie keeps the base, NULL wins nothing and never stands in the way.
create or replace macro selection.lower_wins(challenger, base) as challenger is not null and (base is null or challenger < base)
