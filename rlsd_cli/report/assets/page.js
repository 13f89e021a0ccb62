"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const DASHES = ["", "7 4", "2 4", "10 3 2 3", "1 3", "14 5"];

/* An element with attributes, listeners (onclick: ...) and children; text is always text. */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "-";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : value.toFixed(digits);
}

const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);
const percent = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(1) + "%");

/* A chunk of the page, unpacked. */
async function chunk(name) {
  const packed = document.getElementById("chunk-" + name).textContent;
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function section(id, title, ...content) {
  const part = el("section", { id, "aria-labelledby": id + "-title" }, el("h2", { id: id + "-title" }, title), content);
  main.append(part);
  document.querySelector("nav").append(el("a", { href: "#" + id }, title));
  return part;
}

/* A table that scrolls inside itself. Cells are text, nodes, or numbers, which are set to the right. */
function table(header, rows, label) {
  const body = el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => {
    if (cell instanceof Node) return el("td", {}, cell);
    const isNumber = typeof cell === "number" || /^[-+]?[\d.]+%?$/.test(String(cell));
    return el("td", { class: isNumber ? "number" : null }, number(cell));
  }))));
  const head = el("thead", {}, el("tr", {}, header.map((name) => el("th", { scope: "col" }, name))));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label }, el("table", {}, head, body));
}

/* -- charts ----------------------------------------------------------------------------------------------------- */

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 10000 || size < 0.001) return value.toExponential(0);
  return String(Number(value.toPrecision(3)));
}

function stroke(arm) {
  return { stroke: `var(--arm-${arm % 6})`, "stroke-dasharray": DASHES[arm % 6] };
}

function chart(found) {
  const caption = el("figcaption", {}, found.title);
  const readout = el("small", { class: "soft" }, "\u00a0");
  const holder = el("div");
  const figure = el("figure", { "data-chart": found.key }, caption, holder, readout);
  const lines = found.arms.flatMap((arm) => arm.lines.map((line) => ({ arm, line })));
  const everything = lines.flatMap((each) => each.line).concat(found.arms.flatMap((arm) => arm.band.flatMap(
    (point) => [[point[0], point[2]], [point[0], point[3]]].filter((pair) => pair[1] !== null))));
  const xs = everything.map((point) => point[0]);
  const ys = lines.flatMap((each) => each.line.map((point) => point[1])).filter((value) => value !== null);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  const room = (high - low) * 0.25 || Math.abs(high) * 0.1 || 1;
  for (const [, value] of everything) {
    if (value !== null) [low, high] = [Math.max(Math.min(low, value), Math.min(...ys) - room), Math.min(Math.max(high, value), Math.max(...ys) + room)];
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];

  function draw() {
    const width = Math.max(260, holder.clientWidth || 400), height = 220;
    const area = { left: 46, right: width - 8, top: 8, bottom: height - 24 };
    const x = (value) => area.left + ((value - left) / (right - left || 1)) * (area.right - area.left);
    const y = (value) => area.bottom - ((Math.max(low, Math.min(high, value)) - low) / (high - low)) * (area.bottom - area.top);
    const path = (points) => points.map((point, at) => (at ? "L" : "M") + x(point[0]).toFixed(1) + " " + y(point[1]).toFixed(1)).join("");
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": describe() });
    for (const at of ticks(low, high, 4)) {
      picture.append(svg("line", { x1: area.left, x2: area.right, y1: y(at), y2: y(at), stroke: "var(--line)" }));
      picture.append(svg("text", { x: area.left - 5, y: y(at) + 4, "text-anchor": "end" }, short(at)));
    }
    for (const at of ticks(left, right, Math.min(8, width / 60))) {
      picture.append(svg("text", { x: x(at), y: height - 6, "text-anchor": "middle" }, short(at)));
    }
    for (const arm of found.arms) {
      const bounded = arm.band.filter((point) => point[2] !== null);
      if (bounded.length) {
        const upper = bounded.map((point) => [point[0], point[3]]), lower = bounded.map((point) => [point[0], point[2]]).reverse();
        picture.append(svg("path", { d: path(upper) + path(lower).replace("M", "L") + "Z", fill: `var(--arm-${arm.arm % 6})`, opacity: 0.14 }));
      }
      for (const line of arm.lines) {
        const thin = arm.lines.length > 1;
        picture.append(svg("path", { d: path(line.filter((point) => point[1] !== null)), fill: "none", "stroke-width": thin ? 1 : 2, opacity: thin ? 0.55 : 1, ...stroke(arm.arm) }));
      }
      if (arm.band.length) picture.append(svg("path", { d: path(arm.band), fill: "none", "stroke-width": 2.5, ...stroke(arm.arm) }));
    }
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const at = left + (((event.clientX - box.left) / box.width) * width - area.left) / (area.right - area.left) * (right - left);
      readout.textContent = read(at);
    });
    holder.replaceChildren(picture);
  }

  function read(at) {
    const values = found.arms.map((arm) => {
      const line = arm.band.length ? arm.band : arm.lines[0];
      const point = line.reduce((best, each) => (Math.abs(each[0] - at) < Math.abs(best[0] - at) ? each : best));
      return { step: point[0], text: `${arm.name} ${number(point[1], 4)}` };
    });
    return `step ${values[0].step}:  ${values.map((value) => value.text).join(",  ")}`;
  }

  function describe() {
    const ends = found.arms.map((arm) => {
      const line = arm.band.length ? arm.band : arm.lines[0];
      return `${arm.name} from ${number(line[0][1])} to ${number(line[line.length - 1][1])}`;
    });
    return `${found.title}, by training step: ${ends.join("; ")}`;
  }

  new ResizeObserver(draw).observe(holder);
  return figure;
}

