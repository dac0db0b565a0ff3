// Our page inside Medusa's admin: asks the companion's page around it for a pass, and tells it on. Nobody else is listened to.
(function (window, document) {
  "use strict";
  var named = document.querySelector('meta[name="medusa-admin"]');
  var admin = named ? named.content : "";

  window.addEventListener("message", function (event) {
    if (!admin || event.origin !== admin || event.source !== window.parent) return;
    var data = event.data || {};
    if (data.type !== "crm:pass" || typeof data.token !== "string") return;
    if (data.theme === "light" || data.theme === "dark") document.documentElement.dataset.theme = data.theme;
    document.dispatchEvent(new window.CustomEvent("crm:visit", { detail: data.token }));
  });

  // Once the page's own scripts listen.
  document.addEventListener("DOMContentLoaded", function () {
    if (admin && window.parent !== window) window.parent.postMessage({ type: "crm:ready" }, admin);
  });
})(window, document);
