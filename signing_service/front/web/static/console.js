// Dropping a PDF anywhere on its form chooses it and sends the form. Without this the form works as it is.

const form = document.querySelector("form.drop");
const input = form?.querySelector("input[type=file]");
const target = form?.querySelector(".target");
const busy = form?.querySelector(".busy");

function say() {
  busy.textContent = form.dataset.busy;
  form.querySelector("button").setAttribute("aria-disabled", "true");
}

function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

function over(event) {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  form.classList.toggle("over", event.type === "dragover");
}

function dropped(event) {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  form.classList.remove("over");
  if (!form.contains(event.target) || event.dataTransfer.files.length !== 1) return;
  input.files = event.dataTransfer.files;
  form.requestSubmit();
}

if (form) {
  target.textContent = form.dataset.drop;
  target.hidden = window.matchMedia("(pointer: coarse)").matches;
  // On the whole page, or a file that misses the form would replace it.
  for (const type of ["dragover", "dragleave"]) document.addEventListener(type, over);
  document.addEventListener("drop", dropped);
  form.addEventListener("submit", say);
  window.addEventListener("pageshow", () => {
    busy.textContent = "";
    form.querySelector("button").removeAttribute("aria-disabled");
  });
}
