// The search: names before texts, all words of what is typed. NAMES comes from names.js. Texts reach the page as text.
"use strict";
const root = document.body.dataset.root;
const field = document.getElementById("search");
const list = document.getElementById("found");
const MOST = 40;
const entries = NAMES.map(([kind, name, where, address, text]) => ({
  kind, name, where, address, text,
  called: `${where}.${name}`.toLowerCase(),
  all: `${kind} ${where}.${name} ${text}`.toLowerCase(),
}));
let chosen = -1;

// Lower is better: the name itself, its beginning, in it, in the text around.
function rank(entry, words, whole) {
  const name = entry.name.toLowerCase();
  const weight = entry.kind === "column" ? 0.5 : 0;
  if (name === whole || name.endsWith(`.${whole}`)) return weight;
  if (name.startsWith(whole)) return 1 + weight;
  if (words.every(word => entry.called.includes(word))) return 2 + weight;
  return 3 + weight;
}

function search() {
  const whole = field.value.trim().toLowerCase();
  const words = whole.split(/\s+/).filter(Boolean);
  const found = words.length ? entries.filter(entry => words.every(word => entry.all.includes(word))) : [];
  const best = found.map(entry => [rank(entry, words, whole), entry]).sort((one, other) => one[0] - other[0]).slice(0, MOST);
  list.replaceChildren(...best.map(([, entry], index) => item(entry, index)));
  if (found.length > best.length) list.append(note(`${found.length - best.length} more: type on`));
  if (words.length && !found.length) list.append(note("Nothing is called so."));
  show(words.length > 0);
  choose(best.length ? 0 : -1);
}

function item(entry, index) {
  const row = document.createElement("li");
  row.id = `found-${index}`;
  row.setAttribute("role", "option");
  const link = document.createElement("a");
  link.href = root + entry.address;
  link.tabIndex = -1;
  const parts = [["kind", entry.kind], ["name", entry.kind === "column" ? `${entry.where}.${entry.name}` : entry.name], ["text", entry.text]];
  for (const [of, text] of parts) {
    const part = document.createElement("span");
    part.className = of;
    part.textContent = text;
    link.append(part, " ");
  }
  row.append(link);
  return row;
}

function note(text) {
  const row = document.createElement("li");
  row.className = "note";
  row.textContent = text;
  return row;
}

function show(open) {
  list.hidden = !open;
  field.setAttribute("aria-expanded", String(open));
}

function choose(index) {
  const rows = [...list.querySelectorAll("[role=option]")];
  rows.forEach((row, place) => row.setAttribute("aria-selected", String(place === index)));
  chosen = index;
  if (index < 0) return field.removeAttribute("aria-activedescendant");
  field.setAttribute("aria-activedescendant", rows[index].id);
  rows[index].scrollIntoView({ block: "nearest" });
}

field.addEventListener("input", search);
field.addEventListener("focus", () => field.value && search());
field.addEventListener("keydown", event => {
  const rows = list.querySelectorAll("[role=option]");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && rows.length) {
    event.preventDefault();
    choose((chosen + step + rows.length) % rows.length);
  } else if (event.key === "Enter" && chosen >= 0) {
    rows[chosen].querySelector("a").click();
    show(false);
  } else if (event.key === "Escape") {
    show(false);
  }
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});
document.addEventListener("click", event => { if (!event.target.closest(".search")) show(false); });
document.querySelector(".search").hidden = false;

// The box that the page is about, else the first, stands in the middle of its picture; on a phone the contents begin folded.
const focus = document.querySelector(".graph .focus") ?? document.querySelector(".graph .box");
if (focus) {
  const graph = focus.closest(".graph");
  graph.scrollLeft = focus.getBBox().x - graph.clientWidth / 2 + 100;
  graph.scrollTop = focus.getBBox().y - graph.clientHeight / 2;
}
if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".contents").open = false;
document.querySelector(".contents [aria-current]")?.scrollIntoView({ block: "nearest" });