function legend(names) {
  return el("ul", { class: "legend" }, names.map((name, arm) => {
    const sample = svg("svg", { viewBox: "0 0 36 12", "aria-hidden": "true" });
    sample.append(svg("line", { x1: 1, x2: 35, y1: 6, y2: 6, "stroke-width": 3, ...stroke(arm) }));
    return el("li", {}, sample, name);
  }));
}

/* -- sections --------------------------------------------------------------------------------------------------- */

function interval(found) {
  return found.ci95 ? `${signed(found.difference)} [${signed(found.ci95[0])}, ${signed(found.ci95[1])}]` : signed(found.difference);
}

function points(mean) {
  return number(mean.mean) + (mean.points.length > 1 ? ` (${mean.points.map((value) => number(value)).join(", ")})` : "");
}

function comparison(found) {
  const header = ["data", "metric", found.first.name, found.second.name, "difference, 95 %", "p", "p (Holm)", "seen from", "n", "how"];
  const rows = found.metrics.map((line) => [
    line.data, `${line.metric} (${line.decoding})`, points(line.first), points(line.second), interval(line), number(line.p), number(line.p_holm),
    number(line.detectable), line.n, line.how,
  ]);
  const robust = found.interquartile_mean ? el("p", {},
    `Interquartile mean ${signed(found.interquartile_mean.mean)} [${signed(found.interquartile_mean.low)}, ${signed(found.interquartile_mean.high)}]; ` +
    `the chance that a run of ${found.second.name} beats one of ${found.first.name} is ${number(found.probability_of_improvement.probability, 2)} ` +
    `[${number(found.probability_of_improvement.low, 2)}, ${number(found.probability_of_improvement.high, 2)}].`) : null;
  const left = Object.entries(found.left_out).filter(([, count]) => count).map(([suite, count]) => `${count} problems of ${suite} are left out: not all policies have a verdict on them.`);
  return [table(header, rows, `${found.second.name} against ${found.first.name}`), robust, left.map((line) => el("p", {}, line))];
}

