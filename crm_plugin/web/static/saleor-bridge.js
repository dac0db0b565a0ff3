// Our page inside Saleor's dashboard: takes the person's token, keeps it in memory, and follows the dashboard's theme and language.
// The dashboard is the one whose address the page names in <meta name="saleor-dashboard">; nothing of anybody else is listened to.
(function (window, document) {
  "use strict";
  var named = document.querySelector('meta[name="saleor-dashboard"]');
  var dashboard = named ? named.content : "";
  var token = "";

  function tell(name, detail) {
    document.dispatchEvent(new window.CustomEvent("crm:" + name, { detail: detail }));
  }

  function send(type, payload) {
    if (!dashboard || window.parent === window) return;
    var body = Object.assign({ actionId: window.crypto.randomUUID() }, payload || {});
    window.parent.postMessage({ type: type, payload: body }, dashboard);
  }

  // The dashboard tells its theme to the first page of ours alone; the next ones find it here.
  function kept(told) {
    try {
      if (told) window.sessionStorage.setItem("crm-theme", told);
      return window.sessionStorage.getItem("crm-theme");
    } catch {
      return told;
    }
  }

  function theme(told) {
    if (told !== "light" && told !== "dark") return;
    kept(told);
    document.documentElement.dataset.theme = told;
    tell("theme", told);
  }

  function locale(told) {
    if (!/^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$/.test(told || "")) return;
    tell("locale", told.replace(/_/g, "-"));
  }

  function take(told) {
    if (typeof told !== "string" || told.split(".").length !== 3) return;
    var first = !token;
    token = told;
    tell(first ? "visit" : "token", told);
  }

  var heard = {
    handshake: function (payload) { take(payload.token); },
    tokenRefresh: function (payload) { take(payload.token); },
    theme: function (payload) { theme(payload.theme); },
    localeChanged: function (payload) { locale(payload.locale); }
  };

  window.addEventListener("message", function (event) {
    if (!dashboard || event.origin !== dashboard || event.source !== window.parent) return;
    var data = event.data || {};
    if (Object.prototype.hasOwnProperty.call(heard, data.type)) heard[data.type](data.payload || {});
  });

  var asked = new URLSearchParams(window.location.search);
  theme(asked.get("theme") || kept());
  locale(asked.get("locale"));
  // Calls of the page carry the token as a header; there is no cookie in the frame.
  window.crmSaleor = {
    fetch: function (address, options) {
      var given = options || {};
      var headers = Object.assign({}, given.headers, { Authorization: "Bearer " + token });
      return window.fetch(address, Object.assign({}, given, { headers: headers, credentials: "omit" }));
    },
    token: function () { return token; },
    notify: function (title, text) { send("notification", { title: title, text: text, status: "success" }); },
    open: function (to) { send("redirect", { to: to, newContext: false }); }
  };
  send("notifyReady");
})(window, document);
