"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text) => { $("announcement").textContent = text; };
  const count = (n) => n.toLocaleString("en");

  // Theme: system, light, dark. Storage may be refused to a file; then the choice lasts a visit.
  const themes = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(stored()) ? stored() : "system";
  setTheme(theme);
  $("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    setTheme(theme);
    try { localStorage.setItem("theme", theme); } catch { /* kept for this visit */ }
  });

  // Copy buttons.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const text = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      getSelection().selectAllChildren(text);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    say("Copied");
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });

  // What needs the whole page waits for it; the theme, the copy buttons and the matrix do not.
  const finish = () => {
    // Tables with a filter: every word must occur in the row.
    for (const tools of all("[data-filter]")) {
      const rows = all("tbody tr", $(tools.dataset.filter)).map((row) => [row, row.textContent.toLowerCase()]);
      const search = tools.querySelector("input[type=search]");
      const boxes = all("[data-only]", tools);
      const apply = () => {
        const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const [row, text] of rows) {
          const is = (row.dataset.is || "").split(" ");
          const keep = words.every((word) => text.includes(word))
            && boxes.every((box) => !box.checked || is.includes(box.dataset.only));
          row.hidden = !keep;
          shown += keep;
        }
        tools.querySelector("[data-shown]").textContent =
          shown === rows.length ? `${count(rows.length)} rows` : `${count(shown)} of ${count(rows.length)} rows`;
      };
      search.addEventListener("input", apply);
      boxes.forEach((box) => box.addEventListener("change", apply));
      apply();
    }

    // Curves: one operation at a time, since all of them are a long way to scroll.
    const curve = $("curve");
    if (curve) {
      const show = () => all(".curves figure").forEach((figure) => {
        figure.hidden = curve.value !== "" && figure.dataset.operation !== curve.value;
      });
      curve.selectedIndex = curve.options.length > 2 ? 1 : 0;
      curve.addEventListener("change", show);
      show();
    }

    // Findings: by verdict and word, all open, opened by their address.
    const group = $("by-verdict");
    if (group) {
      const cards = all(".finding").map((card) => [card, card.querySelector("summary").textContent.toLowerCase()]);
      const find = $("find");
      const sift = () => {
        const kind = group.querySelector("[aria-pressed=true]").dataset.kind;
        const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const [card, text] of cards) {
          card.hidden = (kind !== "" && card.dataset.kind !== kind) || !words.every((word) => text.includes(word));
          shown += !card.hidden;
        }
        say(`${shown} findings shown`);
      };
      find.addEventListener("input", sift);
      group.addEventListener("click", (event) => {
        const chosen = event.target.closest("button");
        if (!chosen) return;
        all("button", group).forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));
        sift();
      });
      const unfold = $("unfold");
      unfold.addEventListener("click", () => {
        const open = unfold.textContent === "Open all";
        all(".finding details").forEach((d) => { d.open = open; });
        unfold.textContent = open ? "Close all" : "Open all";
      });
    }
    const openAddressed = () => {
      const target = /^#finding-\d+$/.test(location.hash) && $(location.hash.slice(1));
      if (target) { target.querySelector("details").open = true; target.scrollIntoView(); }
    };
    addEventListener("hashchange", openAddressed);

    // Sections far below are laid out when there is time; all at once for who wants to go there,
    // since a jump over sections of a guessed height misses.
    const far = all("main > section:not(#summary, #matrix)");
    const idle = window.requestIdleCallback || ((then) => setTimeout(then, 50));
    const lay = () => {
      const section = far.shift();
      if (!section) return;
      section.classList.add("laid");
      idle(lay);
    };
    const layAll = () => far.splice(0).forEach((section) => section.classList.add("laid"));
    addEventListener("click", (event) => { if (event.target.closest('a[href^="#"]')) layAll(); }, true);
    if (location.hash.length > 1) {
      layAll();
      const target = $(decodeURIComponent(location.hash.slice(1)));
      if (target) target.scrollIntoView();
    }
    idle(lay);
    openAddressed();
    addEventListener("beforeprint", () => all(".finding details, .words").forEach((d) => { d.open = true; }));
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", finish);
  else finish();

  // The matrix.
  const table = $("squares");
  if (!table) return;
  const data = JSON.parse($("cells").textContent);
  const [ACTIVATION, LOSS, DTYPE, REGIME, N, WORST, AT, VERDICTS, TENSOR, BETWEEN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const byPair = new Map();
  for (const cell of data.cells) {
    const key = `${cell[ACTIVATION]},${cell[LOSS]}`;
    if (!byPair.has(key)) byPair.set(key, []);
    byPair.get(key).push(cell);
  }
  const errorText = (x) => {
    if (x === null) return "non-finite";
    if (x === 0) return "0";
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  };
  const initials = Object.fromEntries(data.sides.map(([name, initial]) => [name, initial]));
  const labels = Object.fromEntries(data.sides.map(([name, , text]) => [name, text]));
  const total = (key) => {
    const dtype = Number($("by-dtype").value), regime = Number($("by-regime").value);
    const cells = (byPair.get(key) || []).filter((cell) =>
      (dtype < 0 || cell[DTYPE] === dtype) && (regime < 0 || cell[REGIME] === regime));
    if (!cells.length) return null;
    const kinds = $("by-kind").value.split(" "), side = $("by-side").value;
    const found = { n: 0, far: -1, worst: null, verdicts: new Map(), outside: 0 };
    const named = new Set();
    for (const cell of cells) {
      found.n += cell[N];
      const far = cell[WORST] === null ? Infinity : cell[WORST];
      if (far > found.far) { found.far = far; found.worst = cell; }
      for (let i = 0; i < cell[VERDICTS].length; i += 2) {
        const v = cell[VERDICTS][i];
        found.verdicts.set(v, (found.verdicts.get(v) || 0) + cell[VERDICTS][i + 1]);
        const [, , , kind, who] = data.verdicts[v];
        if (!kinds.includes(kind) || (side && !who.includes(side))) continue;
        found.outside += cell[VERDICTS][i + 1];
        who.filter((name) => !side || name === side).forEach((name) => named.add(name));
      }
    }
    found.named = data.sides.map(([name]) => name).filter((name) => named.has(name));
    const share = found.outside / found.n;
    found.level = !found.named.length ? 0 : found.named.includes("manual") ? 6
      : data.levels.filter((bound) => share > bound).length;
    found.text = found.named.length
      ? `${found.named.map((name) => initials[name]).join("")} ${Math.floor(100 * share + 0.5) || "<1"}` : "";
    found.ranked = [...found.verdicts].sort((a, b) => data.verdicts[b[0]][2] - data.verdicts[a[0]][2] || b[1] - a[1]);
    return found;
  };
  const name = (key) => {
    const [a, l] = key.split(",").map(Number);
    return [data.activations[a], data.losses[l]];
  };
  const focusable = () => all("button.square", table);
  const draw = () => {
    for (const old of all(".square", table)) {
      const key = old.dataset.at, found = total(key), pair = name(key);
      const square = document.createElement(found ? "button" : "span");
      square.dataset.at = key;
      square.className = found ? "square" : "square none";
      if (found) {
        const heaviest = found.ranked.length ? data.verdicts[found.ranked[0][0]] : ["", "", 0, "", []];
        square.type = "button";
        square.tabIndex = -1;
        square.dataset.level = found.level;
        square.dataset.mark = ["DEVIATES", "CRASHED"].includes(heaviest[3]) && heaviest[4].includes("manual") ? heaviest[1] : "";
        square.dataset.kind = heaviest[3].toLowerCase();
        square.textContent = found.text;
        const who = found.named.map((name) => labels[name]).join(", ") || "nobody";
        square.setAttribute("aria-label",
          `${pair[0]}, ${pair[1]}: ${count(found.n)} problems, outside: ${who} in ${count(found.outside)}` +
          (found.text ? `, shown as ${found.text}` : ""));
      } else {
        const text = document.createElement("span");
        text.className = "vh";
        text.textContent = "not drawn";
        square.append(text);
      }
      old.replaceWith(square);
    }
    const first = focusable()[0];
    if (first) first.tabIndex = 0;
  };
  for (const id of ["by-dtype", "by-regime", "by-side", "by-kind"]) {
    $(id).addEventListener("change", () => { draw(); say("Matrix drawn again"); });
  }

  const dialog = $("detail");
  const line = (term, value) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = value;
    $("detail-facts").append(dt, dd);
  };
  const open = (square) => {
    const found = total(square.dataset.at), pair = name(square.dataset.at), worst = found.worst;
    $("detail-h").textContent = `${pair[0]} with ${pair[1]}`;
    $("detail-facts").replaceChildren();
    line("Problems", count(found.n));
    line("Verdicts", found.ranked.map(([v, n]) => `${data.verdicts[v][1]} ${data.verdicts[v][0]} ${count(n)}`).join(", ") || "none");
    line("Largest difference", `${errorText(worst[WORST])} scaled`);
    if (data.names[worst[TENSOR]]) line("In", data.names[worst[TENSOR]]);
    if (data.names[worst[BETWEEN]]) line("Between", data.names[worst[BETWEEN]]);
    line("dtype, regime", `${data.dtypes[worst[DTYPE]]}, ${data.regimes[worst[REGIME]]}`);
    if (worst[AT]) line("Worst problem", worst[AT]);
    $("detail-command").hidden = !worst[AT];
    $("detail-command").querySelector("pre").textContent = $("detail-command").dataset.show.replace("ADDRESS", worst[AT]);
    dialog.showModal();
    $("detail-h").focus();
  };
  table.addEventListener("click", (event) => {
    const square = event.target.closest("button.square");
    if (square) open(square);
  });
  $("detail-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // One stop of the Tab key for the whole matrix; arrows move inside it.
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  table.addEventListener("keydown", (event) => {
    const step = steps[event.key], here = event.target.closest("button.square");
    if (!step || !here) return;
    event.preventDefault();
    let [a, l] = here.dataset.at.split(",").map(Number);
    for (;;) {
      a += step[0];
      l += step[1];
      const next = table.querySelector(`.square[data-at="${a},${l}"]`);
      if (!next) return;
      if (next.matches("button")) {
        focusable().forEach((square) => { square.tabIndex = -1; });
        next.tabIndex = 0;
        next.focus();
        return;
      }
    }
  });
})();