function report() {
  if (data.verdict) section("verdict", "Verdict", data.verdict.map((line) => el("p", { class: "verdict" }, line)), data.notes.map((line) => el("p", { class: "soft" }, line)));
  if (data.comparisons && data.comparisons.length) section("comparison", "Comparison", data.comparisons.map(comparison));
  if (data.progress && data.progress.length) section("progress", "From start to end", data.progress.map(comparison));
  if (data.curves && data.curves.length) {
    section("curves", "Curves", legend(data.arms.map((arm) => arm.name)),
      el("p", { class: "soft" }, "Thin lines are seeds, thick lines their mean; bands are its 95 % t interval, from three seeds on."),
      el("div", { class: "charts" }, data.curves.map(chart)));
  }
  if (data.problems) problems(data.problems);
  if (data.rollouts) rollouts(data.rollouts);
  if (data.outcomes && data.outcomes.length) outcomes();
  if (data.left_out && data.left_out.length) leftOut();
  if (data.not_significant) {
    section("not-significant", "What this does not show", data.not_significant.length
      ? el("ul", {}, data.not_significant.map((line) => el("li", {}, line)))
      : el("p", {}, data.comparisons.length ? "Every difference above is told from 0 by its own interval; see the column of Holm for all of them together." : "One run is no comparison: another seed may end elsewhere."));
  }
  if (data.evaluations && data.evaluations.length) evaluations();
  if (data.differences && data.differences.rows.length) {
    section("differences", "Differences of the configs", table(["key", ...data.differences.names], data.differences.rows, "Config keys"));
  }
  if (data.runs && data.runs.length) provenance();
  document.querySelector("footer").append(el("p", { class: "soft" }, `Made by rlsd ${data.version} from what the runs wrote.`));
}

function evaluations() {
  const rows = data.evaluations.map((each) => [
    each.name, each.step, each.data, each.decoding || "-", `${each.n} of ${each.problems}`, each.samples,
    each.mean === null ? "-" : `${number(each.mean)} [${number(each.ci95[0])}, ${number(each.ci95[1])}]`,
    each.samples > 1 ? number(each.pass_at_k[String(each.samples)]) : "-", number(each.maj_at_k), number(each.tokens_per_response, 1),
    percent(each.truncated_rate), percent(each.leakage_rate), each.no_verdict, each.in_training || 0,
  ]);
  const header = ["policy", "step", "data", "decoding", "judged problems", "k", "mean@k, 95 %", "pass@k", "maj@k", "tokens", "cut", "leakage", "no verdict", "trained on"];
  section("evaluations", "Evaluations", table(header, rows, "Evaluations"));
}

function problems(found) {
  const detail = el("div", { "aria-live": "polite" });
  const only = el("input", { type: "checkbox", onchange: () => list() });
  const words = el("input", { type: "search", placeholder: "in the question", oninput: () => list() });
  const holder = el("div");
  let unpacked = null;
  async function show(row, at) {
    unpacked = unpacked || (await chunk("problems"));
    const [suite, id, question] = row;
    detail.replaceChildren(
      el("h3", { tabindex: "-1" }, `${suite}: ${id}`), el("pre", {}, question),
      el("div", { class: "side" }, unpacked[at].map((each) => el("article", { class: "card" },
        el("h4", {}, `${each.name}: ${each.outcome}, score ${number(each.score)}`),
        el("pre", {}, each.response),
        el("small", {}, `answer ${each.extracted === null ? "-" : each.extracted}, reference ${each.answer}, ${each.tokens} tokens. ${each.reason || ""}`)))));
    detail.firstChild.focus();
  }
  function list() {
    const wanted = words.value.toLowerCase();
    const rows = found.rows.map((row, at) => ({ row, at })).filter(({ row }) =>
      (!only.checked || (row[3] > 0.5) !== (row[4] > 0.5)) && row[2].toLowerCase().includes(wanted));
    holder.replaceChildren(table(["problem", found.first, found.second, "difference", "question"], rows.map(({ row, at }) => [
      el("button", { class: "link", onclick: () => show(row, at) }, row[1]), number(row[3]), number(row[4]), signed(row[4] - row[3]), row[2]]), "Problems by difference"));
  }
  list();
  const left = found.total > found.rows.length ? ` The ${found.rows.length} with the largest differences are here.` : "";
  section("problems", "Problems by difference",
    el("p", {}, `${found.second} solves ${found.gained} of ${found.total} problems that ${found.first} does not; the other way round it is ${found.lost}.${left}`),
    el("div", { class: "tools" }, el("label", { class: "line" }, only, "only those that changed sides"), el("label", {}, "search", words)),
    holder, detail);
}

