// The worker: when there is no network, a page that says so and what that means. It keeps that page, its style and
// nothing else: no list, no document, nothing about anybody.

const KEPT = "offline-1";
const PAGES = { vi: "/offline?lang=vi", en: "/offline?lang=en" };

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(forget().then(() => self.clients.claim()));
});

async function keep() {
  const cache = await caches.open(KEPT);
  for (const address of Object.values(PAGES)) {
    const answer = await fetch(address, { credentials: "omit" });
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    const text = await answer.clone().text();
    await cache.put(address, answer);
    const style = [...text.matchAll(/(?:href|src)="(\/static\/[^"]+)"/g)].map((found) => found[1].replaceAll("&amp;", "&"));
    await cache.addAll([...new Set(style)]);
  }
}

async function forget() {
  for (const name of await caches.keys()) if (name !== KEPT) await caches.delete(name);
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => offline(request)));
  else if (new URL(request.url).pathname.startsWith("/static/")) event.respondWith(asset(request));
});

async function asset(request) {
  return fetch(request).catch(async (error) => {
    const kept = await caches.match(request);
    if (kept) return kept;
    throw error;
  });
}

async function offline(request) {
  const english = new URL(request.url).searchParams.get("lang") === "en" || (await language()) === "en";
  return (await caches.match(english ? PAGES.en : PAGES.vi)) ?? Response.error();
}

async function language() {
  const cache = await caches.open(KEPT);
  return (await (await cache.match("/language"))?.text()) ?? "vi";
}

// Pages say in which language they are read: the cookie that knows it cannot be read here.
self.addEventListener("message", (event) => {
  if (event.data !== "vi" && event.data !== "en") return;
  event.waitUntil(caches.open(KEPT).then((cache) => cache.put("/language", new Response(event.data))));
});
