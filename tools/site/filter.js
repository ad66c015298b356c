// Filters rows or cards by text and by chosen values, and keeps a live count.
// <div class="prox-filter" data-target="#id"> holds an <input type="search">, <select data-key="verdict"> and an <output>;
// the items below the target carry data-item, data-text and data-<key>. The address remembers the choice: #verdict=inconclusive.
(() => {
  for (const box of document.querySelectorAll(".prox-filter")) {
    const target = document.querySelector(box.dataset.target);
    if (!target) continue;
    const items = [...target.querySelectorAll("[data-item]")];
    const groups = [...target.querySelectorAll("[data-group]")];
    const text = box.querySelector("input"), selects = [...box.querySelectorAll("select")], count = box.querySelector("output");
    const words = (s) => s.toLowerCase().split(/\s+/).filter(Boolean);
    const refresh = () => {
      const wanted = words(text.value);
      let shown = 0;
      for (const item of items) {
        const hit = wanted.every((w) => item.dataset.text.includes(w))
          && selects.every((s) => !s.value || item.dataset[s.dataset.key] === s.value);
        item.hidden = !hit;
        shown += hit;
      }
      for (const group of groups) group.hidden = !group.querySelector("[data-item]:not([hidden])");
      count.value = shown === items.length ? `${shown} ${box.dataset.noun}` : `${shown} of ${items.length} ${box.dataset.noun}`;
    };
    const read = () => {
      const chosen = new URLSearchParams(location.hash.slice(1));
      for (const s of selects) {
        if (chosen.has(s.dataset.key)) s.value = chosen.get(s.dataset.key);
      }
      refresh();
    };
    box.addEventListener("input", refresh);
    window.addEventListener("hashchange", read);
    box.hidden = false;
    read();
  }
})();