function outcomes() {
  const part = section("outcomes", "Verdicts");
  for (const each of data.outcomes) {
    const totals = each.kinds.map((kind, at) => [kind, each.steps.reduce((sum, step) => sum + step[at + 1], 0)]);
    const all = totals.reduce((sum, [, count]) => sum + count, 0);
    part.append(el("h3", {}, each.run),
      table(["outcome", "responses", "share", "in the first step", "in the last"], totals.map(([kind, count], at) =>
        [kind, count, percent(count / all), each.steps[0][at + 1], each.steps[each.steps.length - 1][at + 1]]), "Outcomes of " + each.run));
    for (const [kind, examples] of Object.entries(each.examples)) {
      part.append(el("details", {}, el("summary", {}, `examples of ${kind}`), el("div", { class: "side" }, examples.map((example) =>
        el("article", { class: "card" }, el("h4", {}, example.problem), el("pre", {}, example.response), el("small", {}, example.reason || ""))))));
    }
  }
}

function leftOut() {
  const words = (counts) => Object.entries(counts).map(([why, count]) => `${why} ${count}`).join(", ") || "none";
  section("left-out", "What was left out, and why", table(
    ["run", "responses judged", "in no loss", "groups without an advantage", "cut", "without a verdict", "not read by a teacher", "problems too long"],
    data.left_out.map((each) => [each.run, each.rollouts, words(each.left_out), words(each.zero_variance_groups), each.truncated, each.no_verdict, each.teacher_skipped, words(each.overlong_problems)]), "Left out"));
}

function provenance() {
  const part = section("runs", "Runs");
  for (const run of data.runs) {
    const facts = [
      ["status", `${run.status}, ${run.steps} of ${run.planned_steps} planned steps, ${number(run.seconds, 0)} s`],
      ["weights at the end", run.weights_digest], ["largest gap of sampler and trainer, nats", run.sampler_mismatch_abs_max === null ? "-" : run.sampler_mismatch_abs_max.toExponential(1)],
      ["peak memory, MiB", number(run.peak_memory_mb, 0)], ["machine", `${run.environment.platform}, ${run.environment.cpus} CPUs`],
      ["commit", `${run.environment.commit || "-"}${run.environment.dirty ? " with changes" : ""}`],
      ["packages", Object.entries(run.environment.packages || {}).map(([name, version]) => `${name} ${version}`).join(", ")],
      ["data", JSON.stringify(run.data)], ["inputs", JSON.stringify(run.inputs)], ["plan", JSON.stringify(run.plan)],
    ];
    part.append(el("details", {}, el("summary", {}, run.name), el("pre", {}, run.command), table(["", ""], facts.map(([name, value]) => [name, String(value)]), run.name),
      el("details", {}, el("summary", {}, "config"), el("pre", { class: "long", tabindex: "0" }, run.config)),
      run.code_patch ? el("details", {}, el("summary", {}, "uncommitted changes"), el("pre", { class: "long", tabindex: "0" }, run.code_patch)) : null));
  }
}

/* -- rollouts --------------------------------------------------------------------------------------------------- */

