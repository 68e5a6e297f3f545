"use strict";
(() => {
  const find = document.getElementById("find");
  if (!find) return;
  const chapters = [...document.querySelectorAll("#results li")].map((li) => [li, li.dataset.words]);
  const rail = new Map([...document.querySelectorAll(".rail [data-chapter]")].map((li) => [li.dataset.chapter, li]));
  const apply = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, last = null;
    for (const [li, text] of chapters) {
      const keep = words.every((word) => text.includes(word));
      li.hidden = !keep;
      rail.get(li.dataset.chapter).hidden = !keep;
      if (keep) { shown += 1; last = last || li; }
    }
    document.getElementById("found").textContent = words.length ? `${shown} of ${chapters.length} chapters` : "";
    return last;
  };
  find.addEventListener("input", apply);
  find.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const first = apply();
    if (first) first.querySelector("a").click();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      find.focus();
    }
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details.part").forEach((d) => { d.open = true; }));
  apply();
})();
