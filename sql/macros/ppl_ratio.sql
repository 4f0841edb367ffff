-- ppl(text | context) / ppl(text) over the same target tokens: IFD for answers, reversed IFD for instructions; NULL stays NULL.
create or replace macro selection.ppl_ratio(nll_given_context, nll, tokens) as exp((nll_given_context - nll) / nullif(tokens, 0))