function rollouts(found) {
  const at = Object.fromEntries(found.columns.map((name, place) => [name, place]));
  const state = { shown: 100, method: found.methods[0], by: "push", group: null, sample: null };
  const choice = (label, names, change, words) => {
    const select = el("select", { onchange: (event) => change(event.target.value) }, names.map((name) => el("option", { value: name }, words ? words(name) : name)));
    return [select, el("label", {}, label, select)];
  };
  const field = (attributes) => el("input", { ...attributes, oninput: () => { state.shown = 100; list(); } });
  const search = field({ type: "search", placeholder: "problem or answer" });
  const shortest = field({ type: "number", min: 0, "aria-label": "fewest tokens", size: 5 });
  const leaks = el("input", { type: "checkbox", onchange: () => list() });
  const kinds = ["any", ...new Set(found.rows.map((row) => row[at.outcome] || "none"))];
  const [outcome, outcomeLabel] = choice("outcome", kinds, () => list());
  const [order, orderLabel] = choice("order", ["group", "credit", "gap", "tokens", "advantage", "score"], () => list());
  const [, methodLabel] = choice("method", found.methods, (name) => { state.method = name; detail(); }, (name) => (name === "recorded" ? `${found.method} (recorded)` : name));
  const [, byLabel] = choice("colour", ["push", "weight", "gap", "entropy", "logp"], (name) => { state.by = name; detail(); });
  const holder = el("div"), more = el("div"), panel = el("div"), about = el("div", { class: "about", "aria-live": "polite" });

  function chosen() {
    const wanted = search.value.toLowerCase();
    const rows = found.rows.filter((row) =>
      (outcome.value === "any" || (row[at.outcome] || "none") === outcome.value) && row[at.tokens] >= Number(shortest.value || 0) &&
      (!leaks.checked || row[at.leaks]) &&
      (!wanted || String(row[at.problem_id]).toLowerCase().includes(wanted) || String(row[at.extracted]).toLowerCase().includes(wanted)));
    const key = at[order.value];
    return order.value === "group" ? rows : [...rows].sort((one, other) => (other[key] ?? -Infinity) - (one[key] ?? -Infinity));
  }

  function list() {
    const rows = chosen();
    holder.replaceChildren(table(
      ["rollout", "problem", "outcome", "answer", "score", "advantage", "tokens", "mean |credit|", "mean |gap|", "leaks", "left out"],
      rows.slice(0, state.shown).map((row) => [
        el("button", { class: "link", onclick: () => open(row[at.group], row[at.sample]) }, `group ${row[at.group]}, ${row[at.sample]}`),
        String(row[at.problem_id]), row[at.outcome] || "-", row[at.extracted] === null ? "-" : String(row[at.extracted]), number(row[at.score]), signed(row[at.advantage]),
        row[at.tokens], number(row[at.credit]), number(row[at.gap]), row[at.leaks] ? "yes" : "", row[at.left_out] || ""]), "Rollouts"));
    more.replaceChildren(el("p", { class: "soft" }, `${Math.min(state.shown, rows.length)} of ${rows.length} rollouts`),
      rows.length > state.shown ? el("button", { onclick: () => { state.shown += 400; list(); } }, "show more") : "");
  }

  const groups = {};
  async function open(group, sample) {
    state.group = group; state.sample = sample;
    groups[group] = groups[group] || (await chunk("group-" + group));
    detail();
    panel.querySelector(".chosen .tokens").focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  function sums(values, other) {
    return (values || other || []).map((value, place) => (values ? value : 0) + (values && other ? other[place] : values ? 0 : value));
  }

  function detail() {
    const group = groups[state.group];
    if (!group) return;
    const order = [...group.rollouts].sort((one, other) => (other.sample === state.sample) - (one.sample === state.sample) || one.sample - other.sample);
    panel.replaceChildren(el("h3", {}, `Group ${state.group}`), el("pre", {}, group.prompt), el("div", { class: "side" }, order.map(card)), about);
    about.replaceChildren("Point at a token, or move with the arrow keys.");
  }

  function card(rollout) {
    const row = found.rows.find((each) => each[at.group] === state.group && each[at.sample] === rollout.sample);
    const { credit, pull } = { credit: rollout.credit[state.method], pull: rollout.pull[state.method] };
    const push = sums(credit, pull);
    const advantage = row[at.advantage];
    const gap = rollout.teacher_logp && rollout.logp ? rollout.logp.map((value, place) => rollout.teacher_logp[place] - value) : null;
    const weight = credit && advantage ? credit.map((value) => value / advantage) : null;
    const columns = { push: push.length ? push : null, weight, gap, entropy: rollout.entropy, logp: rollout.logp };
    const values = columns[state.by];
    const off = (value) => (state.by === "weight" ? value - 1 : value);
    const most = values ? Math.max(...values.map((value) => Math.abs(off(value)))) || 1 : 1;
    const spans = rollout.texts.map((text, place) => {
      const value = values ? off(values[place]) : 0;
      const share = Math.abs(value) / most;
      const way = state.by === "push" || state.by === "gap" || state.by === "weight" ? (value < 0 ? "down" : "up") : "up";
      return el("span", { class: `${way}${share > 0.5 && (way === "down" || state.by === "push") ? " strong" : ""}`, style: `--share:${share.toFixed(3)}`, "data-place": place },
        text === "" ? "\u25aa" : text);
    });
    let current = -1;
    const focus = (place) => {
      if (place < 0 || place >= spans.length) return;
      if (current >= 0) spans[current].classList.remove("at");
      current = place;
      spans[place].classList.add("at");
      about.replaceChildren(facts(rollout, place, columns, credit, pull, push));
    };
    const tokens = el("div", {
      class: "tokens", tabindex: "0", role: "group", "aria-label": `response ${rollout.sample}, ${rollout.texts.length} tokens, arrow keys move`,
      onpointerover: (event) => { const place = event.target.dataset.place; if (place !== undefined) focus(Number(place)); },
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -spans.length, End: spans.length }[event.key];
        if (!step) return;
        event.preventDefault();
        focus(Math.max(0, Math.min(spans.length - 1, current + step)));
      },
    }, spans);
    const missing = values ? null : el("p", { class: "soft" }, found.skipped[state.method] || `${state.by} has no value here: ${row[at.left_out] ? "it was left out (" + row[at.left_out] + ")" : "this method says nothing of this rollout"}.`);
    return el("article", { class: "card" + (rollout.sample === state.sample ? " chosen" : "") },
      el("h4", {}, `${rollout.sample}: ${row[at.outcome] || "-"}, score ${number(row[at.score])}, advantage ${signed(advantage)}`),
      tokens, missing, el("small", {}, rollout.reason || ""));
  }

  function facts(rollout, place, columns, credit, pull, push) {
    const value = (values) => (values ? number(values[place], 4) : "-");
    const direction = !push.length || push[place] === 0 ? "neutral" : push[place] > 0 ? "up" : "down";
    const pairs = [
      ["token", JSON.stringify(rollout.texts[place])], ["place", place], ["moves", direction], ["credit", value(credit)], ["pull", value(pull)],
      ["weight", value(columns.weight)], ["log p", value(rollout.logp)], ["teacher's log p", value(rollout.teacher_logp)], ["gap", value(columns.gap)],
      ["entropy", value(rollout.entropy)], ["clipped", rollout.clipped ? (rollout.clipped[place] ? "yes" : "no") : "-"],
    ];
    const others = rollout.alternatives[place];
    if (others) pairs.push(["likeliest", others.map(([text, logp]) => `${JSON.stringify(text)} ${Math.exp(logp).toFixed(3)}`).join("  ")]);
    return el("dl", {}, pairs.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(text)))));
  }

  list();
  const skipped = Object.entries(found.skipped).map(([name, why]) => el("p", { class: "soft" }, `${name}: ${why}`));
  section("rollouts", `Rollouts of step ${found.step}`,
    el("p", { class: "soft" }, `${found.run}. Blue, underlined: made likelier; orange, wavy: made less likely; the stronger, the more. Each response is scaled to its largest.`),
    skipped,
    el("div", { class: "tools" }, methodLabel, byLabel, outcomeLabel, orderLabel, el("label", {}, "tokens, at least", shortest), el("label", {}, "search", search), el("label", { class: "line" }, leaks, "only leaks")),
    holder, more, panel);
  if (found.rows.length) open(found.rows[0][at.group], found.rows[0][at.sample]).then(() => { document.activeElement.blur(); window.scrollTo(0, 0); });
}

report();
document.documentElement.dataset.ready = "yes";
