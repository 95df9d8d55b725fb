// The reference's filter: shows what holds all the words, in the contents and on the page.

const field = document.getElementById("filter");
const found = document.getElementById("found");
const entries = [...document.querySelectorAll("main .entry")].map((element) => ({
  element,
  text: element.textContent.toLowerCase(),
  link: document.querySelector(`[data-entry="${CSS.escape(element.id)}"]`),
}));
const parts = [...document.querySelectorAll("main .part")];

function filter() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { element, text, link } of entries) {
    const fits = words.every((word) => text.includes(word));
    element.hidden = !fits;
    if (link) link.hidden = !fits;
    if (fits) count += 1;
  }
  for (const part of parts) {
    part.hidden = words.length > 0 && !part.querySelector(".entry:not([hidden])");
  }
  if (!words.length) found.textContent = "";
  else found.textContent = count ? `${count} of ${entries.length} entries` : "Nothing holds all of that.";
}

// A link to what the filter hides has to show it.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.closest("[hidden]")) {
    field.value = "";
    filter();
    target.scrollIntoView();
  }
}

field.addEventListener("input", filter);
addEventListener("hashchange", reveal);
addEventListener("keydown", (event) => {
  const inField = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.focus();
  } else if (event.key === "Escape" && event.target === field) {
    field.value = "";
    filter();
  }
});
if (matchMedia("(max-width: 52rem)").matches) document.querySelector("nav details").open = false;
field.closest(".filter").hidden = false;
