// The inspector: a list of samples, filters, and one sample in full. Its state is the hash of the address.
// Data becomes text nodes only, never HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("inspector-data").textContent);
  const MODES = ["full", "staged", "skip"];
  const answered = (answers) => [...MODES, "direct"].filter((mode) => mode in answers);  // not every run has direct
  const KINDS = { questions: "Questions", training: "Training", dropped: "Dropped" };
  const HUES = [215, 35, 285, 180, 325, 75, 250, 10];
  const PLAIN = { kind: "questions", arm: "", full: "", staged: "", skip: "", disagree: "", gate: "", skipped: "", reason: "", q: "", sample: "" };
  const at = (id) => document.getElementById(id);
  const list = at("list");
  let state = { ...PLAIN, task: data.tasks[0].task };
  let found = [];

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // ---- state, filters and search ----

  const task = () => data.tasks.find((one) => one.task === state.task);
  const armsOf = (item) => Object.keys(item.by).filter((arm) => state.arm === "" || arm === state.arm);

  const words = (item) => [
    item.id, item.question, item.answer, item.reason, item.detail, ...(item.steps ?? []),
    ...armsOf(item).flatMap((arm) => (item.kind === "questions" ? answered(item.by[arm]).map((mode) => task().texts[item.by[arm][mode].text]) : [])),
  ].filter(Boolean).join("\n").toLowerCase();

  const passes = {
    questions: (answers) =>
      MODES.every((mode) => state[mode] === "" || answers[mode].right === (state[mode] === "right")) &&
      (state.disagree === "" || answers.full.right !== answers.skip.right),
    training: (cut) =>
      (state.gate === "" || cut.right === (state.gate === "passed")) &&
      (state.skipped === "" || cut.sizes.some((size, m) => size && !cut.kept[m]) === (state.skipped === "some")),
    dropped: () => true,
  };

  function matches(item) {
    if (item.kind !== state.kind || (state.kind === "dropped" && state.reason !== "" && item.reason !== state.reason)) return false;
    return armsOf(item).some((arm) => passes[item.kind](item.by[arm])) && words(item).includes(state.q.toLowerCase());
  }

  function address(changes) {
    const next = { ...state, ...changes };
    const pairs = Object.entries(next).filter(([name, value]) => value !== (PLAIN[name] ?? "") && !(name === "task" && data.tasks.length === 1));
    return `#${new URLSearchParams([["view", "samples"], ...pairs])}`;
  }

  function change(changes) {
    state = { ...state, ...changes };
    show();
    history.replaceState(null, "", address({}));
  }

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (given.get("view") !== "samples") return false;
    const known = Object.fromEntries([...given].filter(([name]) => name in PLAIN));
    const chosen = data.tasks.some((one) => one.task === given.get("task")) ? given.get("task") : data.tasks[0].task;
    state = { ...PLAIN, ...known, task: chosen };
    if (!(state.kind in KINDS)) state.kind = PLAIN.kind;
    if (state.arm !== "" && !task().arms[state.arm]) state.arm = "";
    page.choose(state.task);
    return true;
  }

  // ---- the list ----

  function fill(select, options, value) {
    select.replaceChildren(...options.map(([key, text]) => element("option", { value: key }, text)));
    select.value = value;
    select.closest("label").hidden = options.length < 3; // "any", and only one choice
  }

  function showFilters() {
    const { items, arms, shown } = task();
    at("shown").textContent = Object.entries(KINDS)
      .map(([kind, title]) => `${title}: ${shown[kind].shown.toLocaleString("en")} of ${shown[kind].of.toLocaleString("en")} shown`).join(" · ") +
      ". The first in the order of the input." + (data.note ? ` ${data.note}` : "");
    at("kinds").replaceChildren(...Object.entries(KINDS).map(([kind, title]) => {
      const button = element("button", { type: "button", "aria-pressed": String(kind === state.kind), "data-of": kind }, title);
      button.addEventListener("click", () => change({ kind, sample: "" }));
      return button;
    }));
    fill(at("arm-filter"), [["", "all"], ...arms.map((arm, number) => [String(number), arm.name])], state.arm);
    const verdicts = [["", "any"], ["right", "right"], ["wrong", "wrong"]];
    for (const mode of MODES) fill(at(`${mode}-filter`), verdicts, state[mode]);
    fill(at("gate-filter"), [["", "any"], ["passed", "passed"], ["failed", "failed"]], state.gate);
    fill(at("skipped-filter"), [["", "any"], ["some", "some skipped"], ["none", "none skipped"]], state.skipped);
    const reasons = [...new Set(items.filter((item) => item.kind === "dropped").map((item) => item.reason))];
    fill(at("reason-filter"), [["", "any"], ...reasons.map((reason) => [reason, reason])], state.reason);
    at("disagree-filter").checked = state.disagree !== "";
    if (at("search").value !== state.q) at("search").value = state.q;
    for (const label of at("filters").querySelectorAll("[data-kind]")) if (label.dataset.kind !== state.kind) label.hidden = true;
    at("disagree-filter").closest("label").hidden = state.kind !== "questions";
  }

  function marks(item) {
    const [first] = armsOf(item);
    const node = element("span", { class: "marks" });
    if (item.kind === "questions") {
      for (const mode of answered(item.by[first])) {
        const { right } = item.by[first][mode];
        node.append(element("span", { class: right ? "yes" : "no", title: `${mode}: ${right ? "right" : "wrong"}` }, right ? "✓" : "✗"));
      }
    } else if (item.kind === "training") {
      const cut = item.by[first];
      cut.sizes.forEach((size, m) => size && node.append(element("i", { class: cut.kept[m] ? "kept" : "", title: cut.kept[m] ? "kept" : "skipped" })));
    }
    return node;
  }

  function showList() {
    found = task().items.filter(matches);
    if (!found.some((item) => item.key === state.sample)) state.sample = found[0]?.key ?? "";
    list.replaceChildren(...found.map((item) => {
      const where = item.kind === "dropped" ? item.reason : item.id;
      const row = element("li", { role: "option", id: `item-${item.key}`, "aria-selected": String(item.key === state.sample) },
        element("span", { class: "where" }, where), marks(item), element("span", { class: "snippet", dir: "auto" }, item.question ?? item.detail ?? ""));
      row.addEventListener("click", () => change({ sample: item.key }));
      return row;
    }));
    if (!found.length) list.append(element("li", { class: "nothing" }, "No sample matches these filters."));
    list.setAttribute("aria-label", `${found.length} samples`);
    list.setAttribute("aria-activedescendant", state.sample && `item-${state.sample}`);
  }

  // ---- one sample ----

  const stepsOf = (texts) => texts.map((text) => element("span", { class: "step", dir: "auto" }, text.trim()));

  function why(cut, m, arm) {
    const present = cut.sizes.map((size, at) => [size, at]).filter(([size]) => size).map(([, at]) => at);
    if (!cut.sizes[m]) return "empty: fewer steps than chunks";
    if (arm.shuffled) return cut.kept[m] ? "kept" : "skipped: assigned at random, as a control";
    if (!cut.right) return "kept: the answer from all chunks did not pass";
    if (arm.skippable === "interior" && (m === present[0] || m === present.at(-1))) return "kept: the first and the last always are";
    if (arm.search === "all") return "skipped without asking";
    return cut.kept[m] ? "kept: no right answer without it" : "skipped: the answer was right without it";
  }

  function chunks(item, cut, arm) {
    let at = 0;
    return element("ol", { class: "chunks" }, ...cut.sizes.map((size, m) => {
      const steps = item.steps.slice(at, (at += size));
      const look = size ? (cut.kept[m] ? "" : "skipped") : "empty";
      return element("li", { class: look, style: `--hue: ${HUES[m % HUES.length]}` },
        element("span", { class: "label" }, element("b", {}, `c${m + 1}`), element("span", {}, why(cut, m, arm))), ...stepsOf(steps));
    }));
  }

  const verdict = (right) => element("span", { class: `verdict ${right ? "yes" : "no"}` }, right ? "✓ right" : "✗ wrong");

  function output(text) {
    const pieces = text.trim().split("[thought]");
    return pieces.flatMap((piece, number) => (number ? [element("span", { class: "thought" }, "[thought]"), piece] : [piece]));
  }

  function answers(item, by) {
    return element("div", { class: "modes" }, ...answered(by).map((mode) => {
      const { right, answer, tokens, stopped, text } = by[mode];
      const facts = `${answer === null ? "no answer found" : `answer ${answer}`}, ${tokens} tokens${stopped ? "" : ", length limit reached"}`;
      return element("div", { class: mode }, element("h4", {}, element("span", { class: `mode ${mode}` }, mode)),
        element("p", {}, verdict(right), ` ${facts}`), element("p", { class: "output", dir: "auto" }, ...output(task().texts[text])));
    }));
  }

  function detailOf(item, number) {
    const arm = task().arms[number], by = item.by[number];
    if (item.kind === "training") {
      const gate = by.right ? "Gate passed." : "Gate failed: the answer from all chunks did not pass, so every chunk is kept.";
      return element("section", { "data-arm": number }, element("h4", {}, arm.name), element("p", { class: "note" }, `${gate} ${arm.how}`), chunks(item, by, arm));
    }
    const disagree = by.full.right !== by.skip.right ? element("span", { class: "badge" }, "full and skip disagree") : null;
    return element("section", { "data-arm": number, style: "grid-column: 1 / -1" },
      element("h4", {}, task().arms.length > 1 ? arm.name + " " : "", disagree), answers(item, by));
  }

  function showSample() {
    const item = found.find((one) => one.key === state.sample), article = at("sample");
    if (!item) return article.replaceChildren(element("p", { class: "note" }, "Nothing to show."));
    const fact = (title, text) => (text ? element("p", { dir: "auto" }, `${title}: `, element("b", {}, text)) : null);
    const rationale = item.kind !== "training" && item.steps?.length
      ? element("details", {}, element("summary", {}, "The rationale in the data"), ...stepsOf(item.steps)) : null;
    const arms = item.kind === "dropped" ? [] : armsOf(item);
    article.replaceChildren(
      element("h3", {}, element("span", {}, `row ${item.row.toLocaleString("en")} · ${item.id} · ${item.split}`), element("a", { href: address({}) }, "Link to this view")),
      element("p", { class: "question", dir: "auto" }, item.question ?? "(no question)"),
      ...[fact("Gold answer", item.answer), fact("Dropped", item.reason && `${item.reason} (${item.stage})`), fact("What was found", item.detail), rationale].filter(Boolean),
      element("div", { class: "arms" }, ...arms.map((arm) => detailOf(item, arm))));
    article.scrollTop = 0;
  }

  function show() {
    showFilters();
    showList();
    showSample();
  }

  // ---- mouse and keyboard ----

  function move(by) {
    const now = found.findIndex((item) => item.key === state.sample);
    const next = found[Math.min(Math.max(now + by, 0), found.length - 1)];
    if (!next) return;
    change({ sample: next.key });
    list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  const STEPS = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && (typing || state.q)) {
      change({ q: "" });
      list.focus();
    } else if (typing && !(event.target === at("search") && event.key.startsWith("Arrow") && event.key in STEPS)) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      at("search").focus();
    } else if (event.key in STEPS && (event.key.length === 1 || event.target.closest("#inspector"))) {
      event.preventDefault(); // elsewhere, the arrows scroll the page
      move(STEPS[event.key]);
    }
  });

  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("search").addEventListener("input", () => change({ q: at("search").value }));
  at("disagree-filter").addEventListener("change", () => change({ disagree: at("disagree-filter").checked ? "1" : "" }));
  for (const name of ["arm", ...MODES, "gate", "skipped", "reason"]) {
    at(`${name}-filter`).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  page.onTask((chosen) => { if (chosen !== state.task) change({ arm: "", reason: "", sample: "", task: chosen }); });
  addEventListener("hashchange", () => { if (readAddress()) show(); });
  if (readAddress()) at("inspector").scrollIntoView();
  show();
})();
