// Shows a signed-in customer the messages for them. All calls go through the shop's own app proxy, which says who they are.
(() => {
  if (customElements.get("crm-messages")) return;

  const KEPT = "crmMessagesClosed";
  const stored = (work, otherwise) => {
    try {
      return work(localStorage);
    } catch {
      // Until the next page.
      return otherwise;
    }
  };
  const closed = () => stored((store) => JSON.parse(store.getItem(KEPT) ?? "[]"), []);
  const isWeb = (url) => /^(https?:\/)?\/(?![/\\])/i.test(url ?? "");
  const make = (tag, name, text = "", more = {}) =>
    Object.assign(document.createElement(tag), { className: `crm-messages__${name}`, textContent: text, ...more });

  class Messages extends HTMLElement {
    async connectedCallback() {
      if (this.begun) return;
      this.begun = true;
      try {
        const answer = await fetch(`${this.dataset.path}/messages`, { headers: { Accept: "application/json" } });
        if (!answer.ok) return;
        const { messages } = await answer.json();
        const gone = closed();
        this.show(messages.filter(({ id }) => !gone.includes(id)));
      } catch (error) {
        console.warn("crm-messages:", error.message);
      }
    }

    show(messages) {
      this.setAttribute("role", "region");
      this.setAttribute("aria-label", this.dataset.title);
      // Read: half in view for a second.
      this.eye = new IntersectionObserver(
        (all) =>
          all.forEach(({ target, isIntersecting }) => {
            clearTimeout(target.timer);
            if (isIntersecting) target.timer = setTimeout(() => document.hidden || this.tell(target.one, "read"), 1000);
          }),
        { threshold: 0.5 },
      );
      this.replaceChildren(...messages.map((one) => this.card(one)));
      this.hidden = !messages.length;
    }

    card(one) {
      const card = make("article", "card", "", { one });
      const title = make("h3", "title", one.title);
      if (!one.read) title.prepend(make("span", "badge", `${this.dataset.new} \u00b7 `));
      const close = make("button", "close", "\u00d7", { type: "button", ariaLabel: `${this.dataset.close}: ${one.title}` });
      close.onclick = () => this.close(card, one);
      if (isWeb(one.image_url)) card.append(make("img", "picture", "", { src: one.image_url, alt: "", loading: "lazy" }));
      card.append(title, make("p", "body", one.body));
      if (isWeb(one.url)) {
        card.append(make("a", "action", this.dataset.open, { href: one.url, onclick: () => this.tell(one, "click") }));
      }
      if (one.expires_at) {
        const day = new Date(one.expires_at).toLocaleDateString(this.lang || undefined, { dateStyle: "long" });
        card.append(make("small", "until", `${this.dataset.until} ${day}`));
      }
      card.append(close);
      this.eye.observe(card);
      return card;
    }

    close(card, one) {
      const next = card.nextSibling ?? card.previousSibling;
      this.tell(one, "read");
      stored((store) => store.setItem(KEPT, JSON.stringify([...closed(), one.id].slice(-99))));
      card.remove();
      this.hidden = !this.childElementCount;
      next?.querySelector("button")?.focus();
    }

    tell(one, what) {
      if (what === "read" && one.read) return;
      one.read = true;
      fetch(`${this.dataset.path}/messages/${encodeURIComponent(one.id)}/${what}`, { method: "POST", keepalive: true }).catch(
        () => {},
      );
    }
  }

  customElements.define("crm-messages", Messages);
})();
