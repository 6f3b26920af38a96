"use strict";
// Tables sort, long ones open, galleries filter, pictures enlarge. Without this script the page shows all of it at once.
(() => {
  const SCALES = { ms: 1e-3, k: 1e3, M: 1e6, G: 1e9 };
  const FIRST = 24; // pictures of a gallery, until more are asked for
  const ROWS = matchMedia("(max-width: 860px)").matches ? 6 : 12; // of a table, likewise
  const LONG = 6; // rows of a table from which it can be sorted on a telephone too, where its head is not shown

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const option = (value, text) => make("option", { value, textContent: text });

  // ---- Tables

  const keyOf = (row, column) => row.cells[column]?.dataset.sort ?? row.cells[column]?.textContent.trim() ?? "";
  const isEmpty = (key) => key === "" || key === "–";
  const numberOf = (key) => {
    const found = /^(?:about )?([-−]?\d[\d\u202f,]*(?:\.\d+)?(?:e[-+]?\d+)?)[\s%]*(ms|[kMG])?/.exec(key);
    return found ? Number(found[1].replace("−", "-").replace(/[\u202f,]/g, "")) * (SCALES[found[2]] ?? 1) : NaN;
  };

  const shorten = new Map(); // what hides the rows of a long table that nobody asked for yet
  const sortBy = (table, column, direction) => {
    const rows = [...table.tBodies[0].rows].map((row) => [row, keyOf(row, column)]);
    const numeric = rows.every(([, key]) => isEmpty(key) || !Number.isNaN(numberOf(key)));
    const way = direction ?? (numeric ? -1 : 1);
    const compare = (one, other) =>
      numeric ? numberOf(one) - numberOf(other) : one.localeCompare(other, "en", { numeric: true });
    rows.sort(([, one], [, other]) => isEmpty(one) - isEmpty(other) || way * compare(one, other));
    table.tBodies[0].append(...rows.map(([row]) => row));
    shorten.get(table)?.();
    [...table.tHead.rows[0].cells].forEach((heading, at) => {
      heading.ariaSort = at !== column ? "none" : way > 0 ? "ascending" : "descending";
    });
  };

  for (const table of document.querySelectorAll("table:not(.matrix)")) {
    if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
    const headings = [...table.tHead.rows[0].cells];
    const names = headings.map((heading) => heading.innerHTML.replace(/<br>/g, " ").replace(/<[^>]*>/g, ""));
    headings.forEach((heading, column) => {
      const button = make("button", { type: "button", title: "Sort by this" }, ...heading.childNodes);
      button.addEventListener("click", () =>
        sortBy(table, column, { ascending: -1, descending: 1 }[heading.ariaSort]),
      );
      heading.ariaSort = "none";
      heading.append(button);
    });
    const rows = table.tBodies[0].rows;
    if (rows.length > ROWS + 2) {
      const more = make("button", { type: "button", className: "more", textContent: `Show ${rows.length - ROWS} more rows` });
      shorten.set(table, () => [...rows].forEach((row, at) => (row.hidden = at >= ROWS)));
      more.addEventListener("click", () => {
        shorten.delete(table);
        for (const row of rows) row.hidden = false;
        more.remove();
        rows[ROWS].tabIndex = -1;
        rows[ROWS].focus();
      });
      table.after(more);
      shorten.get(table)();
    }
    if (rows.length < LONG) continue;
    const choice = make("select", {}, option("", "as it is"), ...names.map((name, at) => option(at, name)));
    choice.addEventListener("change", () => choice.value && sortBy(table, Number(choice.value)));
    table.before(make("label", { className: "sortby" }, "Sort by ", choice));
  }

  // ---- Galleries

  const galleries = new Map();
  for (const gallery of document.querySelectorAll(".gallery[data-filter]")) {
    const images = [...gallery.querySelectorAll("figure")].map((figure) => ({
      figure,
      label: figure.dataset.label,
      slices: JSON.parse(figure.dataset.slices ?? "[]"),
      answers: [...figure.querySelectorAll("[data-model]")],
    }));
    const answers = images.flatMap((image) => image.answers.map((answer) => answer.dataset));
    const choices = {};
    const form = make("form", { className: "filters" });
    const add = (key, title, values, shown = (value) => value) => {
      if (new Set(values).size < 2) return;
      choices[key] = make("select", { id: `filter-${galleries.size}-${key}` }, option("", "any"));
      for (const value of [...new Set(values)].sort()) choices[key].append(option(value, shown(value)));
      form.append(make("div", {}, make("label", { htmlFor: choices[key].id }, title), choices[key]));
    };
    add("model", "Model", answers.map((answer) => answer.model));
    add("label", "It is", images.map((image) => image.label));
    add("predicted", "Taken for", answers.map((answer) => answer.predicted));
    add("slice", "Slice", images.flatMap((image) => image.slices), (name) => name.replaceAll("_", " "));
    const reset = make("button", { type: "reset", textContent: "Show all" });
    const more = make("button", { type: "button", className: "more" });
    const said = make("output", {});
    form.append(reset, said);
    gallery.before(form);
    gallery.after(more);

    const show = (most) => {
      const wanted = (key, value) => !choices[key]?.value || choices[key].value === value;
      let found = 0;
      for (const { figure, label, slices, answers } of images) {
        const fits = answers.filter((a) => wanted("model", a.dataset.model) && wanted("predicted", a.dataset.predicted));
        const is = wanted("label", label) && slices.concat("").some((name) => wanted("slice", name)) && fits.length > 0;
        found += is;
        figure.hidden = !is || found > most;
        for (const answer of answers) answer.classList.toggle("other", !fits.includes(answer));
      }
      said.textContent = `${found} of ${images.length} images`;
      more.textContent = `Show ${found - most} more`;
      more.hidden = found <= most;
    };
    form.addEventListener("change", () => show(FIRST));
    form.addEventListener("reset", () => setTimeout(() => show(FIRST)));
    more.addEventListener("click", () => show(Infinity));
    galleries.set(gallery, (wanted) => {
      for (const [key, choice] of Object.entries(choices)) choice.value = wanted[key] ?? "";
      show(FIRST);
    });
    show(FIRST);
  }
  for (const link of document.querySelectorAll("a[data-predicted]")) {
    link.addEventListener("click", () => galleries.get(document.querySelector(`${link.hash} ~ .gallery`))(link.dataset));
  }

  // ---- Pictures

  const viewer = make("dialog", { className: "viewer", ariaLabel: "Picture, enlarged" });
  const content = make("div", { ariaLive: "polite" });
  const button = (text, name, act) => {
    const made = make("button", { type: "button", textContent: text, ariaLabel: name });
    made.addEventListener("click", act);
    return made;
  };
  let current;
  const open = (figure) => {
    current = figure;
    content.replaceChildren(...[...figure.querySelectorAll("img, figcaption")].map((part) => part.cloneNode(true)));
    if (!viewer.open) viewer.showModal();
  };
  const step = (by) => {
    const row = [...current.parentElement.querySelectorAll(":scope > figure")].filter((figure) => !figure.hidden);
    const next = row[row.indexOf(current) + by];
    if (next) open(next);
  };
  viewer.append(
    make("div", { className: "buttons" }, button("←", "Previous", () => step(-1)), button("→", "Next", () => step(1)), button("✕", "Close", () => viewer.close())),
    content,
  );
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) step(by);
  });
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  viewer.addEventListener("close", () => current.querySelector("button").focus());
  document.body.append(viewer);
  for (const image of document.querySelectorAll("figure img")) {
    const enlarge = make("button", { type: "button", className: "enlarge", title: "Enlarge" });
    image.replaceWith(enlarge);
    enlarge.append(image);
    enlarge.addEventListener("click", () => open(enlarge.closest("figure")));
  }
})();
