// The theme: automatic, light or dark. A classic script, so that the page is never drawn in the wrong one.
(() => {
  const names = ["auto", "light", "dark"];
  const root = document.documentElement;

  function stored() {
    try {
      const name = localStorage.getItem("tidegate-theme");
      return names.includes(name) ? name : "auto";
    } catch {
      return "auto"; // storage is switched off
    }
  }

  const system = matchMedia("(prefers-color-scheme: dark)");

  function apply(name) {
    root.dataset.theme = name === "auto" ? (system.matches ? "dark" : "light") : name;
    const label = document.getElementById("theme-name");
    if (label) {
      label.textContent = name[0].toUpperCase() + name.slice(1);
      document
        .getElementById("theme")
        .setAttribute("aria-label", `Theme: ${name === "auto" ? "automatic" : name}`);
    }
    document.dispatchEvent(new Event("themechange"));
  }

  apply(stored());
  system.addEventListener("change", () => apply(stored()));
  document.addEventListener("DOMContentLoaded", () => {
    apply(stored());
    document.getElementById("theme").addEventListener("click", () => {
      const next = names[(names.indexOf(stored()) + 1) % names.length];
      try {
        localStorage.setItem("tidegate-theme", next);
      } catch {
        // It lasts as long as the page, then.
      }
      apply(next);
    });
  });
})();
