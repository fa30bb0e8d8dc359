// What makes an official's pages quicker. Every page works without it.

const slow = 10_000; // milliseconds until a button that was pressed can be pressed again

// A form is sent once: the second press of an impatient thumb does nothing. (The server would not sign twice either.)
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  const buttons = form.querySelectorAll("button");
  buttons.forEach((each) => each.setAttribute("aria-disabled", "true"));
  setTimeout(() => release(form), slow);
});

function release(form) {
  delete form.dataset.sent;
  form.querySelectorAll("button").forEach((each) => each.removeAttribute("aria-disabled"));
}

// Back from the next page: the browser shows this one as it was left, with its button still pressed.
addEventListener("pageshow", () => document.querySelectorAll("[data-once]").forEach(release));

// A code is six digits. Apps copy it with a blank in the middle.
document.addEventListener("input", (event) => {
  const field = event.target;
  if (field.autocomplete !== "one-time-code") return;
  const digits = field.value.replace(/\s/g, "");
  if (digits !== field.value) field.value = digits;
});

// What was wrong stands far down a long page: go there.
document.querySelector('[aria-invalid="true"]')?.focus();

// The button below the list says how many were chosen.
function count() {
  const button = document.querySelector("[data-chosen] button");
  if (!button) return;
  const chosen = document.querySelectorAll("[data-chooser] input:checked").length;
  button.textContent = chosen ? button.dataset.some.replace("#", chosen) : button.dataset.none;
  button.parentElement.hidden = !chosen;
}
document.addEventListener("change", count);
count();

// Lists and results keep themselves fresh while somebody looks at them; what was chosen stays chosen.
const live = document.querySelector("[data-refresh]");
if (live) setTimeout(refresh, live.dataset.refresh * 1000, live.id);

async function refresh(id) {
  const now = document.getElementById(id);
  if (document.visibilityState === "visible") await renew(now).catch(() => warn(now));
  const next = document.getElementById(id);
  if (next.dataset.refresh) setTimeout(refresh, next.dataset.refresh * 1000, id);
}

async function renew(now) {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.status === 401) return location.reload(); // the phone was retired: nothing of the list stays on it
  if (!answer.ok) throw new Error(answer.status);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(now.id);
  if (!fresh) return location.reload();
  for (const chosen of now.querySelectorAll("input:checked")) {
    const same = fresh.querySelector(`input[value="${CSS.escape(chosen.value)}"]`);
    if (same) same.checked = true;
  }
  const focused = now.contains(document.activeElement) ? document.activeElement : null;
  if (focused && now.innerHTML === fresh.innerHTML) return;
  now.replaceWith(document.adoptNode(fresh));
  const again = focused?.value && document.querySelector(`[value="${CSS.escape(focused.value)}"]`);
  if (again) again.focus();
  count();
}

function warn(now) {
  if (now.querySelector(".stale")) return;
  const said = document.createElement("p");
  said.className = "stale";
  said.setAttribute("role", "status");
  said.textContent = now.dataset.failed;
  now.prepend(said);
}

// Pages of a document: enlarged with a tap, numbered while one scrolls.
const paper = document.querySelector(".paper");
if (paper) {
  paper.addEventListener("click", (event) => {
    const link = event.target.closest("[data-zoom]");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    enlarge(link);
  });
  for (const each of paper.querySelectorAll("img")) {
    if (each.complete && !each.naturalWidth && each.loading !== "lazy") fail(each);
    else each.addEventListener("error", () => fail(each), { once: true });
  }
  const shown = document.createElement("p");
  shown.className = "count";
  shown.hidden = true;
  shown.setAttribute("aria-hidden", "true");
  document.body.append(shown);
  const watch = new IntersectionObserver((seen) => {
    for (const each of seen) each.target.dataset.seen = each.isIntersecting ? "yes" : "";
    const first = paper.querySelector('figure[data-seen="yes"] img');
    shown.hidden = !first;
    if (first) shown.textContent = first.alt;
  }, { rootMargin: "-30% 0px" });
  paper.querySelectorAll("figure").forEach((each) => watch.observe(each));
}

function fail(image) {
  const said = document.createElement("p");
  said.className = "failed";
  said.setAttribute("role", "alert");
  said.textContent = `${image.alt}: ${paper.dataset.failed}`;
  image.closest("figure").replaceChildren(said);
}

function enlarge(link) {
  const dialog = document.createElement("dialog");
  dialog.className = "zoomed";
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button second";
  close.textContent = paper.dataset.close;
  close.addEventListener("click", () => dialog.close());
  const large = new Image();
  const small = link.querySelector("img");
  large.alt = small.alt;
  large.width = small.width;
  large.height = small.height;
  large.src = link.href;
  dialog.setAttribute("aria-label", small.alt);
  dialog.append(close, large);
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

// Without a network there is a page that says so, in the language that was read last.
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/worker.js").catch(() => {});
  navigator.serviceWorker.ready.then((ready) => ready.active.postMessage(document.documentElement.lang));
}
