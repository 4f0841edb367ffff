"use strict";
// The report in the browser. Whatever the lake says becomes text nodes: nothing here sets HTML.
(async () => {
  const CANDIDATES = ["original", "instruction", "response", "both"];
  const TEXT_PARTS = ["instruction", "input", "output"];
  const PART_NAMES = { instruction: "instruction", input: "input", output: "answer" };
  const PAGE_SIZE = 25;
  const LONGEST_DIFF_MS = 1500;
  const OF_CANDIDATE = ["ifd", "r_ifd", "ifd_loss", "ppl_answer", "ppl_answer_given_instruction", "ppl_instruction",
    "ppl_instruction_given_answer", "answer_tokens", "answer_chars"];
  const OF_CHOICES = ["ifd_original", "ifd_instruction", "r_ifd_original", "r_ifd_instruction", "r_ifd_base",
    "r_ifd_reflected"];
  const RATIO = /^(r_ifd|ifd|highest_ifd|lowest_ifd|loss_|value|low|high|win_rate|length_controlled|stderr)/;

  async function unpacked(element) {
    const text = atob(element.textContent), bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }
  const [facts, statistics, charts] = await Promise.all(
    ["facts", "statistics", "charts"].map((name) => unpacked(document.getElementById(`data-${name}`))));

  // ---- elements

  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
    return made;
  }
  const words = (name) => name.replaceAll("_", " ");
  const count = (value) => value.toLocaleString("en-US");
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  function shown(value, name = "") {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (/share/.test(name)) return percent(value);
    if (RATIO.test(name)) return value.toFixed(4);
    return Number.isInteger(value) ? count(value) : value.toLocaleString("en-US", { maximumFractionDigits: 4 });
  }
  function plainTable(rows, caption, names = rows.length ? Object.keys(rows[0]) : []) {
    if (!rows.length) return el("p", { class: "quiet" }, `${caption}: none.`);
    const isNumber = (name) => rows.some((row) => typeof row[name] === "number");
    const cell = (tag, name, text, attributes = {}) => el(tag, { ...attributes, class: isNumber(name) && "number" }, text);
    const head = el("tr", {}, names.map((name) => cell("th", name, words(name), { scope: "col" })));
    const body = rows.map((row) => el("tr", {}, names.map((name) => cell("td", name, shown(row[name], name)))));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", { class: "plain" }, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, body)));
  }
  const chip = (name) => el("span", { class: `chip ${[...CANDIDATES, "dropped"].includes(name) ? name : ""}` }, name);

  // ---- columns

  function values(column) {
    return Array.isArray(column) ? column : column.at.map((at) => (at === null ? null : column.words[at]));
  }
  function decoded(columns) {
    return Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, values(column)]));
  }
  const pairs = decoded(statistics.pairs);
  const pairings = statistics.pairings.map((one) => ({ ...one, columns: decoded(one.columns),
    candidates: Object.fromEntries(CANDIDATES.map((name) => [name, decoded(one.candidates[name])])) }));
  const recipes = statistics.recipes.map((one) => ({ ...one, columns: decoded(one.columns) }));
  const isOf = (pairing) => (one) => one.teacher === pairing.teacher && one.student === pairing.student;
  const pairingOf = (recipe) => pairings.find(isOf(recipe));
  // The first that keeps a rewrite: of one that keeps originals there is little to see.
  const telling = recipes.find((one) => one.columns.candidate.some((name) => name !== null && name !== "original")) ?? recipes[0];
  const placeOf = new Map(pairs.pair_id.map((id, at) => [id, at]));

  // What is filtered and sorted by, of one recipe: columns in the pairs' order.
  const WORDS = ["source", "category", "outcome", "decision", "first_reason", "second_reason", "first_status",
    "second_status"];
  const NUMBERS = ["rank", ...OF_CANDIDATE, ...OF_CHOICES, "original_instruction_chars", "original_answer_chars",
    "earlier_turns"];
  function columnsOf(recipe) {
    const { candidates, columns } = pairingOf(recipe) ?? {};
    const { kept, drop_reason, candidate, rank } = recipe.columns;
    const nothing = pairs.pair_id.map(() => null);
    const ofKept = (name) => candidate.map((one, at) => (one === null ? null : candidates[one][name][at]));
    return { pair_id: pairs.pair_id, source: pairs.source, category: pairs.category, rank,
      outcome: (columns?.second_choice ?? nothing).map((choice) => choice ?? "dropped"),
      decision: kept.map((isKept, at) => (isKept ? "kept" : drop_reason[at])),
      ...Object.fromEntries(["first_reason", "first_status", "second_reason", "second_status", ...OF_CHOICES]
        .map((name) => [name, columns?.[name] ?? nothing])),
      ...Object.fromEntries(OF_CANDIDATE.map((name) => [name, candidates ? ofKept(name) : nothing])),
      original_instruction_chars: pairs.instruction_chars, original_answer_chars: pairs.answer_chars,
      earlier_turns: pairs.earlier_turns };
  }

  // ---- texts: in blocks, in the pairs' order, of as many pairs as have theirs in this file

  let opening = null;
  function allTexts() {
    const blocks = [...document.querySelectorAll("script.texts")];
    opening ??= Promise.all(blocks.map(unpacked)).then((one) => one.flat());
    return opening;
  }
  const short = (text, most = 140) => {
    const line = text.slice(0, 4 * most).replace(/\s+/g, " ").trim();
    return line.length > most ? `${line.slice(0, most - 1)}…` : line;
  };
  function searchable(texts) {
    return pairs.pair_id.map((id, at) => {
      const { system, history, texts: candidates, critiques } = texts[at] ?? { history: [], texts: [], critiques: [] };
      return [id, pairs.source[at], pairs.category[at], system, ...history.map((turn) => turn.content),
        ...candidates.flatMap((one) => TEXT_PARTS.map((part) => one[part])), ...critiques.map((one) => one.critique)]
        .filter(Boolean).join("\n").toLowerCase();
    });
  }

  // ---- one pair

  const dialog = document.getElementById("pair");
  function compared(before, after) {
    const parts = Diff.diffWordsWithSpace(before, after, { timeout: LONGEST_DIFF_MS });
    if (!parts) return { left: [before], right: [after], isTooMuch: true };
    const side = (gone, tag) => parts.filter((part) => !part[gone])
      .map((part) => (part.added || part.removed ? el(tag, {}, part.value) : part.value));
    return { left: side("added", "del"), right: side("removed", "ins"), isTooMuch: false };
  }
  function sentence(reasons, reason, before, after) {
    const said = (value) => (value === null || value === undefined ? "unknown" : shown(value, "ifd"));
    return (reasons[reason] ?? reason ?? "Nothing was decided.").replace("{before}", () => said(before))
      .replace("{after}", () => said(after));
  }
  function why(recipe, at) {
    const of = (name) => pairingOf(recipe)?.columns[name][at] ?? null;
    const { kept, candidate, rank, drop_reason, is_mixed_in } = recipe.columns;
    const mixed = is_mixed_in[at] ? ", put back to its original by `mix`" : "";
    return el("ul", { id: "why" },
      el("li", {}, sentence(facts.reasons.first, of("first_reason"), of("ifd_original"), of("ifd_instruction"))),
      el("li", {}, sentence(facts.reasons.second, of("second_reason"), of("r_ifd_base"), of("r_ifd_reflected"))),
      el("li", {}, kept[at] ? `Recipe ${recipe.recipe} keeps the pair as ${candidate[at]}, rank ${count(rank[at])}${mixed}.`
        : `Recipe ${recipe.recipe} leaves the pair out: ${facts.reasons.dropped[drop_reason[at]] ?? drop_reason[at]}.`));
  }
  function besides(before, after, name) {
    const made = [], notes = [];
    for (const part of TEXT_PARTS.filter((one) => before[one] || after[one])) {
      const { left, right, isTooMuch } = compared(before[part], after[part]);
      if (isTooMuch) notes.push(el("p", { class: "quiet" }, `The ${PART_NAMES[part]}s differ too much to mark the words.`));
      made.push([PART_NAMES[part], left, right]);
    }
    const side = (title, which) => el("section", { "aria-label": title }, el("h3", {}, title),
      made.map((one) => [el("p", { class: "part" }, one[0]), el("div", { class: "text", dir: "auto" }, one[which])]));
    return [...notes, el("div", { class: "beside" }, side("original", 1), side(name, 2))];
  }
  async function openPair(recipe, at, order) {
    const pairing = pairingOf(recipe);
    const texts = (await allTexts())[at];
    const place = order.indexOf(at);
    const step = (by) => order[place + by] !== undefined && openPair(recipe, order[place + by], order);
    const go = (label, by) => el("button", { type: "button", onclick: () => step(by),
      disabled: order[place + by] === undefined && "disabled" }, label);
    const parts = [
      el("div", { class: "bar" }, el("h2", { id: "pair-title", tabindex: "-1" }, `Pair ${pairs.pair_id[at]}`),
        el("span", { class: "quiet" }, `${count(place + 1)} of ${count(order.length)}`),
        go("← Previous", -1), go("Next →", 1), el("button", { type: "button", onclick: () => dialog.close() }, "Close")),
      el("p", { class: "quiet" }, `${pairs.file[at]}, row ${pairs.source_row[at]} · source ${pairs.source[at]} · `,
        `category ${pairs.category[at] ?? "none"} · ${recipe.teacher} → ${recipe.student} · `,
        el("code", {}, `make trace PAIR=${pairs.pair_id[at]}`)),
      el("h3", {}, "Why"), why(recipe, at)];
    if (texts?.system) parts.push(el("h3", {}, "System"), el("div", { class: "text", dir: "auto" }, texts.system));
    if (texts?.history.length) parts.push(el("h3", {}, "Earlier turns"), texts.history.map((turn) =>
      [el("p", { class: "part" }, turn.role), el("div", { class: "text", dir: "auto" }, turn.content)]));
    const mine = texts?.texts.filter(isOf(recipe)) ?? [];
    const original = mine.find((one) => one.candidate === "original");
    const chosen = recipe.columns.candidate[at] ?? pairing?.columns.second_choice[at] ?? "original";
    if (!texts) parts.push(el("p", { class: "said" }, "The texts of this pair are not in this file."));
    if (original) {
      const place = el("div", {}), rewrites = mine.filter((one) => one !== original);
      const buttons = rewrites.map((one) => el("button", { type: "button", onclick: () => beside(one.candidate) },
        `${one.candidate}${one.candidate === chosen ? " (chosen)" : ""}`));
      const beside = (name) => {
        buttons.forEach((button, number) => button.setAttribute("aria-pressed", rewrites[number].candidate === name));
        const other = rewrites.find((one) => one.candidate === name);
        const title = name === chosen ? `chosen: ${name}` : name;
        place.replaceChildren(...(other ? besides(original, other, title) : besides(original, original, `chosen: original`)));
      };
      if (rewrites.length) parts.push(el("div", { class: "choose", role: "group", "aria-label": "Text beside the original" },
        el("span", { class: "quiet" }, chosen === "original" ? "The original is chosen. Beside it:" : "Beside the original:"), buttons));
      parts.push(place);
      beside(chosen === "original" ? rewrites[0]?.candidate ?? "original" : chosen);
    }
    for (const one of texts?.critiques.filter((critique) => critique.teacher === recipe.teacher) ?? [])
      parts.push(el("h3", {}, one.phase === "instruction" ? "Critique of the instruction" : `Critique of the answer (to ${one.base})`),
        el("div", { class: "text", dir: "auto" }, one.critique));
    if (pairing) parts.push(plainTable(CANDIDATES.filter((name) => pairing.candidates[name].status[at] !== null).map((name) => {
      const of = (statistic) => pairing.candidates[name][statistic][at];
      return { candidate: name, status: of("status"), ...Object.fromEntries(OF_CANDIDATE.map((one) => [one, of(one)])),
        ...(of("reason") && { reason: of("reason") }) };
    }), "Statistics of every candidate"));
    dialog.replaceChildren(...parts.flat(Infinity));
    dialog.onkeydown = (event) => {
      if (event.key === "ArrowRight") step(1);
      if (event.key === "ArrowLeft") step(-1);
    };
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    document.getElementById("pair-title").focus();
  }
  const opener = (recipe, at, order) => el("button", { type: "button", class: "open",
    "aria-label": `Open pair ${pairs.pair_id[at]}`, onclick: () => openPair(recipe, at, order()) },
    pairs.pair_id[at].slice(0, 8));

  // ---- pages

  function figures(page, section) {
    const mine = charts.filter((chart) => chart.page === page);
    const drawn = mine.map((chart) => [chart, el("div", { class: "picture" })]);
    section.dataset.pictures = "drawing";
    const draw = async () => {
      for (const [chart, picture] of drawn) {
        const { view } = await vegaEmbed(picture, { width: "container", autosize: { type: "fit-x", contains: "padding" },
          background: null, ...chart.spec }, { ast: true, actions: false, renderer: "svg" });
        const svg = picture.querySelector("svg"); // one picture, and not a list of its points
        svg.setAttribute("role", "img");
        svg.setAttribute("aria-label", `${chart.name}. ${chart.told}`);
        view.addEventListener("click", (_, item) => {
          const at = placeOf.get(item?.datum?.pair);
          if (at !== undefined) openPair(recipes.find(isOf(chart.spec.usermeta)), at, [at]);
        });
      }
      section.dataset.pictures = "drawn";
    };
    requestAnimationFrame(draw); // when they have a place, and so a width
    return el("div", { class: "charts" }, drawn.map(([chart, picture]) =>
      el("figure", {}, el("h3", {}, chart.name), picture, el("figcaption", {}, chart.told))));
  }
  function overview(section) {
    const checkpoints = facts.tables.checkpoints;
    const cards = facts.tables.summary.map((row) => {
      const trained = checkpoints.filter((one) => one.name === row.recipe || one.name.startsWith(`${row.recipe}/`));
      const medians = facts.tables.lengths.find((one) => one.recipe === row.recipe);
      const lengths = (text) => medians && `${shown(medians[`${text}_before`])} → ${shown(medians[`${text}_after`])}`;
      const lines = [["mean IFD", shown(row.ifd, "ifd")], ["mean reversed IFD", shown(row.r_ifd, "ifd")],
        ["median characters, instructions", lengths("instruction")], ["median characters, answers", lengths("answer")],
        ...trained.map((one) => [`training loss${one.name === row.recipe ? "" : `, ${one.name}`}`,
          `${one.loss_before.toFixed(3)} → ${one.loss_after.toFixed(3)}`])];
      return el("div", { class: "card", "data-recipe": row.recipe }, el("h3", {}, row.recipe),
        el("p", { class: "quiet" }, `policy ${row.policy} · ${row.teacher} → ${row.student}`),
        el("p", { class: "figure" }, count(row.kept ?? 0), el("span", {}, ` of ${count(row.pairs ?? 0)} pairs kept`,
          row.kept_share === null ? "" : `, ${percent(row.kept_share)}`)),
        el("dl", {}, lines.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value || "unknown")])));
    });
    const kept = facts.tables.summary.map(({ recipe, kept_original, kept_instruction, kept_response, kept_both, dropped }) =>
      ({ recipe, original: kept_original, instruction: kept_instruction, response: kept_response, both: kept_both, dropped }));
    return [el("h2", {}, "Recipes"), el("p", { class: "quiet" }, "Means and medians are of the pairs that a recipe keeps."),
      el("div", { class: "cards" }, cards), figures("overview", section),
      plainTable(facts.tables.vetoes, "Rewrites that were vetoed, by teacher and student: the same for all their recipes"),
      plainTable(kept, "Which of a pair's four texts each recipe keeps"), plainTable(facts.tables.stages, "Rows at each stage"),
      plainTable(facts.tables.sources, "Sources"), plainTable(checkpoints, "Current checkpoints"),
      plainTable(facts.tables.spend, "What the teachers were asked, and what it cost")];
  }
  const pictures = (section) => [el("h2", {}, "Pictures"), figures("pictures", section)];

  async function browser(section) {
    const texts = await allTexts();
    let recipe = telling, haystack = null, table = null, timer = 0, by = { field: "rank", dir: "asc" };
    if (!recipe) return [el("p", {}, "The profile has no recipes.")];
    let columns = columnsOf(recipe);
    const found = el("p", { role: "status", id: "found", class: "quiet" });
    const place = el("div", { id: "table" });
    const later = () => { clearTimeout(timer); timer = setTimeout(apply, 150); };
    const search = el("input", { type: "search", id: "search", oninput: later, "aria-describedby": "search-in" });
    const chooser = el("select", { id: "recipe", onchange: () => take(recipes[chooser.selectedIndex]) },
      recipes.map((one) => el("option", { selected: one === recipe && "selected" }, one.recipe)));
    const everything = pairs.pair_id.map((_, at) => at);
    let visible = []; // what is found, in its order; the table is given a page of it at a time
    const isKnown = (column) => column.some((value) => value !== null);
    const used = NUMBERS.filter((name) => pairings.some((one) =>
      (OF_CANDIDATE.includes(name) ? CANDIDATES.some((candidate) => isKnown(one.candidates[candidate][name]))
        : OF_CHOICES.includes(name) ? isKnown(one.columns[name]) : true)));
    const selects = WORDS.map((name) => [name, el("select", { id: `filter-${name}`, onchange: apply })]);
    const ranges = used.map((name) => [name, ["least", "most"].map((side) => el("input", { type: "number", step: "any",
      id: `${side}-${name}`, placeholder: side, "aria-label": `${words(name)}, ${side}`, oninput: later }))]);
    const sorter = el("select", { id: "sort", onchange: sort },
      ["rank", "pair_id", ...WORDS, ...used.slice(1)].map((name) => el("option", { value: name }, words(name))));
    const direction = el("select", { id: "direction", onchange: sort },
      el("option", { value: "asc" }, "lowest first"), el("option", { value: "desc" }, "highest first"));

    function sort() { table.setSort(sorter.value, direction.value); }
    function fill() {
      for (const [name, select] of selects) {
        const kept = select.value, known = new Map();
        for (const word of columns[name]) known.set(word, (known.get(word) ?? 0) + 1);
        const names = [...known.keys()].sort((one, other) => String(one ?? "").localeCompare(String(other ?? "")));
        select.replaceChildren(el("option", { value: "" }, "all"),
          ...names.map((word) => el("option", { value: `=${word ?? ""}` }, `${word ?? "(none)"} (${count(known.get(word))})`)));
        select.value = kept;
        if (select.selectedIndex < 0) select.value = "";
      }
    }
    function inOrder(one, other) {
      const a = columns[by.field][one], b = columns[by.field][other];
      if (a === b) return one - other;
      if (a === null || b === null) return a === null ? 1 : -1;
      return (a < b) === (by.dir === "asc") ? -1 : 1;
    }
    function pageOf(_, __, { page, size, sort: [asked] = [] }) {
      if (asked && (asked.field !== by.field || asked.dir !== by.dir)) {
        by = { field: asked.field, dir: asked.dir };
        [sorter.value, direction.value] = [by.field, by.dir];
        visible.sort(inOrder);
      }
      return Promise.resolve({ last_page: Math.max(1, Math.ceil(visible.length / size)),
        data: visible.slice((page - 1) * size, page * size).map((at) => (
          { at, ...Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column[at]])) })) });
    }
    async function apply() {
      clearTimeout(timer);
      timer = 0;
      const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean)
        .map((word) => (/^[0-9a-f]{17,64}$/.test(word) ? word.slice(0, 16) : word)); // the whole id of a pair
      if (asked.length) haystack ??= searchable(texts);
      const wanted = selects.filter(([, select]) => select.value).map(([name, select]) => [name, select.value.slice(1)]);
      const bounds = ranges.map(([name, [least, most]]) => [name, least.valueAsNumber, most.valueAsNumber])
        .filter(([, least, most]) => !Number.isNaN(least) || !Number.isNaN(most));
      const isWithin = (value, least, most) => value !== null && !(value < least) && !(value > most);
      visible = everything.filter((at) => wanted.every(([name, word]) => (columns[name][at] ?? "") === word)
        && bounds.every(([name, least, most]) => isWithin(columns[name][at], least, most))
        && asked.every((word) => haystack[at].includes(word))).sort(inOrder);
      await table.setPage(1);
      tell();
    }
    function tell() { found.textContent = `${count(visible.length)} of ${count(everything.length)} pairs`; }
    function take(one) { recipe = one; columns = columnsOf(recipe); fill(); apply(); }
    function clear() {
      for (const input of [search, ...selects.map(([, select]) => select), ...ranges.flatMap(([, inputs]) => inputs)]) input.value = "";
      apply();
      search.focus();
    }
    const order = () => visible;
    const text = (cell) => document.createTextNode(cell.getValue() ?? "");
    const shownColumns = [
      { title: "pair", field: "pair_id", width: 104, frozen: true, formatter: (cell) => opener(recipe, cell.getData().at, order) },
      { title: "instruction", field: "at", width: 300, headerSort: false, formatter: (cell) => {
        const original = texts[cell.getValue()]?.texts.find((one) => one.candidate === "original");
        return document.createTextNode(original ? short(original.instruction, 60) : "(not in this file)");
      } },
      ...WORDS.slice(0, 4).map((field) => ({ title: words(field), field,
        formatter: field === "outcome" ? (cell) => chip(cell.getValue()) : text })),
      ...used.map((field) => ({ title: words(field), field, hozAlign: "right",
        formatter: (cell) => document.createTextNode(shown(cell.getValue(), field)) })),
      ...WORDS.slice(4).map((field) => ({ title: words(field), field, formatter: text }))];
    const said = [];
    if (facts.all_pairs > pairs.pair_id.length)
      said.push(`Of ${count(facts.all_pairs)} pairs, ${count(pairs.pair_id.length)} are here: the strongest disagreements, and others drawn by a seeded hash of their ids.`);
    if (facts.pairs_with_texts < pairs.pair_id.length)
      said.push(`The statistics of all ${count(pairs.pair_id.length)} pairs are here, the texts of ${count(facts.pairs_with_texts)}, for the file is to stay below 10 MB: those of the strongest disagreements, and of a sample drawn by a seeded hash of the pairs' ids. Search finds words in these texts alone.`);
    const label = (name, control, attributes = {}) => el("label", attributes, name, control);
    section.append(el("h2", {}, "Pairs"), ...said.map((one) => el("p", { class: "said" }, one)),
      el("form", { class: "filters", role: "search", "aria-label": "Find pairs", onsubmit: (event) => event.preventDefault() },
        label("recipe", chooser), label("search", search, { class: "wide" }),
        selects.map(([name, select]) => label(words(name), select)), label("sort by", sorter), label("order", direction),
        el("button", { type: "button", id: "clear", onclick: clear }, "Clear"),
        el("details", {}, el("summary", {}, "Ranges of statistics"), el("div", { class: "filters ranges" },
          ranges.map(([name, inputs]) => el("fieldset", {}, el("legend", {}, words(name)), inputs))))),
      el("p", { id: "search-in", class: "quiet" }, "Search finds pairs of which every word is somewhere in the id, source, category, system, earlier turns, any candidate or critique. Keys: / goes to the search, ↓ from there or from the page to the rows, ↑ ↓ through them, Enter opens a pair (in the search the first that is found), ← → turn to the next, Esc closes. A click on a row opens its pair, too."),
      found, place);
    fill();
    visible = [...everything].sort(inOrder);
    table = new Tabulator(place, { columns: shownColumns, index: "at", layout: "fitData", pagination: true, paginationMode: "remote",
      sortMode: "remote", ajaxURL: "#", ajaxRequestFunc: pageOf, dataLoader: false, paginationSize: PAGE_SIZE,
      paginationSizeSelector: [25, 100], initialSort: [{ column: by.field, dir: by.dir }],
      autoResize: false }); // a row that is drawn anew loses the focus, and none depends on the width
    await new Promise((done) => { table.on("dataProcessed", done); });
    table.on("rowClick", (event, row) => {
      if (event.target.closest("button, a, input, select") || !getSelection().isCollapsed) return;
      const button = row.getElement().querySelector("button.open");
      button.focus(); // where arrows go on when the pair is closed
      button.click();
    });
    async function move(by) {
      if (timer) await apply(); // what was typed just now
      const openers = () => [...place.querySelectorAll("button.open")];
      const rows = openers(), to = rows.indexOf(document.activeElement) + by;
      if (to in rows) rows[to].focus();
      else if (by > 0 && table.getPage() < table.getPageMax()) { await table.nextPage(); openers()[0].focus(); }
      else if (by < 0 && table.getPage() > 1) { await table.previousPage(); openers().at(-1).focus(); }
      else if (by < 0) search.focus();
    }
    async function openFound() {
      if (!isInRow(document.activeElement)) await move(1);
      if (isInRow(document.activeElement)) document.activeElement.click();
    }
    const isInRow = (one) => one.matches("#table button.open"), isControl = (one) => /^(INPUT|SELECT)$/.test(one.tagName);
    let answered = Promise.resolve(); // one key after the other: what a key asks for may take a while
    document.addEventListener("keydown", (event) => {
      const { key, target } = event;
      if (section.hidden || dialog.open || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
      const isFree = !event.shiftKey && (target === search || !isControl(target));
      if (key === "/" && !isControl(target)) search.focus();
      else if (key === "ArrowDown" && isFree) answered = answered.then(() => move(1));
      else if (key === "ArrowUp" && isFree && isInRow(target)) answered = answered.then(() => move(-1));
      else if (key === "Enter" && target === search) answered = answered.then(openFound);
      else return;
      event.preventDefault();
    });
    tell();
    return [];
  }
  async function disagreements() {
    const texts = await allTexts();
    const made = [el("h2", {}, "Where teacher and student disagree most"),
      el("p", { class: "quiet" }, "The teacher's rewrites that were refused, those first that are worse by the largest margin in the statistic that decided.")];
    for (const { teacher, student, kind, count: all, strongest } of facts.disagreements) {
      const recipe = recipes.find(isOf({ teacher, student }));
      const here = strongest.filter(([id]) => placeOf.has(id));
      const order = here.map(([id]) => placeOf.get(id));
      made.push(el("h3", {}, `${kind}: ${count(all)}`, pairings.length > 1 && ` (${teacher} → ${student})`),
        el("ul", { class: "refused" }, here.map(([id, margin]) => {
          const at = placeOf.get(id), mine = texts[at]?.texts.filter(isOf(recipe)) ?? [];
          const original = mine.find((one) => one.candidate === "original");
          const critique = texts[at]?.critiques.find((one) => one.teacher === teacher
            && (one.phase === "instruction") === kind.startsWith("Instructions"));
          return el("li", {}, el("span", { class: "margin" }, `by ${shown(margin, "ifd")} `), opener(recipe, at, () => order),
            el("span", { class: "quiet" }, ` ${pairs.category[at] ?? pairs.source[at]}`),
            original && el("p", { dir: "auto" }, short(original.instruction)),
            critique && el("p", { class: "quiet", dir: "auto" }, `Teacher: ${short(critique.critique, 180)}`));
        })));
    }
    if (!facts.disagreements.length) made.push(el("p", {}, "The student refused nothing."));
    return made;
  }
  function effects(section) {
    const share = (rows) => rows.map((row) => ({ ...row, kept_share: row.before ? row.after / row.before : null }));
    const made = [el("h2", {}, "What selection did to the data"), figures("effects", section)];
    for (const recipe of recipes) {
      const mine = (name) => facts.tables[name].filter((row) => row.recipe === recipe.recipe).map(({ recipe: _, ...row }) => row);
      const cuts = ["top_fraction", "top_k", "rows_as", "ifd_below", "r_ifd_below", "mix", "drop_near_duplicates", "drop_contaminated"]
        .filter((name) => recipe[name]).map((name) => `${name}: ${recipe[name]}`);
      const spread = facts.diversity.find((one) => one.recipe === recipe.recipe);
      const repeated = (side) => {
        const { most, all } = spread.openings[side];
        const cut = all > most.length ? `, the ${most.length} most frequent of ${count(all)}` : "";
        return plainTable(most.map(([opening, answers]) => ({ opening, answers })), `Openings that repeat, ${side}, of ${count(spread.answers)} answers${cut}`);
      };
      made.push(el("h2", {}, recipe.recipe), el("p", { class: "quiet" }, `Policy ${recipe.policy}; cuts: ${cuts.join(", ") || "none"}.`),
        el("div", { class: "columns" }, plainTable(mine("drops"), "What became of its pairs: which thresholds bind"),
          plainTable(share(mine("by_source")), "Sources, before and after"),
          plainTable(share(mine("categories")), "Categories, before and after"),
          plainTable(share(mine("near_duplicates")), "Pairs that nearly repeat an earlier one"),
          spread && plainTable(spread.distinct, `distinct-n of the first ${count(spread.words)} words of each of ${count(spread.answers)} answers before and as many after`),
          spread && ["before", "after"].map(repeated)));
    }
    return made;
  }
  function evaluation(section) {
    const parts = [["comparison", "Recipes compared"], ["win_rates", "Win rates"], ["benchmarks", "Benchmarks"]]
      .filter(([name]) => facts.tables[name].length).map(([name, caption]) => plainTable(facts.tables[name], caption));
    if (!parts.length) return [el("h2", {}, "Evaluation"), el("p", {}, "Nothing is evaluated yet: ", el("code", {}, "make evaluate"), " does it.")];
    return [el("h2", {}, "Evaluation"), figures("evaluation", section), ...parts];
  }

  // ---- the whole

  const PAGES = { overview: ["Overview", overview], pictures: ["Pictures", pictures], pairs: ["Pairs", browser],
    disagreements: ["Disagreements", disagreements], effects: ["What selection did", effects], evaluation: ["Evaluation", evaluation] };
  const main = document.getElementById("main"), nav = document.getElementById("nav"), made = new Map();
  async function show() {
    const asked = location.hash.slice(1);
    if (!(asked in PAGES) && made.size) return; // the link that skips to the content
    const name = asked in PAGES ? asked : "overview";
    for (const link of nav.querySelectorAll("a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const isNew = !made.has(name);
    if (isNew) {
      made.set(name, el("section", { id: `page-${name}`, "aria-label": PAGES[name][0] }));
      main.append(made.get(name));
    }
    for (const [other, section] of made) section.hidden = other !== name;
    if (isNew) {
      const section = made.get(name);
      section.append(...await PAGES[name][1](section));
      section.dataset.state = "made";
    } else window.dispatchEvent(new Event("resize")); // what was drawn while it was hidden has no width
  }
  nav.append(...Object.entries(PAGES).map(([name, [title]]) => el("a", { href: `#${name}` }, title)));
  if (facts.docs) nav.append(el("a", { href: facts.docs }, "Tables"));
  document.getElementById("read-from").textContent = `${count(facts.all_pairs)} pairs, read from snapshot ${facts.snapshot_id} of the lake`;
  document.getElementById("loading").remove();
  window.addEventListener("hashchange", show);
  await show();
  document.body.dataset.state = "open";
})();
