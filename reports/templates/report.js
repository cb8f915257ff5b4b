(() => {
  "use strict";
  const form = document.getElementById("filter");
  const status = document.getElementById("shown");
  const checks = Array.from(document.querySelectorAll("#check-list > .check"));
  const texts = new Map();
  const textOf = (check) => {
    if (!texts.has(check)) texts.set(check, check.textContent.toLowerCase());
    return texts.get(check);
  };
  const apply = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = ["outcome", "severity", "category"].map((key) => [key, form.elements[key].value]);
    let shown = 0;
    for (const check of checks) {
      const fits = wanted.every(([key, value]) => !value || check.dataset[key] === value) &&
        words.every((word) => textOf(check).includes(word));
      check.hidden = !fits;
      if (fits) shown += 1;
    }
    const all = checks.length === 1 ? "1 check" : `${checks.length} checks`;
    status.textContent = shown === checks.length ? all : `${shown} of ${all} shown`;
  };
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target || !target.matches("details")) return;
    if (target.hidden) { form.reset(); apply(); }
    target.open = true;
    target.scrollIntoView();
  };
  let timer = 0;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  const later = () => { clearTimeout(timer); timer = setTimeout(apply, 80); };
  form.addEventListener("input", later);
  form.addEventListener("change", later);
  form.addEventListener("reset", () => setTimeout(apply, 0));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      form.elements.text.focus();
    } else if (event.key === "Escape" && form.contains(event.target)) {
      form.reset();
    }
  });
  window.addEventListener("hashchange", reveal);
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll('.check[data-outcome="FAIL"]:not([open]):not([hidden])')).slice(0, 100);
    for (const check of opened) check.open = true;
  });
  window.addEventListener("afterprint", () => { for (const check of opened) check.open = false; });
  if (location.hash) reveal();
})();
