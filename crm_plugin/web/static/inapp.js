// See crm_plugin/adapters/channels/inapp/README.md; kept under 6 KB.
(() => {
if (customElements.get("crm-inbox") || !("adoptedStyleSheets" in document)) return;
const { src, dataset } = document.currentScript;
const home = new URL("../inapp/messages", src).href;
const WORDS = {
  en: { title: "Messages", open: "Have a look", close: "Close", new: "New", until: "Until" },
  zh: { title: "消息", open: "去看看", close: "关闭", new: "新", until: "有效期至" },
};
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host{display:block;color-scheme:var(--crm-inbox-scheme,light dark);--s:var(--crm-inbox-surface,Canvas);--t:var(--crm-inbox-text,CanvasText);--a:var(--crm-inbox-accent,var(--t))}
:host([hidden]){display:none}
:host(.floating){position:fixed;inset:auto 16px 16px auto;z-index:999;width:min(360px,100% - 32px);max-height:calc(100% - 32px);overflow-y:auto}
ul{list-style:none;margin:0;padding:0;display:grid;gap:12px}
li{position:relative;overflow:hidden;background:var(--s);color:var(--t);border:1px solid var(--crm-inbox-line,GrayText);border-radius:10px}
img{display:block;width:100%;max-height:180px;object-fit:cover}
div{padding:16px;display:grid;gap:8px;justify-items:start}
h3,p{margin:0;overflow-wrap:anywhere;white-space:pre-line}
h3{font-size:1em;padding-inline-end:32px}
small{opacity:.75}
b{color:var(--a)}
a{background:var(--a);color:var(--crm-inbox-on-accent,var(--s));padding:8px 16px;border-radius:6px}
button{position:absolute;top:8px;inset-inline-end:8px;width:32px;height:32px;border:0;border-radius:50%;background:var(--s);color:inherit;font:20px/1 sans-serif}
@media(prefers-reduced-motion:no-preference){li{animation:i .25s}@keyframes i{from{opacity:0}}}`);

const make = (tag, part, textContent = "", more) => {
  const element = Object.assign(document.createElement(tag), { textContent, ...more });
  element.setAttribute("part", part);
  return element;
};
const isWeb = (url) => /^(https?:\/)?\/(?![/\\])/i.test(url);
let closed = [];
const stored = (work) => {
  try {
    work(localStorage);
  } catch {
    // Until the next page.
  }
};
stored((store) => (closed = JSON.parse(store.crmInboxClosed ?? "[]")));

async function load(host, token) {
  try {
    const answer = await fetch(home, { headers: { Authorization: `Bearer ${token}` } });
    if (!answer.ok) throw Error(answer.status);
    const { messages } = await answer.json();
    if (token === host.getAttribute("token")) show(host, token, messages.filter(({ id }) => !closed.includes(id)));
  } catch (error) {
    console.warn("crm-inbox:", error.message);
  }
}

function show(host, token, messages) {
  const lang = host.lang || document.documentElement.lang || navigator.language;
  const word = (name) => host.getAttribute(`${name}-label`) ?? WORDS[/^zh/i.test(lang) ? "zh" : "en"][name];
  const changed = () => {
    host.hidden = !messages.length;
    const detail = { count: messages.length, unread: messages.filter(({ read }) => !read).length };
    host.dispatchEvent(new CustomEvent("crm-inbox", { detail, bubbles: true }));
  };
  const mark = (one, what) => {
    if (what === "read" && one.read) return;
    one.read = true;
    // A token in the body needs no preflight, which leaving would cut off.
    const body = new URLSearchParams({ token });
    fetch(`${home}/${one.id}/${what}`, { method: "POST", body, keepalive: true }).catch(() => {});
    changed();
  };
  const drop = (one, card) => {
    card.remove();
    messages = messages.filter((other) => other !== one);
    changed();
  };
  // Read: half in view for a second.
  const look = ({ target, isIntersecting }) => {
    clearTimeout(target.timer);
    if (isIntersecting) target.timer = setTimeout(() => document.hidden || mark(target.one, "read"), 1000);
  };
  const eye = new IntersectionObserver((all) => all.forEach(look), { threshold: 0.5 });
  const draw = (one) => {
    const card = make("li", one.read ? "card" : "card unread", "", { one });
    const inner = make("div", "content");
    const title = make("h3", "title");
    if (!one.read) title.append(make("b", "badge", `${word("new")} · `));
    title.append(one.title);
    inner.append(title, make("p", "body", one.body));
    const onclick = () => mark(one, "click");
    if (isWeb(one.url)) inner.append(make("a", "action", word("open"), { href: one.url, onclick }));
    if (one.expires_at) {
      const end = new Date(one.expires_at);
      inner.append(make("small", "expiry", `${word("until")} ${end.toLocaleDateString(lang, { dateStyle: "long" })}`));
      const left = end - Date.now();
      // This clock may be wrong, the server was not.
      if (left > 0 && left < 2 ** 31) setTimeout(drop, left, one, card);
    }
    const close = make("button", "close", "×", { ariaLabel: `${word("close")}: ${one.title}` });
    close.onclick = () => {
      const next = card.nextSibling ?? card.previousSibling;
      mark(one, "read");
      closed = [...closed, one.id].slice(-99);
      stored((store) => (store.crmInboxClosed = JSON.stringify(closed)));
      drop(one, card);
      next?.lastChild.focus();
    };
    if (isWeb(one.image_url)) card.append(make("img", "picture", "", { src: one.image_url, alt: "" }));
    card.append(inner, close);
    eye.observe(card);
    return card;
  };
  const list = make("ul", "list", "", { role: "list", ariaLabel: word("title") });
  list.append(...messages.map(draw));
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.replaceChildren(list);
  changed();
}

class Inbox extends HTMLElement {
  static observedAttributes = ["token"];
  attributeChangedCallback(_name, _old, token) {
    token ? load(this, token) : show(this, "", []);
  }
}
customElements.define("crm-inbox", Inbox);

const start = () => {
  const { token } = dataset;
  if (!token) return;
  let inbox = document.querySelector("crm-inbox");
  if (!inbox) document.body.append((inbox = make("crm-inbox", "", "", { className: "floating" })));
  inbox.setAttribute("token", token);
};
document.readyState === "loading" ? addEventListener("DOMContentLoaded", start) : start();
})();
