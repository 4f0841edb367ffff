-- Perplexity of a text from its summed negative log-likelihood (nats) and its number of target tokens; NULL stays NULL.
create or replace macro selection.ppl(nll, tokens) as exp(nll / nullif(tokens, 0))
