// What is chosen is kept in this browser until the file is downloaded, and goes into a CSV; nothing is sent anywhere.
(() => {
  const OUT = "left_out";
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const figures = [...document.querySelectorAll("figure.doubt")];
  const kept = (() => {
    try {
      return JSON.parse(localStorage.getItem(REVIEW.key)) ?? {};
    } catch {
      return {}; // a browser that keeps nothing for files
    }
  })();
  let safe = true; // whether closing the page loses nothing
  let current = 0;

  // ---- One image

  const choices = figures.map((figure, at) => {
    const { label, suggested, path } = figure.dataset;
    const select = make("select", { ariaLabel: `Label of ${path}` });
    const add = (value, text) => select.append(make("option", { value, textContent: text }));
    add("", "not decided");
    if (label) add(label, `right as it is: ${label}`);
    if (suggested) add(suggested, suggested);
    add(OUT, "leave it out");
    const fill = () => {
      const there = new Set([...select.options].map((option) => option.value));
      for (const name of REVIEW.classes) if (!there.has(name)) add(name, name);
    };
    for (const event of ["focus", "pointerdown"]) select.addEventListener(event, fill, { once: true });
    const why = make("input", { type: "text", placeholder: "why (optional)", ariaLabel: `Why, of ${path}` });
    const button = (value, text, wide) => {
      const made = make("button", { type: "button", textContent: text, className: wide ? "wide" : "", ariaPressed: "false" });
      made.addEventListener("click", () => choose(at, select.value === value ? "" : value));
      return [value, made];
    };
    const buttons = new Map([
      ...(label ? [button(label, "Right as it is")] : []),
      button(OUT, "Leave out", !label),
      ...(suggested ? [button(suggested, `It is ${suggested}`, true)] : []),
    ]);
    select.addEventListener("change", () => choose(at, select.value));
    why.addEventListener("input", () => keep(at));
    figure.append(make("div", { className: "choice" }, ...buttons.values(), select, why));
    figure.addEventListener("focusin", () => (current = at));
    return { select, why, buttons, fill };
  });

  const show = (at) => {
    const { select, buttons } = choices[at];
    const { label } = figures[at].dataset;
    for (const [value, button] of buttons) button.ariaPressed = String(value === select.value);
    figures[at].classList.toggle("right", label !== "" && select.value === label);
    figures[at].classList.toggle("out", select.value === OUT);
    figures[at].classList.toggle("other", !["", label, OUT].includes(select.value));
  };
  const keep = (at) => {
    const { select, why } = choices[at];
    kept[at] = [select.value, why.value];
    try {
      localStorage.setItem(REVIEW.key, JSON.stringify(kept));
    } catch {
      safe = false; // it is on the page alone
    }
    tell();
  };
  const choose = (at, value) => {
    const { select, fill } = choices[at];
    select.value = value;
    if (select.value !== value) {
      fill();
      select.value = value;
    }
    show(at);
    keep(at);
  };

  // ---- The files

  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const decided = (inDataset) =>
    figures
      .map((figure, at) => ({ ...figure.dataset, chosen: choices[at].select.value, why: choices[at].why.value.trim() }))
      .filter((one) => one.chosen && Boolean(one.id) === inDataset);
  const download = (name, rows) => {
    const text = "\ufeff" + rows.map((row) => row.map(cell).join(",") + "\n").join("");
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    safe = true;
  };
  const corrections = make("button", { type: "button", className: "main", textContent: "Download corrections.csv" });
  corrections.addEventListener("click", () =>
    download("corrections.csv", [
      REVIEW.columns,
      ...REVIEW.rows,
      ...decided(true).map((one) => [one.path, one.id, one.label, one.chosen, one.why]),
    ]),
  );
  const labels = make("button", { type: "button", textContent: "Download labels.csv", title: "Of images that are not in the dataset yet" });
  labels.addEventListener("click", () =>
    download("labels.csv", [
      ["path", "label", "why"],
      ...decided(false).filter((one) => one.chosen !== OUT).map((one) => [one.path, one.chosen, one.why]),
    ]),
  );
  const said = make("output", {});
  const tell = () => {
    const mine = decided(true);
    const fresh = decided(false);
    const all = [...mine, ...fresh];
    const out = all.filter((one) => one.chosen === OUT).length;
    const right = all.filter((one) => one.chosen === one.label).length;
    said.textContent =
      `${all.length} of ${figures.length} decided: ` +
      `${all.length - out - right} of another class, ${right} right, ${out} left out`;
    corrections.disabled = mine.length === 0;
    labels.disabled = fresh.every((one) => one.chosen === OUT);
  };
  const bar = document.querySelector(".bar-of-work");
  bar.append(said);
  if (figures.some((figure) => figure.dataset.id)) bar.append(corrections);
  if (figures.some((figure) => !figure.dataset.id)) bar.append(labels);
  window.addEventListener("beforeunload", (event) => safe || event.preventDefault());

  // ---- Which images are shown

  const form = document.querySelector("form.filters");
  const filters = [];
  const addFilter = (title, values, named, fits) => {
    if (values.length < 2) return;
    const select = make("select", { id: `show-${filters.length}` }, make("option", { value: "", textContent: "any" }));
    for (const value of values) select.append(make("option", { value, textContent: named(value) }));
    form.append(make("div", {}, make("label", { htmlFor: select.id, textContent: title }), select));
    filters.push((figure, at) => select.value === "" || fits(figure.dataset, select.value, at));
  };
  const distinct = (key) => [...new Set(figures.map((figure) => figure.dataset[key]))].filter(Boolean).sort();
  addFilter("Why it is here", Object.keys(KINDS), (kind) => KINDS[kind], (one, kind) => one.kinds.split(" ").includes(kind));
  addFilter("Its label", distinct("label"), (name) => name, (one, name) => one.label === name);
  addFilter("It might be", distinct("suggested"), (name) => name, (one, name) => one.suggested === name);
  addFilter("Split", distinct("split"), (name) => name, (one, name) => one.split === name);
  addFilter("Decided", ["no", "yes"], (word) => word, (_, word, at) => (choices[at].select.value !== "") === (word === "yes"));
  const count = make("output", {});
  form.append(make("button", { type: "reset", textContent: "Show all" }), count);
  const filter = () => {
    figures.forEach((figure, at) => (figure.hidden = !filters.every((fits) => fits(figure, at))));
    count.textContent = `${figures.filter((figure) => !figure.hidden).length} of ${figures.length} images`;
  };
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());

  // ---- Keys

  const go = (by, from = current + by) => {
    for (let at = from; at >= 0 && at < figures.length; at += by) {
      if (figures[at].hidden) continue;
      figures[at].focus();
      return;
    }
  };
  const decide = (value) => {
    if (value === undefined) return;
    choose(current, value);
    if (value !== "") go(1);
  };
  const keys = {
    ArrowRight: () => go(1, document.activeElement.closest("figure.doubt") ? current + 1 : current),
    ArrowLeft: () => go(-1),
    r: () => decide(figures[current].dataset.label || undefined),
    s: () => decide(figures[current].dataset.suggested || undefined),
    x: () => decide(OUT),
    u: () => decide(""),
    c: () => choices[current].select.focus(),
    w: () => choices[current].why.focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("select, input")) {
      if (event.key === "Escape" && event.target.closest("figure.doubt")) figures[current].focus();
      return;
    }
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  for (const [at, [value, why]] of Object.entries(kept)) {
    choices[at].why.value = why;
    choices[at].fill();
    choices[at].select.value = value;
    show(Number(at));
  }
  for (const element of [form, bar, document.querySelector(".keys")]) element.hidden = false;
  filter();
  tell();
})();
