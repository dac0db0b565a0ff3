// Makes pages livelier; every page works without it. What it does is asked for by attributes:
//   data-live="#target" on a form: as it is typed in, the form's `data-live-url` is asked and its answer put into the target;
//     with data-live-now at once too, for what the page did not wait for
//   data-frame="name" on a form: as it is typed in, the form is sent to its `data-frame-url` and the answer shown in the iframe of that name
//   data-poll="2" with data-poll-url: the element is asked for again every so many seconds, until an answer comes without the attribute
//   data-guard on a form: leaving with unsaved changes is asked about
//   data-once on a form: its buttons rest while it is being sent

const asked = (url, options = {}) =>
  fetch(url, { ...options, headers: { "HX-Request": "true", ...options.headers }, credentials: "same-origin" });

function live(form) {
  const target = document.querySelector(form.dataset.live);
  let timer, running;
  const refresh = async () => {
    running?.abort();
    running = new AbortController();
    target.setAttribute("aria-busy", "true");
    try {
      const answer = await asked(form.dataset.liveUrl, { method: "POST", body: new FormData(form), signal: running.signal });
      if (answer.ok || answer.status === 422) target.innerHTML = await answer.text();
      target.removeAttribute("aria-busy");
    } catch (error) {
      if (error.name !== "AbortError") target.removeAttribute("aria-busy");
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, 350);
  });
  if ("liveNow" in form.dataset) refresh();
}

function frame(form) {
  let timer;
  const show = () => {
    const old = document.querySelector(`iframe[name="${form.dataset.frame}"]`);
    const fresh = old.cloneNode(false);
    // A frame that is new has no history: going back still leaves the page.
    fresh.removeAttribute("src");
    old.replaceWith(fresh);
    const { action, target } = form;
    Object.assign(form, { action: form.dataset.frameUrl, target: fresh.name });
    form.submit();
    Object.assign(form, { action, target });
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 700);
  });
}

function poll(element) {
  const again = async () => {
    if (!element.isConnected) return;
    if (document.hidden) return setTimeout(again, 1000);
    let next = null;
    try {
      const answer = await asked(element.dataset.pollUrl);
      if (answer.ok) {
        const holder = document.createElement("template");
        holder.innerHTML = (await answer.text()).trim();
        next = holder.content.firstElementChild;
        if (next) element.replaceWith(next);
        if (next && !next.dataset.poll && element.dataset.pollThen === "reload") location.reload();
      }
    } catch {
      // The server may be starting anew: asked again below.
    }
    const now = next ?? element;
    if (now.dataset.poll) now === element ? setTimeout(again, 3000) : poll(now);
  };
  setTimeout(again, Number(element.dataset.poll) * 1000);
}

function guard(form) {
  let changed = false;
  form.addEventListener("input", () => (changed = true));
  form.addEventListener("submit", () => (changed = false));
  addEventListener("beforeunload", (event) => changed && event.preventDefault());
}

function once(form) {
  form.addEventListener("submit", () =>
    setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true))),
  );
  addEventListener("pageshow", () => form.querySelectorAll("button").forEach((button) => (button.disabled = false)));
}

document.querySelectorAll("form[data-live]").forEach(live);
document.querySelectorAll("form[data-frame]").forEach(frame);
document.querySelectorAll("[data-poll]").forEach(poll);
document.querySelectorAll("form[data-guard]").forEach(guard);
document.querySelectorAll("form[data-once]").forEach(once);
document.querySelector("[aria-invalid=true]")?.focus();
